/// The fields of one header block.
struct TarHeader {
    let type: UInt8
    let size: Int64
    private let name: [UInt8]
    private let linkName: [UInt8]
    private let mode: UInt32
    private let modified: Int64

    init(_ block: ArraySlice<UInt8>) throws(ArchiveError) {
        func field(_ range: Range<Int>) -> ArraySlice<UInt8> {
            block[(block.startIndex + range.lowerBound)..<(block.startIndex + range.upperBound)]
        }
        func text(_ range: Range<Int>) -> [UInt8] { Array(field(range).prefix { $0 != 0 }) }

        guard try Self.number(field(TarFormat.checksum)) == Int64(TarFormat.checksum(of: block))
        else { throw ArchiveError(.malformed, "A header of the archive has a wrong checksum") }
        type = block[block.startIndex + TarFormat.type]
        size = try Self.number(field(TarFormat.size))
        mode = UInt32(try Self.number(field(TarFormat.mode)) & 0o7777)
        // Times before 1970 and other rarities are not worth refusing a file.
        modified = (try? Self.number(field(TarFormat.modified))) ?? 0
        linkName = text(TarFormat.linkName)
        // GNU tar's old format has "ustar " here and other things in the place of the prefix.
        let hasPrefix = field(TarFormat.magic).elementsEqual("ustar\0".utf8)
        let prefix = hasPrefix ? text(TarFormat.prefix) : []
        name = prefix.isEmpty ? text(TarFormat.name) : prefix + [0x2F] + text(TarFormat.name)
    }

    /// The entry, with what extended headers said about it.
    func entry(_ overrides: TarOverrides) throws(ArchiveError) -> TarEntry {
        let name = overrides.name ?? self.name
        var kind = try self.kind(name)
        // Before 1988 a directory was a file whose name ends with a slash.
        if kind == .file, name.last == 0x2F { kind = .directory }
        // Hard links repeat the size of their target in some archives, without data.
        let size = kind == .file ? overrides.size ?? self.size : 0
        if kind != .file, kind != .hardLink, self.size > 0 {
            throw Self.malformed("has data and is no file", name)
        }
        guard !name.isEmpty else { throw ArchiveError(.malformed, "An entry has no name") }
        guard !name.contains(0) else { throw Self.malformed("has a NUL in its name", name) }
        return TarEntry(
            kind: kind, name: name, linkTarget: overrides.linkTarget ?? linkName, mode: mode,
            size: size, modified: modified)
    }

    private func kind(_ name: [UInt8]) throws(ArchiveError) -> TarEntry.Kind {
        switch type {
        case 0, UInt8(ascii: "0"), UInt8(ascii: "7"): return .file
        case UInt8(ascii: "1"): return .hardLink
        case UInt8(ascii: "2"): return .symbolicLink
        case UInt8(ascii: "3"): return .characterDevice
        case UInt8(ascii: "4"): return .blockDevice
        case UInt8(ascii: "5"): return .directory
        case UInt8(ascii: "6"): return .fifo
        case UInt8(ascii: "S"):
            throw ArchiveError(
                .unsupported,
                "'\(String(decoding: name, as: UTF8.self))' is a sparse file; "
                    + "archives with sparse files are not supported")
        default:
            let type = String(Unicode.Scalar(type)).debugDescription
            throw ArchiveError(
                .unsupported,
                "'\(String(decoding: name, as: UTF8.self))' has the type \(type), "
                    + "which is not supported")
        }
    }

    private static func malformed(_ what: String, _ name: [UInt8]) -> ArchiveError {
        ArchiveError(.malformed, "The entry '\(String(decoding: name, as: UTF8.self))' \(what)")
    }

    /// An octal number, or GNU tar's base-256 form for large ones; never negative.
    static func number(_ field: ArraySlice<UInt8>) throws(ArchiveError) -> Int64 {
        let wrong = ArchiveError(.malformed, "A header of the archive has a wrong number")
        guard let first = field.first else { throw wrong }
        if first & 0x80 != 0 {
            guard first == 0x80, field.dropFirst().dropLast(8).allSatisfy({ $0 == 0 }) else {
                throw wrong
            }
            let value = field.suffix(min(8, field.count - 1))
                .reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            guard let result = Int64(exactly: value) else { throw wrong }
            return result
        }
        let digits = field.drop { $0 == 0x20 }.prefix { $0 != 0 && $0 != 0x20 }
        var value: Int64 = 0
        for digit in digits {
            guard (0x30...0x37).contains(digit) else { throw wrong }
            value = value << 3 | Int64(digit - 0x30)
        }
        return value
    }
}
