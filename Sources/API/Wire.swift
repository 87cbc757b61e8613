public import Foundation

// The wire types of the HTTP API: what server and client exchange as JSON (snake_case keys, RFC
// 3339 times in UTC with milliseconds). Both sides use `WireCoding` and nothing else, so that they
// cannot disagree.

/// JSON settings that every request and answer of the API uses.
public enum WireCoding {
    /// Encodes with snake_case keys, RFC 3339 times and sorted keys.
    public static func encoder() -> JSONEncoder {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.dateEncodingStrategy = .custom { date, encoder in
            var container = encoder.singleValueContainer()
            try container.encode(format(date))
        }
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return encoder
    }

    /// Decodes what `encoder()` makes; unknown keys are ignored so that old clients meet new
    /// servers.
    public static func decoder() -> JSONDecoder {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        decoder.dateDecodingStrategy = .custom { decoder in
            let text = try decoder.singleValueContainer().decode(String.self)
            guard let date = parse(text) else {
                throw DecodingError.dataCorrupted(
                    .init(codingPath: decoder.codingPath, debugDescription: "not a time: \(text)"))
            }
            return date
        }
        return decoder
    }

    private static let style = Date.ISO8601FormatStyle(includingFractionalSeconds: true)

    /// RFC 3339 with milliseconds, for example `2026-03-09T14:23:15.000Z`.
    public static func format(_ date: Date) -> String { date.formatted(style) }

    /// The time that `format` wrote, or nil.
    public static func parse(_ text: String) -> Date? {
        (try? style.parse(text)) ?? (try? Date.ISO8601FormatStyle().parse(text))
    }
}

/// The four statuses of a session (spec row 5); the raw value is what the wire and the command line
/// show.
public enum SessionStatus: String, Codable, Sendable, CaseIterable {
    case active, idle, ended, timeout
}

/// A person or program known by the credentials of its socket (`SO_PEERCRED`).
public struct WireUser: Codable, Sendable, Hashable {
    /// Numeric user id on the host.
    public var uid: UInt32
    /// Login name, or the number as text where the id has no name.
    public var name: String

    public init(uid: UInt32, name: String) {
        self.uid = uid
        self.name = name
    }
}

/// The agent that a session talks to, as sessions show it.
public struct WireAgentReference: Codable, Sendable, Hashable {
    /// `agt_` + 16 hex digits.
    public var id: String
    public var name: String
    /// Counts the deploys of this name from 1; a session keeps the version it started with.
    public var version: Int

    public init(id: String, name: String, version: Int) {
        self.id = id
        self.name = name
        self.version = version
    }
}

/// A turn in progress, as part of a session.
public struct WireTurn: Codable, Sendable, Hashable {
    /// Counts the turns of the session from 1.
    public var number: Int
    /// Number of the turn's `run.started` event: attach with `after = firstSeq - 1`.
    public var firstSeq: Int64
    public var user: WireUser

    public init(number: Int, firstSeq: Int64, user: WireUser) {
        self.number = number
        self.firstSeq = firstSeq
        self.user = user
    }
}

/// A session as every call of the API returns it.
public struct WireSession: Codable, Sendable, Hashable {
    /// `ses_` + UUIDv4, lower case.
    public var id: String
    /// The first 12 hex digits of the id.
    public var shortId: String
    public var agent: WireAgentReference
    public var status: SessionStatus
    /// Why it ended, where it has: `ended_by_user`, `idle_timeout`, …
    public var reason: String?
    /// First user message, folded; nil before the first message.
    public var title: String?
    /// User messages and agent responses.
    public var messages: Int
    public var createdAt: Date
    public var lastActiveAt: Date
    public var endedAt: Date?
    /// Seconds.
    public var idleTimeoutSeconds: Int
    /// When an idle session will time out, by the wall clock as it is now.
    public var expiresAt: Date?
    /// Number of the newest event; 0 before the first.
    public var lastSeq: Int64
    public var creator: WireUser
    /// Everyone who wrote to the session or resumed it, the creator first.
    public var participants: [WireUser]
    /// The running turn, while `status` is active.
    public var turn: WireTurn?
    /// What protects it; only where one session is asked for, and once its sandbox has run.
    public var isolation: WireIsolation?
    /// What it has used of the network; only where one session is asked for.
    public var budget: [WireBudget]?
    /// What it may use and has used; where `isolation` is.
    public var limits: WireLimits?

    public init(
        id: String, shortId: String, agent: WireAgentReference, status: SessionStatus,
        reason: String?,
        title: String?, messages: Int, createdAt: Date, lastActiveAt: Date, endedAt: Date?,
        idleTimeoutSeconds: Int, expiresAt: Date?, lastSeq: Int64, creator: WireUser,
        participants: [WireUser], turn: WireTurn?
    ) {
        self.id = id
        self.shortId = shortId
        self.agent = agent
        self.status = status
        self.reason = reason
        self.title = title
        self.messages = messages
        self.createdAt = createdAt
        self.lastActiveAt = lastActiveAt
        self.endedAt = endedAt
        self.idleTimeoutSeconds = idleTimeoutSeconds
        self.expiresAt = expiresAt
        self.lastSeq = lastSeq
        self.creator = creator
        self.participants = participants
        self.turn = turn
    }
}

/// The measures that protect a session, by their names (`docs/security.md`).
public struct WireIsolation: Codable, Sendable, Hashable {
    public var inForce: [String]
    /// What this host's kernel or set-up does not provide.
    public var missing: [String]
    /// Version of the kernel's Landlock interface; 0 where there is none.
    public var landlock: Int

