/// Answer of `POST /v1/supervisor/reload`.
public struct WireReload: Codable, Sendable {
    /// `reloaded`
    public var status: String
    /// Agents that files describe.
    public var agents: Int
    /// Settings that have changed and count from the next start only.
    public var waiting: [String]

    public init(status: String, agents: Int, waiting: [String]) {
        self.status = status
        self.agents = agents
        self.waiting = waiting
    }
}
