internal import Foundation

/// The id of a session: `ses_` and a random UUID (RFC 9562 version 4), lower case.
public struct SessionID: Hashable, Sendable, Codable, CustomStringConvertible {
    /// 32 lower-case hex digits.
    public let hex: String

    /// A new id.
    public init() {
        hex = UUID().uuidString.lowercased().replacing("-", with: "")
    }

    /// From 32 hex digits; nil for anything else.
    public init?(hex: String) {
        guard hex.utf8.count == 32, hex.utf8.allSatisfy(Self.isHexDigit) else { return nil }
        self.hex = hex
    }

    /// From `ses_a1b2c3d4-…`; nil for anything else.
    public init?(_ text: String) {
        guard text.hasPrefix("ses_"), let prefix = Self.normalise(prefix: text),
            prefix.utf8.count == 32
        else { return nil }
        hex = prefix
    }

    /// `ses_a1b2c3d4-e5f6-7890-abcd-ef1234567890`.
    public var description: String {
        let digits = Array(hex)
        let parts = [0..<8, 8..<12, 12..<16, 16..<20, 20..<32].map { String(digits[$0]) }
        return "ses_" + parts.joined(separator: "-")
    }

    /// The first 12 hex digits: what people see and type.
    public var short: String { String(hex.prefix(12)) }

    /// The hex digits of what somebody typed for an id, with or without `ses_` and dashes, in any
    /// case. Nil when it can be no prefix of an id.
    public static func normalise(prefix text: String) -> String? {
        var rest = text.lowercased()[...]
        if rest.hasPrefix("ses_") { rest = rest.dropFirst(4) }
        let digits = rest.replacing("-", with: "")
        guard (1...32).contains(digits.utf8.count), digits.utf8.allSatisfy(isHexDigit) else {
            return nil
        }
        return String(digits)
    }

    private static func isHexDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
            || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
    }
}

/// Random identifiers that are no session ids.
public enum RandomID {
    /// `agt_` + 16 hex digits.
    public static func agent() -> String { "agt_" + hex(8) }

    /// `count` random bytes.
    public static func bytes(_ count: Int) -> [UInt8] {
        var generator = SystemRandomNumberGenerator()
        return (0..<count).map { _ in generator.next() }
    }

    private static func hex(_ count: Int) -> String {
        bytes(count).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
