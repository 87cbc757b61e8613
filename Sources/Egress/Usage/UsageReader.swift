internal import Settings

/// Tokens that one answer of a model's API cost.
public struct TokenUsage: Sendable, Hashable {
    /// With those of a cache.
    public var input: Int64
    public var output: Int64
    /// Of the input, what came from the provider's cache.
    public var cached: Int64
    /// The answer did not say all of it: output is one token for each piece of the stream.
    public var isEstimated: Bool

    public init(input: Int64, output: Int64, cached: Int64 = 0, isEstimated: Bool = false) {
        self.input = input
        self.output = output
        self.cached = cached
        self.isEstimated = isEstimated
    }
}

/// Reads what a model has used from the answer of its API as it passes, in any pieces and in
/// constant memory: OpenAI's chat completions and responses, Anthropic's messages, and what speaks
/// like them; whole or as a stream of events.
public struct UsageReader: Sendable {
    /// How the body is written.
    public enum Format: Sendable {
        /// One JSON text.
        case json
        /// Server-sent events whose data is JSON.
        case events
    }

    /// The model's name as the answer says it.
    public private(set) var model: String?

    private let format: Format
    private var scanner = JSONScanner()
    private var lines = EventLines()
    private var input: Int64?
    private var output: Int64?
    private var cached: Int64?
    private var cacheRead: Int64 = 0
    private var cacheWritten: Int64 = 0
    /// Numbers have come that are not those of a beginning.
    private var isFinal = false
    private var pieces: Int64 = 0

    public init(_ format: Format) { self.format = format }

    /// - Parameter contentType: of the answer; nil is returned for what is neither JSON nor events.
    public init?(contentType: String?) {
        let type = contentType?.prefix { $0 != ";" }.lowercased().filter { $0 != " " } ?? ""
        switch type {
        case "text/event-stream": self.init(.events)
        case "application/json": self.init(.json)
        case _ where type.hasSuffix("+json"): self.init(.json)
        default: return nil
        }
    }

    /// Takes the next bytes of the body.
    public mutating func feed(_ bytes: some Sequence<UInt8>) {
        switch format {
        case .json: for byte in bytes { scan(byte) }
        case .events:
            for byte in bytes {
                switch lines.feed(byte) {
                case .nothing: break
                case .data(let byte): scan(byte)
                case .end: scanner.reset()
                }
            }
        }
    }

    /// What has come so far adds up to; nil where the answer says nothing of tokens. A stream that
    /// ends before it has said its numbers, or never does, counts by its pieces.
    public var usage: TokenUsage? {
        let hasNumbers = input != nil || output != nil
        guard hasNumbers || format == .events && pieces > 0 else { return nil }
        let isEstimated = format == .events && !isFinal
        let said = output ?? 0
        return TokenUsage(
            input: (input ?? 0) + cacheRead + cacheWritten,
            output: isEstimated ? max(said, pieces) : said,
            cached: (cached ?? 0) + cacheRead, isEstimated: isEstimated)
    }

    /// The answer has said how many tokens the input was.
    var knowsInput: Bool { input != nil }

    private mutating func scan(_ byte: UInt8) {
        switch scanner.feed(byte) {
        case nil: break
        case .model(let name): model = name
        case .piece: pieces += 1
        case .number(let field, let value):
            isFinal = true
            take(field, value)
        case .early(let field, let value): take(field, value)
        }
    }

    /// Numbers grow in the course of an answer.
    private mutating func take(_ field: JSONScanner.Field, _ value: Int64) {
        let value = min(value, ModelPrices.maximumTokens)
        switch field {
        case .input: input = max(input ?? 0, value)
        case .output: output = max(output ?? 0, value)
        case .cached: cached = max(cached ?? 0, value)
        case .cacheRead: cacheRead = max(cacheRead, value)
        case .cacheWritten: cacheWritten = max(cacheWritten, value)
        }
    }
}

/// Takes a stream of server-sent events apart (HTML standard, section 9.2): bytes of `data:` lines,
/// and ends of events.
struct EventLines {
    enum Found: Equatable {
        case nothing
        case data(UInt8)
        case end
    }

    private enum Place {
        /// Bytes of `data:` that the line has so far.
        case name(Int)
        case data
        case skipped
    }

    private static let name = Array("data:".utf8)
    private var place = Place.name(0)
    private var lastWasReturn = false

    mutating func feed(_ byte: UInt8) -> Found {
        defer { lastWasReturn = byte == 0x0d }
        if byte == 0x0a, lastWasReturn { return .nothing }
        if byte == 0x0a || byte == 0x0d {
            defer { place = .name(0) }
            switch place {
            case .name(0): return .end
            // Data of several lines is joined by newlines.
            case .data: return .data(0x0a)
            case .name, .skipped: return .nothing
            }
        }
        switch place {
        case .data: return .data(byte)
        case .name(let count) where byte == Self.name[count]:
            place = count + 1 == Self.name.count ? .data : .name(count + 1)
        case .name: place = .skipped
        case .skipped: break
        }
        return .nothing
    }
}
