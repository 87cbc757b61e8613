/// The one place that a key is sent to: a host, a port, and the path that everything lies below.
public struct SecretURL: Sendable, Hashable, CustomStringConvertible {
    public static let maximumBytes = 1024

    public let destination: Destination
    /// False for `http://`, which only the operator's `private_destinations` may be.
    public let isTLS: Bool
    /// Begins with `/` and does not end with one; empty for the whole host.
    public let path: String

    /// Reads `https://HOST[:PORT][/PATH]`.
    ///
    /// - Throws: what `Destination` throws, `combination` for another scheme or a bad path.
    public init(_ text: String) throws(NetworkTextError) {
        guard text.utf8.count <= Self.maximumBytes else {
            throw NetworkTextError(.tooLong, "is longer than \(Self.maximumBytes) bytes")
        }
        let scheme = ["https://", "http://"].first { text.hasPrefix($0) }
        guard let scheme else {
            throw NetworkTextError(.combination, "must begin with https:// or http://")
        }
        isTLS = scheme == "https://"
        let rest = text.dropFirst(scheme.count)
        let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        destination = try Destination(
            authority: Array(authority.utf8), defaultPort: isTLS ? 443 : 80)
        var path = Substring(rest.dropFirst(authority.count))
        if !path.isEmpty, let problem = RequestPath.problem(path.utf8) {
            throw NetworkTextError(.combination, "has the path '\(path)', which \(problem)")
        }
        if path.hasSuffix("/") { path.removeLast() }
        self.path = String(path)
    }

    /// The path of a request below this one, or nil where it would leave.
    ///
    /// - Parameter rest: what the client asked for, with its query; empty or beginning with `/`.
    public func joined(_ rest: some StringProtocol) -> String? {
        let tail = rest.prefix { $0 != "?" }
        if !tail.isEmpty, RequestPath.problem(tail.utf8) != nil { return nil }
        let query = rest.dropFirst(tail.count)
        guard query.utf8.allSatisfy({ (0x21...0x7e).contains($0) && $0 != UInt8(ascii: "#") })
        else { return nil }
        let whole = path + tail
        return (whole.isEmpty ? "/" : whole) + query
    }

    /// What a request for `target` asks for below this path; nil for one that is not below it.
    public func below(_ target: String) -> Substring? {
        guard target.hasPrefix(path) else { return nil }
        let rest = target.dropFirst(path.count)
        return rest.isEmpty || rest.first == "/" || rest.first == "?" ? rest : nil
    }

    /// `https://HOST:PORT/PATH`: one text for each value.
    public var description: String { "\(isTLS ? "https" : "http")://\(destination)\(path)" }
}

extension SecretURL {
    /// Exactly this host and port.
    public var rule: NetworkRule {
        let subject: NetworkRule.Subject =
            switch destination.host {
            case .name(let name): .name(name)
            case .address(let address): .range(AddressRange(address))
            }
        return NetworkRule(subject, ports: .one(destination.port))
    }
}
