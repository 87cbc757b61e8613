/// What extended headers say about the next entry.
struct TarOverrides: Sendable {
    private(set) var name: [UInt8]?
    private(set) var linkTarget: [UInt8]?
    private(set) var size: Int64?

    /// Takes the data of one extended header.
    mutating func add(
        _ data: ArraySlice<UInt8>, from kind: TarParser.Extended
    ) throws(ArchiveError) {
        switch kind {
        case .longName: name = Array(data.prefix { $0 != 0 })
        case .longLink: linkTarget = Array(data.prefix { $0 != 0 })
        case .pax: try addPax(data, isGlobal: false)
        case .paxGlobal: try addPax(data, isGlobal: true)
        }
    }

    /// Records of the form `<length> <key>=<value>\n`, the length counting the whole record.
    private mutating func addPax(
        _ data: ArraySlice<UInt8>, isGlobal: Bool
    ) throws(ArchiveError) {
        var rest = data
        while !rest.isEmpty {
            let digits = rest.prefix { $0 != 0x20 }
            guard let length = Self.decimal(digits), length > digits.count + 1,
                length <= Int64(rest.count), rest[rest.startIndex + Int(length) - 1] == 0x0A
            else { throw ArchiveError(.malformed, "A pax header has a record of a wrong length") }
            let record = rest.prefix(Int(length) - 1).dropFirst(digits.count + 1)
            rest = rest.dropFirst(Int(length))
            guard let equals = record.firstIndex(of: UInt8(ascii: "=")) else {
                throw ArchiveError(.malformed, "A pax header has a record without a value")
            }
            let key = String(decoding: record[..<equals], as: UTF8.self)
            try set(key, record[(equals + 1)...], isGlobal)
        }
    }

    private mutating func set(
        _ key: String, _ value: ArraySlice<UInt8>, _ isGlobal: Bool
    ) throws(ArchiveError) {
        if key.hasPrefix("GNU.sparse.") {
            throw ArchiveError(.unsupported, "Archives with sparse files are not supported")
        }
        let matters = key == "path" || key == "linkpath" || key == "size"
        if isGlobal, matters {
            throw ArchiveError(.unsupported, "A global pax header sets '\(key)' of every entry")
        }
        switch key {
        case "path": name = Array(value)
        case "linkpath": linkTarget = Array(value)
        case "size":
            guard let bytes = Self.decimal(value) else {
                throw ArchiveError(.malformed, "A pax header has a wrong size")
            }
            size = bytes
        default: break
        }
    }

    private static func decimal(_ digits: ArraySlice<UInt8>) -> Int64? {
        guard !digits.isEmpty, digits.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return Int64(String(decoding: digits, as: UTF8.self))
    }
}
