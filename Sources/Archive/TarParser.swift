/// Reads a tar archive from chunks of any size: a pure value, without input or output.
///
/// Understands ustar, pax and GNU long names; refuses sparse files, multi-volume archives and what
/// else it does not know, for data that is skipped silently is data lost.
public struct TarParser: Sendable {
    /// What the bytes contain, in order.
    public enum Event: Sendable, Equatable {
        case entry(TarEntry)
        /// Data of the last entry.
        case data(ArraySlice<UInt8>)
        /// The last entry is complete; sent for every entry.
        case endOfEntry
        /// The end of the archive; what follows is ignored.
        case endOfArchive
    }

    /// Bytes of one extended header; names are at most 4,096 bytes on Linux.
    static let extendedLimit: Int64 = 1 << 20

    private enum State: Sendable {
        case header
        /// Data of an entry: bytes that are missing, and padding after them.
        case data(missing: Int64, padding: Int)
        /// Data of an extended header.
        case extended(Extended, missing: Int64, padding: Int)
        case padding(Int)
        /// One block of zeros was read.
        case zeroBlock
        case end
    }

    enum Extended: Sendable { case pax, paxGlobal, longName, longLink }

    private var state = State.header
    private var block: [UInt8] = []
    private var extended: [UInt8] = []
    private var overrides = TarOverrides()

    public init() {}

    /// Takes the next bytes and returns what they contain.
    public mutating func feed(_ bytes: ArraySlice<UInt8>) throws(ArchiveError) -> [Event] {
        var events: [Event] = []
        var rest = bytes
        while !rest.isEmpty {
            switch state {
            case .header, .zeroBlock:
                let taken = rest.prefix(TarFormat.blockSize - block.count)
                block += taken
                rest = rest.dropFirst(taken.count)
                guard block.count == TarFormat.blockSize else { return events }
                let full = block
                block.removeAll(keepingCapacity: true)
                events += try header(full[...])
            case .data(let missing, let padding):
                let taken = rest.prefix(Int(min(missing, Int64(rest.count))))
                rest = rest.dropFirst(taken.count)
                events.append(.data(taken))
                let left = missing - Int64(taken.count)
                state = .data(missing: left, padding: padding)
                if left == 0 { events += endOfData(padding) }
            case .extended(let kind, let missing, let padding):
                let taken = rest.prefix(Int(min(missing, Int64(rest.count))))
                rest = rest.dropFirst(taken.count)
                extended += taken
                let left = missing - Int64(taken.count)
                state = .extended(kind, missing: left, padding: padding)
                if left == 0 { try endOfExtended(kind, padding) }
            case .padding(let count):
                let taken = min(count, rest.count)
                rest = rest.dropFirst(taken)
                state = taken == count ? .header : .padding(count - taken)
            case .end:
                return events
            }
        }
        return events
    }

    /// To be called at the end of the input: throws unless the archive is complete.
    public func finish() throws(ArchiveError) {
        switch state {
        case .end: return
        case .zeroBlock where block.isEmpty: return
        default: throw ArchiveError(.truncated, "The archive is incomplete")
        }
    }

    private mutating func header(_ block: ArraySlice<UInt8>) throws(ArchiveError) -> [Event] {
        if block.allSatisfy({ $0 == 0 }) {
            if case .zeroBlock = state {
                state = .end
                return [.endOfArchive]
            }
            state = .zeroBlock
            return []
        }
        guard case .header = state else {
            throw ArchiveError(.malformed, "The archive goes on after its end")
        }
        let header = try TarHeader(block)
        switch header.type {
        case UInt8(ascii: "x"): return try beginExtended(.pax, header)
        case UInt8(ascii: "g"): return try beginExtended(.paxGlobal, header)
        case UInt8(ascii: "L"): return try beginExtended(.longName, header)
        case UInt8(ascii: "K"): return try beginExtended(.longLink, header)
        default: break
        }
        let entry = try header.entry(overrides)
        overrides = TarOverrides()
        guard entry.size > 0 else {
            state = .header
            return [.entry(entry), .endOfEntry]
        }
        state = .data(missing: entry.size, padding: TarFormat.padding(entry.size))
        return [.entry(entry)]
    }

    private mutating func endOfData(_ padding: Int) -> [Event] {
        state = padding > 0 ? .padding(padding) : .header
        return [.endOfEntry]
    }

    private mutating func beginExtended(
        _ kind: Extended, _ header: TarHeader
    ) throws(ArchiveError) -> [Event] {
        guard header.size <= Self.extendedLimit else {
            throw ArchiveError(.tooLarge, "An extended header has \(header.size) bytes")
        }
        extended.removeAll(keepingCapacity: true)
        let padding = TarFormat.padding(header.size)
        state = .extended(kind, missing: header.size, padding: padding)
        if header.size == 0 { try endOfExtended(kind, padding) }
        return []
    }

    private mutating func endOfExtended(_ kind: Extended, _ padding: Int) throws(ArchiveError) {
        try overrides.add(extended[...], from: kind)
        state = padding > 0 ? .padding(padding) : .header
    }
}
