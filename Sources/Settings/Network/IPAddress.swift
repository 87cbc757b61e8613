/// An IPv4 or IPv6 address as a value.
///
/// Text is read only in the forms that have one meaning: for IPv4 four decimal numbers without
/// leading zeros (RFC 6943, section 3.1.1 tells what else C libraries take: `0177.1`, `0x7f.1`,
/// `2130706433`), for IPv6 RFC 4291, section 2.2, without a zone.
public enum IPAddress: Sendable, Hashable {
    /// In host order: 127.0.0.1 is 0x7f000001.
    case v4(UInt32)
    /// In host order: 2001:db8::1 is 0x2001_0db8_0000_0000 and 1.
    case v6(high: UInt64, low: UInt64)

    /// The longest text of an address, in bytes: eight groups, the last two as IPv4.
    static let longestText = 45

    /// Reads ASCII text; nil for what is no address or has another form than these.
    public init?(text: some Collection<UInt8>) {
        guard text.count <= Self.longestText else { return nil }
        let bytes = Array(text)[...]
        if let value = Self.v4(bytes) {
            self = .v4(value)
        } else if let groups = Self.v6(bytes) {
            self = Self.joined(groups)
        } else {
            return nil
        }
    }

    /// Reads text; nil for what is no address or has another form than these.
    public init?(_ text: some StringProtocol) { self.init(text: Array(text.utf8)) }

    /// The address of 4 or 16 bytes in network order; nil for any other number of bytes.
    public init?(octets: some Collection<UInt8>) {
        switch octets.count {
        case 4: self = .v4(octets.reduce(0) { $0 << 8 | UInt32($1) })
        case 16:
            self = .v6(
                high: octets.prefix(8).reduce(0) { $0 << 8 | UInt64($1) },
                low: octets.dropFirst(8).reduce(0) { $0 << 8 | UInt64($1) })
        default: return nil
        }
    }

    /// 4 or 16 bytes in network order.
    public var octets: [UInt8] {
        switch self {
        case .v4(let value):
            (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * UInt32($0))) }
        case .v6(let high, let low):
            [high, low].flatMap { half in
                (0..<8).map { UInt8(truncatingIfNeeded: half >> (56 - 8 * UInt64($0))) }
            }
        }
    }

    /// Bits of an address of this family.
    var width: Int {
        switch self {
        case .v4: 32
        case .v6: 128
        }
    }

    private static func v4(_ text: ArraySlice<UInt8>) -> UInt32? {
        let parts = text.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var value: UInt32 = 0
        for part in parts {
            guard let number = ASCII.decimal(part, maximum: 255) else { return nil }
            value = value << 8 | UInt32(number)
        }
        return value
    }

    /// Eight groups.
    private static func v6(_ text: ArraySlice<UInt8>) -> [UInt16]? {
        let colon = UInt8(ascii: ":")
        let gap = text.indices.dropLast().first { text[$0] == colon && text[$0 + 1] == colon }
        guard let gap else {
            guard let groups = groups(text, mayEndInV4: true), groups.count == 8 else {
                return nil
            }
            return groups
        }
        guard let head = groups(text[..<gap], mayEndInV4: false),
            let tail = groups(text[(gap + 2)...], mayEndInV4: true),
            head.count + tail.count < 8
        else { return nil }
        return head + [UInt16](repeating: 0, count: 8 - head.count - tail.count) + tail
    }

    private static func joined(_ groups: [UInt16]) -> IPAddress {
        .v6(
            high: groups.prefix(4).reduce(0) { $0 << 16 | UInt64($1) },
            low: groups.dropFirst(4).reduce(0) { $0 << 16 | UInt64($1) })
    }

    /// Groups of hexadecimal digits with colons between them; none for an empty text.
    private static func groups(_ text: ArraySlice<UInt8>, mayEndInV4: Bool) -> [UInt16]? {
        if text.isEmpty { return [] }
        let parts = text.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        guard parts.count <= 8 else { return nil }
        var result: [UInt16] = []
        for (index, part) in parts.enumerated() {
            if mayEndInV4, index == parts.count - 1, let value = v4(part) {
                result += [UInt16(value >> 16), UInt16(value & 0xffff)]
                continue
            }
            guard (1...4).contains(part.count) else { return nil }
            var group: UInt16 = 0
            for byte in part {
                guard let digit = ASCII.hexadecimal(byte) else { return nil }
                group = group << 4 | UInt16(digit)
            }
            result.append(group)
        }
        return result
    }
}

extension IPAddress: CustomStringConvertible {
    /// The canonical text; for IPv6 that of RFC 5952, with mapped addresses as `::ffff:1.2.3.4`.
    public var description: String {
        switch self {
        case .v4(let value):
            return (0..<4).map { String(value >> (24 - 8 * UInt32($0)) & 0xff) }.joined(
                separator: ".")
        case .v6(let high, let low):
            if high == 0, low >> 32 == 0xffff {
                return "::ffff:\(IPAddress.v4(UInt32(truncatingIfNeeded: low)))"
            }
            let groups = [high, low].flatMap { half in
                (0..<4).map { UInt16(truncatingIfNeeded: half >> (48 - 16 * UInt64($0))) }
            }
            guard let run = Self.longestRun(groups) else { return Self.text(groups[...]) }
            return Self.text(groups[..<run.lowerBound]) + "::"
                + Self.text(groups[run.upperBound...])
        }
    }

    private static func text(_ groups: ArraySlice<UInt16>) -> String {
        groups.map { String($0, radix: 16) }.joined(separator: ":")
    }

    /// The first of the longest runs of two or more zeros.
    private static func longestRun(_ groups: [UInt16]) -> Range<Int>? {
        var best: Range<Int>?
        var start = 0
        for index in groups.indices {
            guard groups[index] == 0 else {
                start = index + 1
                continue
            }
            let length = index + 1 - start
            if length >= 2, length > best?.count ?? 0 { best = start..<(index + 1) }
        }
        return best
    }
}
