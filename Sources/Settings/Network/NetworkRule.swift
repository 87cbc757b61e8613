/// One entry of a policy's lists: who, and at which ports.
///
/// | text | meaning |
/// |---|---|
/// | `example.com` | this name |
/// | `*.example.com` | every name with at least one label before it, not `example.com` itself |
/// | `203.0.113.7`, `2001:db8::7` | this address |
/// | `203.0.113.0/24`, `2001:db8::/32` | these addresses |
///
/// each at the ports 80 and 443, or with `:PORT` at that one, or with `:*` at every one. IPv6 with
/// a port stands in brackets: `[2001:db8::7]:8443`, `[2001:db8::/32]:*`.
public struct NetworkRule: Sendable, Hashable, CustomStringConvertible {
    /// Who is meant.
    public enum Subject: Sendable, Hashable {
        case name(HostName)
        /// Names below this one.
        case below(HostName)
        case range(AddressRange)
    }

    /// At which ports.
    public enum Ports: Sendable, Hashable {
        /// 80 and 443.
        case web
        case one(UInt16)
        case any

        /// True for a port that is meant.
        public func contains(_ port: UInt16) -> Bool {
            switch self {
            case .web: port == 80 || port == 443
            case .one(let own): port == own
            case .any: true
            }
        }

        func covers(_ other: Ports) -> Bool {
            switch other {
            case .web: contains(80) && contains(443)
            case .one(let port): contains(port)
            case .any: self == .any
            }
        }

        func overlaps(_ other: Ports) -> Bool {
            switch other {
            case .web: contains(80) || contains(443)
            case .one(let port): contains(port)
            case .any: true
            }
        }
    }

    /// Longest text of a rule, in bytes.
    static let longestText = HostName.maximumBytes + 10

    public let subject: Subject
    public let ports: Ports

    public init(_ subject: Subject, ports: Ports = .web) {
        self.subject = subject
        self.ports = ports
    }

    /// Reads a rule in one of the forms above.
    ///
    /// - Throws: what `HostName` and `AddressRange` throw, or `tooLong`, `port`, `wildcard`.
    public init(_ text: some StringProtocol) throws(NetworkTextError) {
        let bytes = Array(text.utf8)
        guard bytes.count <= Self.longestText else {
            throw NetworkTextError(
                .tooLong, "'\(ASCII.shown(bytes))' is longer than \(Self.longestText) bytes")
        }
        let (host, port) = try Self.split(bytes)
        ports = try Self.ports(port, of: bytes)
        subject = try Self.subject(host, of: bytes)
    }

    private static func split(
        _ text: [UInt8]
    ) throws(NetworkTextError) -> (host: ArraySlice<UInt8>, port: ArraySlice<UInt8>?) {
        let colons = text.count { $0 == UInt8(ascii: ":") }
        // More than one colon without a bracket can only be IPv6, and a port has no place there.
        if colons > 1, text.first != UInt8(ascii: "[") { return (text[...], nil) }
        let (host, port) = try Destination.split(text[...])
        guard host.first == UInt8(ascii: "[") else { return (host, port) }
        let inside = host.dropFirst().dropLast()
        guard inside.contains(UInt8(ascii: ":")) else {
            throw NetworkTextError(
                .address, "'\(ASCII.shown(text))' has brackets: only IPv6 addresses stand in them")
        }
        return (inside, port)
    }

    private static func ports(
        _ text: ArraySlice<UInt8>?, of rule: [UInt8]
    ) throws(NetworkTextError) -> Ports {
        guard let text else { return .web }
        if text.elementsEqual([UInt8(ascii: "*")]) { return .any }
        do {
            return .one(try Destination.port(text, of: rule))
        } catch {
            throw NetworkTextError(.port, error.message + ", or '*' for every port")
        }
    }

    private static func subject(
        _ host: ArraySlice<UInt8>, of rule: [UInt8]
    ) throws(NetworkTextError) -> Subject {
        let shown = ASCII.shown(rule)
        let star = UInt8(ascii: "*")
        guard !host.isEmpty else {
            throw NetworkTextError(.empty, "'\(shown)' has no name and no address")
        }
        if host.contains(UInt8(ascii: "/")) || host.contains(UInt8(ascii: ":")) {
            return .range(try AddressRange(text: host))
        }
        if let address = IPAddress(text: host) { return .range(AddressRange(address)) }
        guard host.contains(star) else { return .name(try HostName(host)) }
        if host.elementsEqual([star]) {
            throw NetworkTextError(
                .wildcard, "'\(shown)' names every host; 'network: open' says so")
        }
        let suffix = host.dropFirst(2)
        guard host.starts(with: Array("*.".utf8)), !suffix.contains(star), !suffix.isEmpty else {
            throw NetworkTextError(
                .wildcard,
                "'\(shown)' has a '*' that is not the first label of a name, as in '*.example.com'")
        }
        return .below(try HostName(suffix))
    }

    /// True where the rule means this destination.
    public func matches(_ destination: Destination) -> Bool {
        guard ports.contains(destination.port) else { return false }
        switch destination.host {
        case .name(let name): return matches(name)
        case .address(let address): return matches(address)
        }
    }

    func matches(_ name: HostName) -> Bool {
        switch subject {
        case .name(let own): own == name
        case .below(let suffix): name.isBelow(suffix)
        case .range: false
        }
    }

    func matches(_ address: IPAddress) -> Bool {
        guard case .range(let range) = subject else { return false }
        return range.contains(address)
    }

    /// True where every destination of `other` is one of this rule. Names are compared as names:
    /// what addresses they have makes no difference.
    public func covers(_ other: NetworkRule) -> Bool {
        guard ports.covers(other.ports) else { return false }
        return switch (subject, other.subject) {
        case (.name(let own), .name(let name)): own == name
        case (.below(let suffix), .name(let name)): name.isBelow(suffix)
        case (.below(let suffix), .below(let name)): name == suffix || name.isBelow(suffix)
        case (.range(let own), .range(let range)): own.contains(range)
        default: false
        }
    }

    /// False only where no connection can be meant by both: a name may have any address.
    func overlaps(_ other: NetworkRule) -> Bool {
        guard ports.overlaps(other.ports) else { return false }
        return switch (subject, other.subject) {
        case (.name(let own), .name(let name)): own == name
        case (.below(let suffix), .name(let name)), (.name(let name), .below(let suffix)):
            name.isBelow(suffix)
        case (.below(let own), .below(let suffix)):
            own == suffix || own.isBelow(suffix) || suffix.isBelow(own)
        case (.range(let own), .range(let range)): own.overlaps(range)
        default: true
        }
    }

    /// The rule in parts with one port each; a rule for every port is one part.
    var parts: [NetworkRule] {
        ports == .web ? [80, 443].map { NetworkRule(subject, ports: .one($0)) } : [self]
    }

    /// The canonical text, from which the same rule can be read again.
    public var description: String {
        let host =
            switch subject {
            case .name(let name): name.text
            case .below(let suffix): "*.\(suffix.text)"
            case .range(let range): "\(range)"
            }
        let suffix =
            switch ports {
            case .web: ""
            case .one(let port): ":\(port)"
            case .any: ":*"
            }
        return suffix.isEmpty || !host.contains(":") ? host + suffix : "[\(host)]\(suffix)"
    }
}

extension NetworkRule: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        do {
            try self.init(container.decode(String.self))
        } catch let error as NetworkTextError {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: error.message)
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}
