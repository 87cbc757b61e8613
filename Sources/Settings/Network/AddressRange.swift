/// Addresses with a common prefix (CIDR, RFC 4632), such as `10.0.0.0/8`. A single address is a
/// range of full length.
///
/// Ranges of IPv4-mapped addresses (`::ffff:10.0.0.0/104`) become the ranges of IPv4 that they are.
public struct AddressRange: Sendable, Hashable, CustomStringConvertible {
    /// The lowest address.
    public let base: IPAddress
    /// Bits that all have in common: 0 to 32 or to 128.
    public let prefixLength: Int

    /// The range of one address.
    public init(_ address: IPAddress) {
        base = address.withoutMapping
        prefixLength = base.width
    }

    /// Nil where the length is out of bounds or where `base` has bits outside of the prefix.
    public init?(base: IPAddress, prefixLength: Int) {
        guard (0...base.width).contains(prefixLength),
            Self.masked(base, prefixLength) == base
        else { return nil }
        let plain = base.withoutMapping
        let cut = base.width - plain.width
        self.base = cut <= prefixLength ? plain : base
        self.prefixLength = cut <= prefixLength ? prefixLength - cut : prefixLength
    }

    /// Reads `ADDRESS` or `ADDRESS/LENGTH`.
    ///
    /// - Throws: `NetworkTextError` with the code `address`.
    public init(text: some Collection<UInt8>) throws(NetworkTextError) {
        let shown = ASCII.shown(text)
        let parts = text.split(
            separator: UInt8(ascii: "/"), maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first, let address = IPAddress(text: first) else {
            throw NetworkTextError(.address, "'\(shown)' is no range of addresses")
        }
        guard parts.count == 2 else {
            self.init(address)
            return
        }
        guard let length = ASCII.decimal(parts[1], maximum: address.width) else {
            throw NetworkTextError(
                .address, "'\(shown)' must have a number from 0 to \(address.width) after '/'")
        }
        guard let range = AddressRange(base: address, prefixLength: length) else {
            let base = Self.masked(address, length)
            throw NetworkTextError(
                .address, "'\(shown)' has bits outside of its prefix; '\(base)/\(length)'?")
        }
        self = range
    }

    /// True for an address of this family below the prefix. Mapped addresses count as IPv4.
    public func contains(_ address: IPAddress) -> Bool {
        Self.masked(address.withoutMapping, prefixLength) == base
    }

    /// True where every address of `other` is one of this range.
    public func contains(_ other: AddressRange) -> Bool {
        other.prefixLength >= prefixLength && contains(other.base)
    }

    /// True where both have an address in common: then one holds the other.
    public func overlaps(_ other: AddressRange) -> Bool {
        contains(other) || other.contains(self)
    }

    /// The canonical text; without a length for a single address.
    public var description: String {
        prefixLength == base.width ? "\(base)" : "\(base)/\(prefixLength)"
    }

    private static func masked(_ address: IPAddress, _ length: Int) -> IPAddress {
        switch address {
        case .v4(let value): .v4(value & ~(UInt32.max >> length))
        case .v6(let high, let low):
            .v6(
                high: high & ~(UInt64.max >> min(length, 64)),
                low: low & ~(UInt64.max >> max(length - 64, 0)))
        }
    }
}
