/// One event of a `text/event-stream`.
public struct ServerSentEvent: Sendable, Hashable {
    /// The `id:` of this event; nil where it has none.
    public var id: String?
    /// The `event:` name; `message` where it has none.
    public var name: String
    /// The `data:` lines, joined by newlines.
    public var data: String

    public init(id: String? = nil, name: String = "message", data: String) {
        self.id = id
        self.name = name
        self.data = data
    }
}

/// A stream that is not what the parser accepts.
public enum ServerSentEventError: Error, Sendable, Equatable {
    /// A line or an event is longer than the limit, in bytes.
    case tooLong(limit: Int)
}

/// Parses `text/event-stream` (WHATWG HTML, section 9.2) from chunks of any size.
///
/// Lines end with LF, CR or CRLF; a comment starts with a colon; an event without data is dropped.
/// An `id:` belongs to its own event only, because heartbeats have none.
public struct ServerSentEventParser: Sendable {
    /// Bytes that one line and one event may have.
    public static let defaultLimit = 16 << 20

    private let limit: Int
    private var line: [UInt8] = []
    private var skipLineFeed = false
    private var isFirstLine = true
    private var id: String?
    private var name = ""
    private var data: [UInt8] = []
    private var hasData = false

    /// - Parameter limit: bytes that one line and the data of one event may have.
    public init(limit: Int = ServerSentEventParser.defaultLimit) {
        self.limit = limit
    }

    /// Takes the next bytes and returns the events that they complete.
    public mutating func feed(
        _ bytes: some Sequence<UInt8>
    ) throws(ServerSentEventError) -> [ServerSentEvent] {
        var events: [ServerSentEvent] = []
        for byte in bytes {
            if skipLineFeed {
                skipLineFeed = false
                if byte == UInt8(ascii: "\n") { continue }
            }
            switch byte {
            case UInt8(ascii: "\n"), UInt8(ascii: "\r"):
                skipLineFeed = byte == UInt8(ascii: "\r")
                if let event = try endLine() { events.append(event) }
            default:
                guard line.count < limit else { throw .tooLong(limit: limit) }
                line.append(byte)
            }
        }
        return events
    }

    private mutating func endLine() throws(ServerSentEventError) -> ServerSentEvent? {
        defer { line.removeAll(keepingCapacity: line.count < 1 << 16) }
        if isFirstLine {
            isFirstLine = false
            if line.starts(with: [0xEF, 0xBB, 0xBF]) { line.removeFirst(3) }
        }
        guard !line.isEmpty else { return dispatch() }
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else {
            try field(line[...], value: [])
            return nil
        }
        var value = line[(colon + 1)...]
        if value.first == UInt8(ascii: " ") { value = value.dropFirst() }
        try field(line[..<colon], value: value)
        return nil
    }

    private mutating func field(
        _ field: ArraySlice<UInt8>, value: ArraySlice<UInt8>
    ) throws(ServerSentEventError) {
        if field.elementsEqual("data".utf8) {
            guard data.count + value.count < limit else { throw .tooLong(limit: limit) }
            if hasData { data.append(UInt8(ascii: "\n")) }
            data.append(contentsOf: value)
            hasData = true
        } else if field.elementsEqual("event".utf8) {
            name = String(decoding: value, as: UTF8.self)
        } else if field.elementsEqual("id".utf8), !value.contains(0) {
            id = String(decoding: value, as: UTF8.self)
        }
    }

    private mutating func dispatch() -> ServerSentEvent? {
        defer {
            id = nil
            name = ""
            data = []
            hasData = false
        }
        guard hasData else { return nil }
        return ServerSentEvent(
            id: id, name: name.isEmpty ? "message" : name,
            data: String(decoding: data, as: UTF8.self))
    }
}
