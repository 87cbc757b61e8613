public import Settings

/// A key that requests of one session may be given on their way: the session has the stand-in.
public struct GatewaySecret: Sendable {
    public let name: String
    let url: SecretURL
    let header: AgentSecret.Header
    let isIntercepted: Bool
    let standIn: [UInt8]

    /// Nil for a plain one, which goes nowhere by itself.
    public init?(_ secret: AgentSecret, standIn: String) {
        guard let url = secret.url, let header = secret.header else { return nil }
        name = secret.name
        self.url = url
        self.header = header
        isIntercepted = secret.isIntercepted
        self.standIn = Array(standIn.utf8)
    }

    /// True where this is the session's stand-in. The time it takes does not tell how much of it is
    /// right.
    func isStandIn(_ text: some Collection<UInt8>) -> Bool {
        guard text.count == standIn.count else { return false }
        var difference: UInt8 = 0
        for (one, other) in zip(text, standIn) { difference |= one ^ other }
        return difference == 0
    }
}

/// The keys of a session and the way to their values.
public struct SessionSecrets: Sendable {
    /// Why there is no value. The texts are for the agent.
    public struct Problem: Error, Sendable {
        /// For programs: `secret_not_set` and the like.
        public var code: String
        public var text: String

        public init(code: String, text: String) {
            self.code = code
            self.text = text
        }
    }

    /// Gives the newest value of a key, by its variable.
    public typealias Source = @Sendable (String) async -> Result<SecretValue, Problem>

    let list: [GatewaySecret]
    let source: Source

    public init(_ list: [GatewaySecret], source: @escaping Source) {
        self.list = list
        self.source = source
    }

    /// None.
    public static let none = SessionSecrets([]) {
        .failure(Problem(code: "unknown_secret", text: "there is no secret '\($0)'"))
    }

    /// The supervisor ends TLS for this destination by itself.
    func intercepts(_ destination: Destination) -> Bool {
        list.contains { $0.isIntercepted && $0.url.destination == destination }
    }

    /// Names whose connections are ended here.
    var interceptedNames: [HostName] {
        list.filter(\.isIntercepted).compactMap {
            if case .name(let name) = $0.url.destination.host { name } else { nil }
        }
    }
}

extension GatewaySecret {
    /// The destination and no other. A key opens nothing for the session's own connections.
    func policy(deny: [NetworkRule]) throws(NetworkTextError) -> NetworkPolicy {
        try NetworkPolicy(allow: [url.rule], deny: deny)
    }
}
