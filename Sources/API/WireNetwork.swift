public import Foundation

/// One connection or request that a session tried.
public struct WireNetworkRecord: Codable, Sendable, Hashable {
    /// How it was asked for.
    public enum Kind: String, Codable, Sendable {
        /// HTTP CONNECT.
        case connect
        /// SOCKS5.
        case socks
        /// A connection that a program opened without knowing of a proxy.
        case transparent
        /// An HTTP request in clear.
        case request
        /// A name query.
        case name
    }

    /// What came of it.
    public enum Verdict: String, Codable, Sendable {
        case allowed
        /// The policy, or a bound of the session.
        case denied
        /// Allowed, but the other side could not be reached.
        case failed
    }

    public var time: Date
    public var kind: Kind
    /// As the client named it, in canonical form; nil where it had none.
    public var host: String?
    public var port: Int?
    /// The address that was dialled.
    public var address: String?
    public var method: String?
    /// Without the query.
    public var path: String?
    public var verdict: Verdict
    /// The rule that allowed or denied it, or why it failed.
    public var reason: String?
    /// The secret that the request was given, by its variable.
    public var secret: String?
    /// Of the HTTP answer.
    public var status: Int?
    /// Bytes from the session to the outside.
    public var sent: Int
    /// Bytes from the outside to the session.
    public var received: Int
    /// Milliseconds from the request to the end.
    public var duration: Int
    /// Of an answer of a model: its name, and the tokens that were used.
    public var model: String?
    /// With `cachedTokens`.
    public var inputTokens: Int?
    public var outputTokens: Int?
    public var cachedTokens: Int?
    /// True where the answer did not say all of it.
    public var tokensEstimated: Bool?
    /// Millionths of a US dollar, where the agent has prices.
    public var cost: Int64?

    public init(_ kind: Kind, host: String?, port: Int?, time: Date) {
        self.kind = kind
        self.host = host
        self.port = port
        self.time = time
        verdict = .denied
        sent = 0
        received = 0
        duration = 0
    }
}

/// How much of one kind a session has used of the network.
public struct WireBudget: Codable, Sendable, Hashable {
    /// `bytes_out`, `bytes_in`, `connections`, `requests`, `tokens` or `cost`.
    public var kind: String
    /// Bytes, numbers, or millionths of a US dollar.
    public var used: Int64
    /// Nil: no bound.
    public var limit: Int64?

    public init(kind: String, used: Int64, limit: Int64?) {
        self.kind = kind
        self.used = used
        self.limit = limit
    }
}

/// How often a destination was denied.
public struct WireDenial: Codable, Sendable, Hashable {
    public var destination: String
    public var count: Int

    public init(destination: String, count: Int) {
        self.destination = destination
        self.count = count
    }
}

/// What a session may reach, and what it tried.
public struct WireNetwork: Codable, Sendable, Hashable {
    /// `none`, `list` or `open`.
    public var access: String
    /// What may be reached, where `access` is `list`.
    public var allow: [String]
    /// What may not be reached in any case.
    public var deny: [String]
    /// What was changed for this session only, among the above.
    public var edited: [String]
    /// Set where a change comes into force only with the session's next sandbox.
    public var note: String?
    /// What it has used since it was created.
    public var budget: [WireBudget]?
    /// Denials since it was created.
    public var denied: Int64?
    /// The most frequent of the last hour.
    public var denials: [WireDenial]?
    /// The newest, oldest first.
    public var records: [WireNetworkRecord]

    public init(
        access: String, allow: [String], deny: [String], edited: [String], note: String?,
        records: [WireNetworkRecord]
    ) {
        self.access = access
        self.allow = allow
        self.deny = deny
        self.edited = edited
        self.note = note
        self.records = records
    }
}

/// `POST /v1/sessions/{id}/network`: rules that the session gets, each `HOST`, `*.SUFFIX`, an
/// address or a range of addresses, with or without a port; and bounds of its budget, each
/// `KIND=VALUE` or `KIND=none`.
public struct WireEditNetwork: Codable, Sendable, Hashable {
    public var allow: [String]?
    public var deny: [String]?
    public var budget: [String]?

    public init(allow: [String]? = nil, deny: [String]? = nil, budget: [String]? = nil) {
        self.allow = allow
        self.deny = deny
        self.budget = budget
    }
}