    public init(inForce: [String], missing: [String], landlock: Int) {
        self.inForce = inForce
        self.missing = missing
        self.landlock = landlock
    }
}

/// Answer of `GET /v1/sessions`: newest activity first.
public struct WireSessionList: Codable, Sendable {
    public var sessions: [WireSession]
    /// How many sessions match in all; more than `sessions.count` when the limit cut the list.
    public var total: Int

    public init(sessions: [WireSession], total: Int) {
        self.sessions = sessions
        self.total = total
    }
}

/// Body of `POST /v1/sessions`.
public struct WireCreateSession: Codable, Sendable {
    /// Name of the agent.
    public var agent: String
    /// Seconds, 10 … 2,592,000; nil takes the agent's.
    public var idleTimeoutSeconds: Int?

    public init(agent: String, idleTimeoutSeconds: Int? = nil) {
        self.agent = agent
        self.idleTimeoutSeconds = idleTimeoutSeconds
    }
}

/// Body of `POST /v1/sessions/{id}/messages`.
public struct WireSendMessage: Codable, Sendable {
    public var content: String
    /// True: answer 202 with `WireAccepted` at once instead of the turn's event stream.
    public var detach: Bool?

    public init(content: String, detach: Bool? = nil) {
        self.content = content
        self.detach = detach
    }
}

/// Answer to a detached message.
public struct WireAccepted: Codable, Sendable {
    public var sessionId: String
    /// Number of the turn.
    public var turn: Int
    /// Number of its `run.started` event.
    public var firstSeq: Int64

    public init(sessionId: String, turn: Int, firstSeq: Int64) {
        self.sessionId = sessionId
        self.turn = turn
        self.firstSeq = firstSeq
    }
}

/// One message of `GET /v1/sessions/{id}/messages`.
public struct WireMessage: Codable, Sendable {
    /// `user` or `agent`.
    public var role: String
    public var turn: Int
    public var content: String
    public var createdAt: Date
    /// Who wrote it, for `user`.
    public var user: WireUser?
    /// For `agent`: `streaming`, `completed`, `failed` or `cancelled`.
    public var status: String?
    public var durationMs: Int64?
    public var error: WireEventError?
    /// True: the text is longer; the event stream has all of it.
    public var truncated: Bool?

    public init(
        role: String, turn: Int, content: String, createdAt: Date, user: WireUser?, status: String?,
        durationMs: Int64?, error: WireEventError?
    ) {
        self.role = role
        self.turn = turn
        self.content = content
        self.createdAt = createdAt
        self.user = user
        self.status = status
        self.durationMs = durationMs
        self.error = error
    }
}

/// Answer of `GET /v1/sessions/{id}/messages`.
public struct WireHistory: Codable, Sendable {
    public var session: WireSession
    public var messages: [WireMessage]
    /// There is more: ask again with `after` this turn.
    public var nextAfter: Int?

    public init(session: WireSession, messages: [WireMessage], nextAfter: Int? = nil) {
        self.session = session
        self.messages = messages
        self.nextAfter = nextAfter
    }
}

/// Why a turn failed: a stable code for programs and a sentence for people.
public struct WireEventError: Codable, Sendable, Hashable {
    public var code: String
    public var message: String

    public init(code: String, message: String) {
        self.code = code
        self.message = message
    }
}

/// An agent as `GET /v1/agents` shows it.
public struct WireAgent: Codable, Sendable, Hashable {
    public var id: String
    public var name: String
    public var version: Int
    /// `native` or `exec`.
    public var `protocol`: String
    public var command: [String]
    /// `shipped`, `operator` (the operator's agents directory) or `deployed`.
    public var origin: String
    public var createdAt: Date
    public var updatedAt: Date
    /// Seconds.
    public var idleTimeoutSeconds: Int
    /// Seconds.
    public var turnTimeoutSeconds: Int
    /// Live sessions that use this agent, in any version.
    public var liveSessions: Int

    public init(
        id: String, name: String, version: Int, protocol: String, command: [String], origin: String,
        createdAt: Date, updatedAt: Date, idleTimeoutSeconds: Int, turnTimeoutSeconds: Int,
        liveSessions: Int
    ) {
        self.id = id
        self.name = name
        self.version = version
        self.`protocol` = `protocol`
        self.command = command
        self.origin = origin
        self.createdAt = createdAt
        self.updatedAt = updatedAt
        self.idleTimeoutSeconds = idleTimeoutSeconds
        self.turnTimeoutSeconds = turnTimeoutSeconds
        self.liveSessions = liveSessions
    }
}

/// Answer of `GET /v1/agents`, by name.
public struct WireAgentList: Codable, Sendable {
    public var agents: [WireAgent]

    public init(agents: [WireAgent]) { self.agents = agents }
}

/// Answer of `GET /healthz`.
public struct WireHealth: Codable, Sendable {
    /// `ok`, or `draining` during a shutdown.
    public var status: String
    public var version: String
    public var pid: Int32
    /// Seconds since the supervisor started.
    public var uptimeSeconds: Int
    public var stateDirectory: String
    /// Sessions that are active or idle.
    public var liveSessions: Int
    /// How many sessions the id range allows at once.
    public var sessionCapacity: Int

    public init(
        status: String, version: String, pid: Int32, uptimeSeconds: Int, stateDirectory: String,
        liveSessions: Int, sessionCapacity: Int
    ) {
        self.status = status
        self.version = version
        self.pid = pid
        self.uptimeSeconds = uptimeSeconds
        self.stateDirectory = stateDirectory
        self.liveSessions = liveSessions
        self.sessionCapacity = sessionCapacity
    }
}
