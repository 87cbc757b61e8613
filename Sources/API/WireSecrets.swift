public import Foundation

/// One key of an agent. Its value is never shown.
public struct WireSecret: Codable, Sendable, Hashable {
    /// What requests get.
    public enum State: String, Codable, Sendable {
        case set
        case notSet = "not_set"
        /// It was set for another place than the agent's newest version sends it to.
        case withheld
        /// The master key is another one than when it was set.
        case unreadable
        /// The agent's newest version does not have it any more.
        case unused
    }

    /// The variable.
    public var name: String
    public var state: State
    /// The only place that the key is sent to; nil for a plain one.
    public var url: String?
    public var header: String?
    /// Variables that get the gateway's address.
    public var baseURL: [String] = []
    /// The value itself is put into the agent's environment.
    public var plain = false
    public var intercept = false
    public var changedAt: Date?
    public var changedBy: WireUser?

    enum CodingKeys: String, CodingKey {
        case name, state, url, header, plain, intercept, changedAt, changedBy
        case baseURL = "baseUrl"
    }

    public init(name: String, state: State) {
        self.name = name
        self.state = state
    }
}

/// `GET /v1/agents/{name}/secrets`
public struct WireSecretList: Codable, Sendable {
    public var secrets: [WireSecret]

    public init(secrets: [WireSecret]) { self.secrets = secrets }
}

/// `PUT /v1/agents/{name}/secrets/{key}`
public struct WireSetSecret: Codable, Sendable, CustomStringConvertible {
    public var value: String

    public init(value: String) { self.value = value }

    public var description: String { "<secret>" }
}
