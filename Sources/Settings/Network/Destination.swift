/// Where a client wants to go: a name or an address, as it was said, and a port.
public struct Destination: Sendable, Hashable, CustomStringConvertible {
    /// The one side of a connection, without the port.
    public enum Host: Sendable, Hashable, CustomStringConvertible {
        case name(HostName)
        case address(IPAddress)

        /// Reads a name or an address as SOCKS and configuration have it. IPv6 may stand in
        /// brackets.
        ///
        /// - Throws: what `HostName` throws, or `address`.
        public init(_ bytes: some Collection<UInt8>) throws(NetworkTextError) {
            if let address = IPAddress(text: bytes) {
                self = .address(address)
                return
            }
            guard bytes.first == UInt8(ascii: "[") else {
                self = .name(try HostName(bytes))
                return
            }
            let text = bytes.prefix(IPAddress.longestText + 3)
            guard Array(text).last == UInt8(ascii: "]"),
                let address = IPAddress(text: Array(text.dropFirst()).dropLast()),
                case .v6 = address
            else {
                throw NetworkTextError(
                    .address, "'\(ASCII.shown(bytes))' must be an IPv6 address in brackets")
            }
            self = .address(address)
        }

        /// As it stands before a port: IPv6 in brackets.
        public var description: String {
            switch self {
            case .name(let name): name.text
            case .address(let address): address.width == 128 ? "[\(address)]" : "\(address)"
            }
        }
    }

    /// Longest authority that is looked at, in bytes: a name with a dot at its end, and a port.
    public static let longestAuthority = HostName.maximumBytes + 7

    public let host: Host
    /// 1 to 65535.
    public let port: UInt16

    /// Nil for port 0.
    public init?(host: Host, port: UInt16) {
        guard port > 0 else { return nil }
        self.host = host
        self.port = port
    }

    /// Reads `HOST:PORT` or `[V6]:PORT` (RFC 9112, section 3.2.3), and `HOST` alone where there is
    /// a default. User names (`user@host`) are refused: who reads them otherwise goes elsewhere.
    ///
    /// - Throws: what `HostName` throws, or `address`, `port`, `tooLong`.
    public init(
        authority bytes: some Collection<UInt8>, defaultPort: UInt16? = nil
    ) throws(NetworkTextError) {
        guard bytes.count <= Self.longestAuthority else {
            throw NetworkTextError(.tooLong, "'\(ASCII.shown(bytes))' is longer than a destination")
        }
        let text = Array(bytes)
        let (host, port) = try Self.split(text[...])
        if let port {
            self.port = try Self.port(port, of: text)
        } else if let defaultPort, defaultPort > 0 {
            self.port = defaultPort
        } else {
            throw NetworkTextError(.port, "'\(ASCII.shown(text))' has no port")
        }
        self.host = try Host(host)
    }

    /// Reads `HOST:PORT`; see `init(authority:defaultPort:)`.
    public init(
        _ text: some StringProtocol, defaultPort: UInt16? = nil
    ) throws(NetworkTextError) {
        try self.init(authority: Array(text.utf8), defaultPort: defaultPort)
    }

    /// Host, and what stands after the colon that is not in brackets.
    static func split(
        _ text: ArraySlice<UInt8>
    ) throws(NetworkTextError) -> (host: ArraySlice<UInt8>, port: ArraySlice<UInt8>?) {
        let colon = UInt8(ascii: ":")
        if text.first == UInt8(ascii: "[") {
            guard let end = text.firstIndex(of: UInt8(ascii: "]")) else {
                throw NetworkTextError(.address, "'\(ASCII.shown(text))' has '[' without ']'")
            }
            let rest = text[(end + 1)...]
            guard rest.isEmpty || rest.first == colon else {
                throw NetworkTextError(
                    .port, "'\(ASCII.shown(text))' must have ':' and a port after ']'")
            }
            return (text[...end], rest.isEmpty ? nil : rest.dropFirst())
        }
        guard let first = text.firstIndex(of: colon) else { return (text, nil) }
        guard text.lastIndex(of: colon) == first else {
            throw NetworkTextError(
                .address,
                "'\(ASCII.shown(text))' has more than one ':': IPv6 must stand in brackets")
        }
        return (text[..<first], text[(first + 1)...])
    }

    static func port(
        _ digits: some Collection<UInt8>, of text: some Collection<UInt8>
    ) throws(NetworkTextError) -> UInt16 {
        guard let port = ASCII.decimal(digits, maximum: 65535), port > 0 else {
            throw NetworkTextError(
                .port,
                "'\(ASCII.shown(text))' has the port '\(ASCII.shown(digits))': it must be a number from 1 to 65535"
            )
        }
        return UInt16(port)
    }

    /// `HOST:PORT`, from which the same value can be read again.
    public var description: String { "\(host):\(port)" }
}
