/// The path of a request in the one form that every server reads alike.
///
/// A key is sent to one path and what lies below it. Servers differ in what they make of `..`, of
/// encoded slashes and of backslashes: a path with any of these could leave, so it is refused, also
/// where it is encoded more than once.
public enum RequestPath {
    /// Rounds of percent-decoding that are looked at; a path with more is refused.
    private static let rounds = 4

    /// What is wrong with a path that begins with `/` and has no query, or nil.
    public static func problem(_ path: some Collection<UInt8>) -> String? {
        guard path.first == UInt8(ascii: "/") else { return "must begin with '/'" }
        let isPlain = path.allSatisfy {
            (0x21...0x7e).contains($0) && !forbidden.contains($0)
        }
        guard isPlain else { return "has a character that no path may have" }
        let segments = path.dropFirst().split(
            separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        for (index, segment) in segments.enumerated() {
            if segment.isEmpty, index < segments.count - 1 { return "has an empty segment" }
            if let text = problem(segment: Array(segment)) { return text }
        }
        return nil
    }

    private static let forbidden = Set("\\#?\"<>^`{|}".utf8)

    private static func problem(segment: [UInt8]) -> String? {
        var text = segment
        for _ in 0...rounds {
            // Some servers leave out what follows a semicolon.
            let name = text.prefix { $0 != UInt8(ascii: ";") }
            if name.elementsEqual(".".utf8) || name.elementsEqual("..".utf8) {
                return "has '.' or '..' as a segment"
            }
            let isPlain = text.allSatisfy {
                $0 > 0x1f && $0 != 0x7f && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "\\")
            }
            guard isPlain else { return "has an encoded slash or control character" }
            guard let decoded = decode(text) else { return "has a '%' without two digits" }
            if decoded == text { return nil }
            text = decoded
        }
        return "is encoded too often"
    }

    /// One round of percent-decoding; nil for what is no encoding.
    private static func decode(_ text: [UInt8]) -> [UInt8]? {
        var result: [UInt8] = []
        var rest = text[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                result.append(byte)
                continue
            }
            guard let high = rest.popFirst().flatMap(ASCII.hexadecimal),
                let low = rest.popFirst().flatMap(ASCII.hexadecimal)
            else { return nil }
            result.append(high << 4 | low)
        }
        return result
    }
}
