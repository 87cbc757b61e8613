/// Where the sessions of an agent may go: nowhere, to what a list names, or everywhere in the
/// public internet. What `deny` names is out of reach in any case.
///
/// A connection is asked for twice. `mayAsk` decides what the client named, before anything is
/// resolved; `mayDial` decides about each address that came out, and the same value is dialled.
public struct NetworkPolicy: Sendable, Hashable {
    /// What is allowed, before `deny`.
    public enum Access: Sendable, Hashable {
        case none
        /// Nothing but this. An empty list allows nothing.
        case list([NetworkRule])
        case open
    }

    /// Entries that `allow` and `deny` may have together.
    public static let maximumRules = 256
    /// Ports at which a session's init can listen (`CSANDBOX_PORTS_MAX`), 80 and 443 among them.
    public static let maximumPorts = 32

    public let access: Access
    /// Empty where `access` is `none`.
    public let deny: [NetworkRule]
    /// Ports at which clients that know no proxy are heard: 80, 443 and each that a rule of `allow`
    /// names. A rule for every port (`:*`) names none. Sorted, at most `maximumPorts`; empty where
    /// `access` is `none`.
    public let tcpPorts: [UInt16]

    /// Allows nothing: the sessions have no network.
    public static let none = NetworkPolicy()
    /// The public internet.
    public static let open = NetworkPolicy(open: [])

    private init() {
        access = .none
        deny = []
        tcpPorts = []
    }

    private init(open deny: [NetworkRule]) {
        access = .open
        self.deny = deny
        tcpPorts = [80, 443]
    }

    /// A list, which may be empty, without what `deny` names.
    ///
    /// - Throws: `tooLong` for more rules or ports than there may be.
    public init(allow: [NetworkRule], deny: [NetworkRule] = []) throws(NetworkTextError) {
        try Self.check(allow.count + deny.count)
        var ports: Set<UInt16> = [80, 443]
        for case .one(let port) in allow.map(\.ports) { ports.insert(port) }
        guard ports.count <= Self.maximumPorts else {
            throw NetworkTextError(
                .tooLong,
                "names \(ports.count) ports, 80 and 443 among them; there can be \(Self.maximumPorts): use ':*' where programs know the proxy"
            )
        }
        access = .list(allow)
        self.deny = deny
        tcpPorts = ports.sorted()
    }

    /// Everything public but what `deny` names.
    ///
    /// - Throws: `tooLong` for more rules than there may be.
    public init(openExcept deny: [NetworkRule]) throws(NetworkTextError) {
        try Self.check(deny.count)
        self.init(open: deny)
    }

    private static func check(_ count: Int) throws(NetworkTextError) {
        guard count <= maximumRules else {
            throw NetworkTextError(.tooLong, "has more than \(maximumRules) rules")
        }
    }

    /// Entries of the list; none where there is no list.
    public var allow: [NetworkRule] {
        if case .list(let rules) = access { rules } else { [] }
    }

    /// May a client go to what it named? To be asked before a name is resolved. A name that is
    /// allowed says nothing about its addresses: ask `mayDial` for each.
    public func mayAsk(_ destination: Destination) -> NetworkVerdict {
        if access == .none { return .denied(.none) }
        if let rule = denial(destination) { return .denied(.rule(rule)) }
        if access == .open { return .allowed(.open) }
        guard let rule = allow.first(where: { $0.matches(destination) }) else {
            return .denied(.noRule)
        }
        return .allowed(.rule(rule))
    }

    /// May a client that knows no proxy learn an address for this name? Where it could connect to
    /// at one of `tcpPorts` at least.
    public func mayResolve(_ name: HostName) -> NetworkVerdict {
        if access == .none { return .denied(.none) }
        let rules = allow.filter { $0.matches(name) }
        let denials = deny.filter { $0.matches(name) }
        for port in tcpPorts where !denials.contains(where: { $0.ports.contains(port) }) {
            if access == .open { return .allowed(.open) }
            if let rule = rules.first(where: { $0.ports.contains(port) }) {
                return .allowed(.rule(rule))
            }
        }
        guard access == .open || !rules.isEmpty, let denial = denials.first else {
            return .denied(.noRule)
        }
        return .denied(.rule(denial))
    }

