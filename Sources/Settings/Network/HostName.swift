/// The one canonical form of a DNS name: lower case, without the dot at the end.
///
/// What is checked are the bytes that are resolved afterwards. Nothing is decoded, normalised or
/// guessed: a name with anything but ASCII letters, digits, `-`, `_` and `.` is refused, and so is
/// what C libraries take for an address although it does not look like one (RFC 6943, section
/// 3.1.1).
public struct HostName: Sendable, Hashable, CustomStringConvertible {
    /// RFC 1035, section 2.3.4: 255 bytes on the wire are 253 of text.
    public static let maximumBytes = 253
    public static let maximumLabel = 63

    /// Never empty.
    public let text: String

    public var description: String { text }

    /// Checks the bytes of a name. One dot at the end is left out.
    ///
    /// - Throws: `empty`, `tooLong`, `badByte`, `badLabel` or `disguisedAddress`.
    public init(_ bytes: some Collection<UInt8>) throws(NetworkTextError) {
        let shown = ASCII.shown(bytes)
        guard !bytes.isEmpty else { throw NetworkTextError(.empty, "a name must not be empty") }
        guard bytes.count <= Self.maximumBytes + 1 else {
            throw NetworkTextError(
                .tooLong, "'\(shown)' is longer than the \(Self.maximumBytes) bytes of a name")
        }
        var name = Array(bytes)
        if name.last == UInt8(ascii: ".") { name.removeLast() }
        guard name.count <= Self.maximumBytes else {
            throw NetworkTextError(
                .tooLong, "'\(shown)' is longer than the \(Self.maximumBytes) bytes of a name")
        }
        for byte in name where !Self.isAllowed(byte) {
            throw NetworkTextError(
                .badByte,
                "'\(shown)' has '\(ASCII.shown([byte]))', which no name may have"
                    + (byte >= 0x80 ? "; give an international name in its form 'xn--…'" : ""))
        }
        let labels = name.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        for label in labels {
            try Self.check(label, of: shown)
        }
        if let last = labels.last, Self.isNumber(last) {
            throw NetworkTextError(
                .disguisedAddress, "'\(shown)' ends in a number: give an address as four numbers")
        }
        text = String(decoding: name.map(ASCII.lowercased), as: UTF8.self)
    }

    /// Checks a name; see `init(_:)` of bytes.
    public init(_ text: some StringProtocol) throws(NetworkTextError) {
        try self.init(Array(text.utf8))
    }

    private static func isAllowed(_ byte: UInt8) -> Bool {
        ASCII.isLetter(byte) || ASCII.isDigit(byte) || byte == UInt8(ascii: "-")
            || byte == UInt8(ascii: "_") || byte == UInt8(ascii: ".")
    }

    private static func check(
        _ label: ArraySlice<UInt8>, of shown: String
    ) throws(NetworkTextError) {
        guard !label.isEmpty else {
            throw NetworkTextError(
                .badLabel, "'\(shown)' has two dots without a label between them")
        }
        guard label.count <= maximumLabel else {
            throw NetworkTextError(
                .tooLong, "'\(shown)' has a label of more than \(maximumLabel) bytes")
        }
        guard label.first != UInt8(ascii: "-"), label.last != UInt8(ascii: "-") else {
            throw NetworkTextError(
                .badLabel, "'\(shown)' has a label that begins or ends with a hyphen")
        }
    }

    private static func isNumber(_ label: ArraySlice<UInt8>) -> Bool {
        label.allSatisfy(ASCII.isDigit) || label.prefix(2).map(ASCII.lowercased) == Array("0x".utf8)
    }

    /// True where labels stand before `suffix`: for `a.example.com` below `example.com`, not for
    /// `example.com` itself and not for `badexample.com`.
    public func isBelow(_ suffix: HostName) -> Bool {
        let own = text.utf8
        let other = suffix.text.utf8
        return own.count > other.count + 1
            && own.suffix(other.count).elementsEqual(other)
            && own.dropLast(other.count).last == UInt8(ascii: ".")
    }
}
