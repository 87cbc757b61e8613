/// What a policy says about a destination, with the reason, for the record of connections.
public enum NetworkVerdict: Sendable, Hashable, CustomStringConvertible {
    case allowed(Grounds)
    case denied(Denial)

    /// Why something is allowed.
    public enum Grounds: Sendable, Hashable {
        /// An entry of `allow`.
        case rule(NetworkRule)
        /// The policy is open.
        case open
    }

    /// Why something is denied.
    public enum Denial: Sendable, Hashable {
        /// The session has no network.
        case none
        /// No entry of `allow` means it.
        case noRule
        /// An entry of `deny`.
        case rule(NetworkRule)
        /// The address that would be dialled is of this class, and the operator has not opened it.
        case addressClass(AddressClass)
        /// Another address than the one that was asked for.
        case otherAddress
    }

    public var isAllowed: Bool {
        if case .allowed = self { true } else { false }
    }

    /// The rule that decided, as it is shown: `example.com`, `open`, `deny 10.0.0.0/8`, `no rule`.
    public var reason: String {
        switch self {
        case .allowed(.rule(let rule)): "\(rule)"
        case .allowed(.open): "open"
        case .denied(.none): "no network"
        case .denied(.noRule): "no rule"
        case .denied(.rule(let rule)): "deny \(rule)"
        case .denied(.addressClass(let name)): "\(name) address"
        case .denied(.otherAddress): "other address"
        }
    }

    /// `allowed by …` or `denied by …`.
    public var description: String { (isAllowed ? "allowed: " : "denied: ") + reason }
}
