/// Addresses outside of the public internet that the operator has opened, each with its port. No
/// policy can name more than these.
public struct PrivateDestinations: Sendable, Hashable {
    /// Entries that one configuration may have.
    public static let maximum = 256

    private var opened: Set<Destination> = []

    /// None.
    public init() {}

    /// Reads `ADDRESS:PORT` entries; IPv6 in brackets.
    ///
    /// - Throws: what `Destination` throws, `address` for a name, `tooLong` for too many.
    public init(_ texts: [String]) throws(NetworkTextError) {
        for text in texts { try insert(text) }
    }

    mutating func insert(_ text: String) throws(NetworkTextError) {
        let destination = try Destination(text)
        guard case .address(let address) = destination.host else {
            throw NetworkTextError(
                .address, "'\(destination)' must be an address and a port: names change")
        }
        guard opened.count < Self.maximum else {
            throw NetworkTextError(.tooLong, "there are more than \(Self.maximum) entries")
        }
        let host = Destination.Host.address(address.withoutMapping)
        if let plain = Destination(host: host, port: destination.port) { opened.insert(plain) }
    }

    /// True where the operator has opened exactly this.
    public func contains(_ address: IPAddress, port: UInt16) -> Bool {
        Destination(host: .address(address.withoutMapping), port: port).map(opened.contains)
            ?? false
    }

    public var isEmpty: Bool { opened.isEmpty }

    /// Sorted texts.
    public var texts: [String] { opened.map(\.description).sorted() }
}