    /// Names that `allow` has in full, each once, in the order of the file.
    public var exactNames: [HostName] {
        var seen: Set<HostName> = []
        return allow.compactMap { rule in
            guard case .name(let name) = rule.subject else { return nil }
            return seen.insert(name).inserted ? name : nil
        }
    }

    /// May the supervisor dial `address`, at the port of `named`, for a client that named this?
    ///
    /// Addresses outside of the public internet are refused unless the operator has opened exactly
    /// this address and port, and the policy is open or has a rule for that address or for exactly
    /// that name: whoever owns a domain chooses the addresses of all names below it, so `*.` does
    /// not suffice.
    public func mayDial(
        _ address: IPAddress, named: Destination, opened: PrivateDestinations
    ) -> NetworkVerdict {
        let asked = mayAsk(named)
        guard case .allowed(let grounds) = asked else { return asked }
        if case .address(let other) = named.host, other.withoutMapping != address.withoutMapping {
            return .denied(.otherAddress)
        }
        if let rule = denial(address, port: named.port) { return .denied(.rule(rule)) }
        let kind = address.addressClass
        if kind == .ordinary { return asked }
        guard opened.contains(address, port: named.port),
            grounds == .open || namesExactly(address, named)
        else { return .denied(.addressClass(kind)) }
        return asked
    }

    private func namesExactly(_ address: IPAddress, _ named: Destination) -> Bool {
        allow.contains { rule in
            guard rule.ports.contains(named.port) else { return false }
            if rule.matches(address) { return true }
            guard case .name = rule.subject else { return false }
            return rule.matches(named)
        }
    }

    private func denial(_ destination: Destination) -> NetworkRule? {
        switch destination.host {
        case .name: deny.first { $0.matches(destination) }
        case .address(let address): denial(address, port: destination.port)
        }
    }

    /// The address as it is, and the IPv4 address in it.
    private func denial(_ address: IPAddress, port: UInt16) -> NetworkRule? {
        deny.first {
            $0.ports.contains(port) && ($0.matches(address) || $0.matches(address.unmapped))
        }
    }

    /// What a policy has beyond a ceiling.
    public enum Excess: Sendable, Hashable, CustomStringConvertible {
        /// It is open and the ceiling is not.
        case open
        /// An entry of `allow` that no entry of the ceiling covers.
        case rule(NetworkRule)
        /// The ceiling denies this, and the policy allows some of it.
        case withoutDenying(NetworkRule)

        /// The rule in the words of the file.
        public var description: String {
            switch self {
            case .open: "open"
            case .rule(let rule): "\(rule)"
            case .withoutDenying(let rule): "no 'deny' of \(rule)"
            }
        }
    }

    /// The first part of this policy that is not within `ceiling`; nil where all of it is.
    ///
    /// None is within everything, and everything but the ceiling's denials is within open. A rule
    /// is within a list where entries of it cover it, port by port. What the ceiling denies must be
    /// denied here too, unless no rule of this list can mean it.
    public func excess(over ceiling: NetworkPolicy) -> Excess? {
        switch (access, ceiling.access) {
        case (.none, _): return nil
        case (.open, .none), (.open, .list): return .open
        case (.list(let rules), .none):
            if let rule = rules.first { return .rule(rule) }
        case (.list(let rules), .list(let allowed)):
            let beyond = rules.first { rule in
                !rule.parts.allSatisfy { part in allowed.contains { $0.covers(part) } }
            }
            if let beyond { return .rule(beyond) }
        case (_, .open): break
        }
        let missing = ceiling.deny.first { denied in
            let reaches = access == .open || allow.contains { $0.overlaps(denied) }
            return reaches
                && !denied.parts.allSatisfy { part in deny.contains { $0.covers(part) } }
        }
        return missing.map(Excess.withoutDenying)
    }

    /// True where `excess(over:)` finds nothing.
    public func isWithin(ceiling: NetworkPolicy) -> Bool { excess(over: ceiling) == nil }
}
