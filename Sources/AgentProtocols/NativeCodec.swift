internal import API
internal import Foundation

/// The native protocol: one JSON object a line (`docs/agents.md`).
struct NativeCodec: Codable, Hashable, Sendable {
    /// What a line of the agent means.
    enum Line: Hashable, Sendable {
        case ready
        case text(String)
        case status(String)
        case toolStart(tool: String, input: JSONValue?)
        case toolEnd(ToolEnd)
        case error(String)
        /// With the turn it ends, where the agent says so.
        case turnDone(turn: Int?)
        /// Not for the conversation: something for the log.
        case note(String)
    }

    struct ToolEnd: Hashable, Sendable {
        var tool: String
        var durationMs: Int64?
        var output: JSONValue?
        var success: Bool
    }

    let maximumLine: Int
    /// `ready` has come from this process.
    var isReady = false
    /// `error` ended a turn; a `turn_done` that follows belongs to it.
    var doneBelongsToFailedTurn = false
    private var partial = Data()
    /// The line in hand is over the limit: everything up to its end is dropped.
    private var skipping = false

    init(maximumLine: Int) { self.maximumLine = maximumLine }

    /// Nesting of arrays and objects that a line may have.
    static let maximumDepth = 64
    /// Characters of a tool's name.
    static let maximumName = 200

    static func cancelLine(turn: Int) -> [UInt8] {
        Array("{\"turn\":\(turn),\"type\":\"cancel\"}\n".utf8)
    }

    static func messageLine(_ content: String, turn: Int) -> [UInt8] {
        struct Message: Encodable {
            let type = "message"
            let content: String
            let turn: Int
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.withoutEscapingSlashes, .sortedKeys]
        let data = (try? encoder.encode(Message(content: content, turn: turn))) ?? Data()
        return Array(data) + [UInt8(ascii: "\n")]
    }

    /// The whole lines that `bytes` completes.
    mutating func lines(_ bytes: [UInt8]) -> [Line] {
        var result: [Line] = []
        var rest = bytes[...]
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
            if let line = take(rest[..<end], whole: true) { result.append(line) }
            rest = rest[(end + 1)...]
        }
        if let line = take(rest, whole: false) { result.append(line) }
        return result
    }

    /// A last line without an end.
    mutating func finish() -> [Line] {
        defer { partial = Data() }
        return partial.isEmpty ? [] : [Self.parse(partial)].compactMap(\.self)
    }

    private mutating func take(_ bytes: ArraySlice<UInt8>, whole: Bool) -> Line? {
        if skipping {
            skipping = !whole
            return nil
        }
        guard partial.count + bytes.count <= maximumLine else {
            partial = Data()
            skipping = !whole
            return .note("dropped a line of more than \(maximumLine) bytes")
        }
        partial.append(contentsOf: bytes)
        guard whole else { return nil }
        defer { partial = Data() }
        return Self.parse(partial)
    }

    private struct Object: Decodable {
        var type: String
        var content: JSONValue?
        var message: JSONValue?
        var tool: JSONValue?
        var input: JSONValue?
        var output: JSONValue?
        var success: JSONValue?
        var duration_ms: JSONValue?
        var turn: JSONValue?

        var toolName: String { String((tool?.text ?? "tool").prefix(NativeCodec.maximumName)) }
    }

    /// Whether brackets outside of strings nest deeper than `maximumDepth`; the decoder recurses.
    private static func isTooDeep(_ line: Data) -> Bool {
        var depth = 0
        var inString = false
        var escaped = false
        for byte in line {
            if escaped {
                escaped = false
            } else if inString {
                escaped = byte == UInt8(ascii: "\\")
                inString = byte != UInt8(ascii: "\"")
            } else {
                switch byte {
                case UInt8(ascii: "\""): inString = true
                case UInt8(ascii: "["), UInt8(ascii: "{"): depth += 1
                case UInt8(ascii: "]"), UInt8(ascii: "}"): depth -= 1
                default: break
                }
                if depth > maximumDepth { return true }
            }
        }
        return false
    }

    private static func parse(_ line: Data) -> Line? {
        guard !line.isEmpty, line != Data([UInt8(ascii: "\r")]) else { return nil }
        guard !isTooDeep(line) else {
            return .note("dropped a line that nests deeper than \(maximumDepth)")
        }
        guard let object = try? JSONDecoder().decode(Object.self, from: line) else {
            return .note(
                "not a protocol line: \(String(decoding: line.prefix(200), as: UTF8.self))")
        }
        switch object.type {
        case "ready": return .ready
        case "text": return object.content?.text.map { .text($0) }
        case "status": return object.content?.text.map { .status($0) }
        case "tool_start": return .toolStart(tool: object.toolName, input: object.input)
        case "tool_end":
            return .toolEnd(
                ToolEnd(
                    tool: object.toolName, durationMs: object.duration_ms?.integer,
                    output: object.output, success: object.success != .bool(false)))
        case "error": return .error(object.message?.text ?? "the agent reported an error")
        case "turn_done": return .turnDone(turn: object.turn?.integer.map { Int($0) })
        case "metadata": return nil
        default: return nil
        }
    }
}

extension JSONValue {
    fileprivate var text: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }

    fileprivate var integer: Int64? {
        switch self {
        case .int(let value): max(0, value)
        case .double(let value): value.isFinite ? Int64(max(0, min(value, 1e15))) : nil
        default: nil
        }
    }
}
