/// Turns a stream of bytes into text: invalid UTF-8 becomes U+FFFD, a character cut by the end of a
/// chunk waits for the next one.
struct TextDecoder: Codable, Hashable, Sendable {
    private var held: [UInt8] = []

    /// The text that `bytes` completes.
    mutating func decode(_ bytes: [UInt8]) -> String {
        let all = held + bytes
        let cut = all.count - Self.incompleteTail(all)
        held = Array(all[cut...])
        return String(decoding: all[..<cut], as: UTF8.self)
    }

    /// What was held back, repaired.
    mutating func finish() -> String {
        defer { held = [] }
        return String(decoding: held, as: UTF8.self)
    }

    /// How many bytes at the end may be the beginning of a character (RFC 3629).
    private static func incompleteTail(_ bytes: [UInt8]) -> Int {
        for back in 1...3 where back <= bytes.count {
            let byte = bytes[bytes.count - back]
            if byte & 0b1100_0000 == 0b1000_0000 { continue }
            let length = byte >= 0xf0 && byte < 0xf8 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc2 ? 2 : 1
            return byte >= 0xf8 || length <= back ? 0 : back
        }
        return 0
    }
}

/// The last bytes of a stream, for error messages.
struct ByteTail: Codable, Hashable, Sendable {
    let limit: Int
    private var bytes: [UInt8] = []

    init(limit: Int) { self.limit = limit }

    mutating func append(_ more: [UInt8]) {
        bytes.append(contentsOf: more.suffix(limit))
        if bytes.count > limit { bytes.removeFirst(bytes.count - limit) }
    }

    /// Decoded and trimmed.
    var text: String {
        let text = String(decoding: bytes, as: UTF8.self)
        let trimmed = text.drop(while: \.isWhitespace)
        guard let last = trimmed.lastIndex(where: { !$0.isWhitespace }) else { return "" }
        return String(trimmed[...last])
    }
}
