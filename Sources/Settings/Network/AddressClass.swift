/// What kind of place an address is, as far as that decides whether a session may go there.
///
/// Sources: the IANA registries of special-purpose addresses (RFC 6890 and its updates), and the
/// addresses at which clouds serve credentials to their machines.
public enum AddressClass: String, Sendable, Hashable, CaseIterable, CustomStringConvertible {
    /// Everything else. The ranges for documentation (RFC 5737, RFC 3849) are ordinary too: they
    /// lead nowhere on a host that has not been given them.
    case ordinary
    case unspecified
    /// 0.0.0.0/8 (RFC 1122): Linux takes 0.0.0.0 for itself.
    case thisNetwork = "this network"
    /// 127.0.0.0/8 and ::1.
    case loopback
    /// 10/8, 172.16/12, 192.168/16 (RFC 1918).
    case `private`
    /// 100.64/10 (RFC 6598).
    case carrierGradeNAT = "carrier-grade NAT"
    /// 169.254/16 (RFC 3927) and fe80::/10.
    case linkLocal = "link-local"
    /// Where a cloud tells a machine who it is.
    case metadata
    /// 192.0.0.0/24 (RFC 6890).
    case protocolAssignments = "protocol assignments"
    /// 198.18/15 (RFC 2544), whose addresses stand for names in a session, and 2001:2::/48.
    case benchmarking
    /// 224/4 and ff00::/8.
    case multicast
    /// 240/4, and what no registry has given out of IPv6.
    case reserved
    case broadcast
    /// fec0::/10 (RFC 3879).
    case siteLocal = "site-local"
    /// fc00::/7 (RFC 4193).
    case uniqueLocal = "unique local"
    /// 100::/64 (RFC 6666).
    case discard

    public var description: String { rawValue }
}

extension IPAddress {
    /// The class of this address, or of the IPv4 address in it where that is not ordinary.
    public var addressClass: AddressClass {
        switch self {
        case .v4(let value):
            return Self.classOfV4(value)
        case .v6(let high, let low):
            let outer = Self.classOfV6(high, low)
            guard outer == .ordinary else { return outer }
            return Self.inner(high, low).map(Self.classOfV4).first { $0 != .ordinary } ?? .ordinary
        }
    }

    /// True for an address of the public internet: the only kind that a rule alone can open.
    public var isPublic: Bool { addressClass == .ordinary }

    /// The IPv4 address that an IPv6 address stands for, else the address itself: mapped
    /// (`::ffff:1.2.3.4`), compatible (`::1.2.3.4`, RFC 4291), translated (`::ffff:0:1.2.3.4`,
    /// RFC 2765), NAT64 (`64:ff9b::/96`, RFC 6052), 6to4 (`2002::/16`, RFC 3056) and the client of
    /// Teredo (`2001:0::/32`, RFC 4380).
    public var unmapped: IPAddress {
        guard case .v6(let high, let low) = self, let inner = Self.inner(high, low).first else {
            return self
        }
        return .v4(inner)
    }

    /// The IPv4 address of a mapped address, which the kernel makes no difference to; else this.
    /// The other forms of `unmapped` take another way through the network than the IPv4 address.
    public var withoutMapping: IPAddress {
        guard case .v6(0, let low) = self, low >> 32 == 0xffff else { return self }
        return .v4(UInt32(truncatingIfNeeded: low))
    }

    /// Every IPv4 address inside: Teredo has that of its server too.
    private static func inner(_ high: UInt64, _ low: UInt64) -> [UInt32] {
        let last = UInt32(truncatingIfNeeded: low)
        switch (high, low >> 32) {
        case (0, 0): return low > 1 ? [last] : []
        case (0, 0xffff), (0, 0xffff_0000), (0x64_ff9b << 32, 0): return [last]
        default: break
        }
        if high >> 48 == 0x2002 { return [UInt32(truncatingIfNeeded: high >> 16)] }
        if high >> 32 == 0x2001_0000 { return [~last, UInt32(truncatingIfNeeded: high)] }
        return []
    }

    private static func classOfV4(_ value: UInt32) -> AddressClass {
        func isIn(_ base: UInt32, _ length: UInt32) -> Bool {
            value >> (32 - length) == base >> (32 - length)
        }
        switch value {
        case 0: return .unspecified
        case .max: return .broadcast
        // EC2 and most others; ECS; EKS; Alibaba; Azure; Oracle.
        case 0xa9fe_a9fe, 0xa9fe_aa02, 0xa9fe_aa17, 0x6464_64c8, 0xa83f_8110, 0xc000_00c0:
            return .metadata
        default: break
        }
        let table: [(UInt32, UInt32, AddressClass)] = [
            (0x0000_0000, 8, .thisNetwork), (0x7f00_0000, 8, .loopback),
            (0x0a00_0000, 8, .private), (0xac10_0000, 12, .private), (0xc0a8_0000, 16, .private),
            (0x6440_0000, 10, .carrierGradeNAT), (0xa9fe_0000, 16, .linkLocal),
            (0xc000_0000, 24, .protocolAssignments), (0xc612_0000, 15, .benchmarking),
            (0xe000_0000, 4, .multicast), (0xf000_0000, 4, .reserved),
        ]
        return table.first { isIn($0.0, $0.1) }?.2 ?? .ordinary
    }

    private static func classOfV6(_ high: UInt64, _ low: UInt64) -> AddressClass {
        switch (high, low) {
        case (0, 0): return .unspecified
        case (0, 1): return .loopback
        // EC2; EKS; Google.
        case (0xfd00_0ec2 << 32, 0x254), (0xfd00_0ec2 << 32, 0x23), (0xfd20_00ce << 32, 0x254):
            return .metadata
        default: break
        }
        switch high >> 48 {
        case 0xff00...: return .multicast
        case 0xfe80...0xfebf: return .linkLocal
        case 0xfec0...0xfeff: return .siteLocal
        case 0xfc00...0xfdff: return .uniqueLocal
        case 0x2000...0x3fff: return high >> 16 == 0x2001_0002_0000 ? .benchmarking : .ordinary
        default: break
        }
        if high == 0x0100 << 48 { return .discard }
        return inner(high, low).isEmpty ? .reserved : .ordinary
    }
}
