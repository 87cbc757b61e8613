public import Foundation

/// The names of events (the `event:` line of the stream and `type` in the data).
public struct WireEventType: RawRepresentable, Codable, Sendable, Hashable {
    public var rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public static let runStarted = Self(rawValue: "run.started")
    public static let status = Self(rawValue: "status")
    public static let messageDelta = Self(rawValue: "message.delta")
    public static let toolStart = Self(rawValue: "tool.start")
    public static let toolEnd = Self(rawValue: "tool.end")
    public static let heartbeat = Self(rawValue: "heartbeat")
    public static let runCompleted = Self(rawValue: "run.completed")
    public static let runFailed = Self(rawValue: "run.failed")
    public static let runCancelled = Self(rawValue: "run.cancelled")
    /// Output of processes that a turn left behind, after its terminal event.
    public static let backgroundOutput = Self(rawValue: "background.output")
    /// A destination was denied, for the first time in an hour.
    public static let networkDenied = Self(rawValue: "network.denied")
    /// A budget of the session is used up.
    public static let networkBudget = Self(rawValue: "network.budget")
    /// The session ended or timed out; the stream ends after it.
    public static let sessionEnded = Self(rawValue: "session.ended")

    /// True for the one event that ends a turn.
    public var isTerminal: Bool {
        self == .runCompleted || self == .runFailed || self == .runCancelled
    }
}

/// One event of a session. On the wire (SSE): `id: <seq>`, `event: <type>`, `data: <this as JSON on
/// one line>`. A heartbeat is not stored and has neither `id:` nor `seq`.
public struct WireEvent: Codable, Sendable, Hashable {
    /// Unique and gapless within the session, from 1.
    public var seq: Int64?
    public var type: WireEventType
    /// The turn it belongs to; nil outside of turns.
    public var turn: Int?
    public var time: Date?
    /// `message.delta`, `status`, `background.output`, `network.*`: text. `run.started`: the user's
    /// message.
    public var content: String?
    /// `run.started`: who wrote it.
    public var user: WireUser?
    /// `tool.start`, `tool.end`.
    public var tool: String?
    /// `tool.start`.
    public var input: JSONValue?
    /// `tool.end`.
    public var output: JSONValue?
    /// `tool.end`.
    public var success: Bool?
    /// `tool.end` and the terminal events, milliseconds.
    public var durationMs: Int64?
    /// `run.failed`.
    public var error: WireEventError?
    /// `session.ended`: the final status; `reason` says why.
    public var status: SessionStatus?
    public var reason: String?
    /// `network.budget`.
    public var budget: WireBudget?
    /// `network.denied`: a host, and a port where one was named.
    public var destination: String?

    public init(seq: Int64? = nil, type: WireEventType, turn: Int? = nil, time: Date? = nil) {
        self.seq = seq
        self.type = type
        self.turn = turn
        self.time = time
    }
}

/// Any JSON value, kept as it came.
public enum JSONValue: Codable, Sendable, Hashable {
    case null
    case bool(Bool)
    case int(Int64)
    case double(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Int64.self) {
            self = .int(value)
        } else if let value = try? container.decode(Double.self) {
            self = .double(value)
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([JSONValue].self) {
            self = .array(value)
        } else {
            self = .object(try container.decode([String: JSONValue].self))
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .bool(let value): try container.encode(value)
        case .int(let value): try container.encode(value)
        case .double(let value): try container.encode(value)
        case .string(let value): try container.encode(value)
        case .array(let value): try container.encode(value)
        case .object(let value): try container.encode(value)
        }
    }
}
