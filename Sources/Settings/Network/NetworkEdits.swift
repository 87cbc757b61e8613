/// What was changed in the policy of one session, beside that of its agent.
public struct NetworkEdits: Sendable, Hashable, Codable {
    public private(set) var allow: [NetworkRule] = []
    public private(set) var deny: [NetworkRule] = []

    /// None.
    public init() {}

    public var isEmpty: Bool { allow.isEmpty && deny.isEmpty }

    /// Adds a rule; the newest word on the same destinations counts.
    public mutating func allow(_ rule: NetworkRule) {
        deny.removeAll { rule.covers($0) }
        if !allow.contains(rule) { allow.append(rule) }
    }

    /// Adds a rule; the newest word on the same destinations counts.
    public mutating func deny(_ rule: NetworkRule) {
        allow.removeAll { rule.covers($0) }
        if !deny.contains(rule) { deny.append(rule) }
    }

    /// The policy with the changes. What the policy itself denies stays denied.
    ///
    /// - Throws: `tooLong` for more rules or ports than a policy may have.
    public func applied(to base: NetworkPolicy) throws(NetworkTextError) -> NetworkPolicy {
        if isEmpty { return base }
        switch base.access {
        case .none: return allow.isEmpty ? base : try NetworkPolicy(allow: allow, deny: deny)
        case .open: return try NetworkPolicy(openExcept: Self.joined(base.deny, deny))
        case .list(let rules):
            return try NetworkPolicy(
                allow: Self.joined(rules, allow), deny: Self.joined(base.deny, deny))
        }
    }

    private static func joined(_ base: [NetworkRule], _ more: [NetworkRule]) -> [NetworkRule] {
        base + more.filter { !base.contains($0) }
    }
}
