/// What a session has used of the network, from its first day on.
public struct NetworkUsage: Sendable, Hashable, Codable {
    public var bytesOut: Int64 = 0
    public var bytesIn: Int64 = 0
    public var connections: Int64 = 0
    public var requests: Int64 = 0
    /// With those of the cache.
    public var inputTokens: Int64 = 0
    public var outputTokens: Int64 = 0
    /// Of the input, what the model's provider had in its cache.
    public var cachedTokens: Int64 = 0
    /// Millionths of a US dollar.
    public var cost: Int64 = 0
    /// Connections, requests and names that the policy has denied.
    public var denied: Int64 = 0
    /// The bound of each kind whose end was said already, by `NetworkBudget.Kind`.
    public var announced: [String: Int64] = [:]

    /// Nothing yet.
    public init() {}

    public subscript(kind: NetworkBudget.Kind) -> Int64 {
        switch kind {
        case .bytesOut: bytesOut
        case .bytesIn: bytesIn
        case .connections: connections
        case .requests: requests
        case .tokens: inputTokens + outputTokens
        case .cost: cost
        }
    }
}
