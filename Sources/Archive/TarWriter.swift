/// Writes a tar archive: returns the bytes of headers and paddings; the data is the caller's.
///
/// Names and sizes that ustar cannot hold go into a pax header before the entry.
public struct TarWriter: Sendable {
    /// Data bytes that the last entry still needs.
    private var missing: Int64 = 0
    private var padding = 0

    public init() {}

    /// The header of the next entry; its `size` bytes of data follow.
    public mutating func header(_ entry: TarEntry) -> [UInt8] {
        precondition(missing == 0 && padding == 0, "the entry before is incomplete")
        if entry.kind == .file {
            missing = entry.size
            padding = TarFormat.padding(entry.size)
        }
        var name = entry.name
        if entry.kind == .directory, name.last != 0x2F { name.append(0x2F) }
        var records: [UInt8] = []
        let split = Self.split(name)
        if split == nil || !Self.isASCII(name) { records += Self.record("path", name) }
        if entry.linkTarget.count > TarFormat.linkName.count || !Self.isASCII(entry.linkTarget) {
            records += Self.record("linkpath", entry.linkTarget)
        }
        if entry.size > 0o77_777_777_777 {
            records += Self.record("size", Array(String(entry.size).utf8))
        }
        let plain = Self.block(entry, split ?? ([], Array(name.suffix(TarFormat.name.count))))
        guard !records.isEmpty else { return plain }
        let extended = TarEntry(
            kind: .file, name: Array("PaxHeader".utf8), size: Int64(records.count))
        let zeros = [UInt8](repeating: 0, count: TarFormat.padding(extended.size))
        let header = Self.block(extended, ([], extended.name), type: UInt8(ascii: "x"))
        return header + records + zeros + plain
    }

    /// Counts data bytes of the last entry.
    ///
    /// - Returns: the padding that must follow once all of them are there; else nothing.
    public mutating func wrote(_ count: Int) -> [UInt8] {
        precondition(Int64(count) <= missing, "more data than the header said")
        missing -= Int64(count)
        guard missing == 0, padding > 0 else { return [] }
        defer { padding = 0 }
        return [UInt8](repeating: 0, count: padding)
    }

    /// The end of the archive.
    public func trailer() -> [UInt8] {
        precondition(missing == 0 && padding == 0, "the last entry is incomplete")
        return [UInt8](repeating: 0, count: 2 * TarFormat.blockSize)
    }

    /// A whole small file.
    public mutating func file(_ name: String, mode: UInt32 = 0o644, _ data: [UInt8]) -> [UInt8] {
        let entry = TarEntry(
            kind: .file, name: Array(name.utf8), mode: mode, size: Int64(data.count))
        return header(entry) + data + wrote(data.count)
    }

    /// Prefix and name of ustar, or nil where the name does not fit.
    private static func split(_ name: [UInt8]) -> (prefix: [UInt8], name: [UInt8])? {
        if name.count <= TarFormat.name.count { return ([], name) }
        // The slash between the two is not stored, and a directory's last one cannot be it.
        for index in name.indices.dropLast() where name[index] == 0x2F {
            let tail = name.count - index - 1
            if index > 0, index <= TarFormat.prefix.count, tail <= TarFormat.name.count {
                return (Array(name[..<index]), Array(name[(index + 1)...]))
            }
        }
        return nil
    }

    private static func isASCII(_ bytes: [UInt8]) -> Bool { bytes.allSatisfy { $0 < 0x80 } }

    private static func record(_ key: String, _ value: [UInt8]) -> [UInt8] {
        let body = Array(" \(key)=".utf8) + value + [0x0A]
        var length = body.count
        // The length counts its own digits.
        while String(length).utf8.count + body.count != length {
            length = String(length).utf8.count + body.count
        }
        return Array(String(length).utf8) + body
    }

    private static func block(
        _ entry: TarEntry, _ name: (prefix: [UInt8], name: [UInt8]), type: UInt8? = nil
    ) -> [UInt8] {
        var block = [UInt8](repeating: 0, count: TarFormat.blockSize)
        func put(_ bytes: [UInt8], _ range: Range<Int>) {
            let kept = bytes.prefix(range.count)
            block.replaceSubrange(range.lowerBound..<(range.lowerBound + kept.count), with: kept)
        }
        func octal(_ value: Int64, _ range: Range<Int>) {
            let digits = String(max(0, value), radix: 8)
            let zeros = String(repeating: "0", count: max(0, range.count - 1 - digits.count))
            put(Array((zeros + digits).utf8.suffix(range.count - 1)), range)
        }
        put(name.name, TarFormat.name)
        put(name.prefix, TarFormat.prefix)
        octal(Int64(entry.mode & 0o7777), TarFormat.mode)
        octal(0, TarFormat.uid)
        octal(0, TarFormat.gid)
        octal(entry.kind == .file ? entry.size : 0, TarFormat.size)
        octal(min(entry.modified, 0o77_777_777_777), TarFormat.modified)
        block[TarFormat.type] = type ?? entry.kind.typeFlag
        put(entry.linkTarget, TarFormat.linkName)
        put(Array("ustar\0".utf8), TarFormat.magic)
        put(Array("00".utf8), TarFormat.version)
        let sum = String(TarFormat.checksum(of: block[...]), radix: 8)
        let zeros = String(repeating: "0", count: 6 - sum.utf8.count)
        put(Array((zeros + sum).utf8) + [0, 0x20], TarFormat.checksum)
        return block
    }
}

extension TarEntry.Kind {
    fileprivate var typeFlag: UInt8 {
        switch self {
        case .file: UInt8(ascii: "0")
        case .hardLink: UInt8(ascii: "1")
        case .symbolicLink: UInt8(ascii: "2")
        case .characterDevice: UInt8(ascii: "3")
        case .blockDevice: UInt8(ascii: "4")
        case .directory: UInt8(ascii: "5")
        case .fifo: UInt8(ascii: "6")
        }
    }
}
