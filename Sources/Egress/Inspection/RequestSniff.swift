/// What a client's first bytes look like. A guess that picks a parser: the parser decides.
public enum RequestSniff: Sendable, Hashable {
    case needMore
    /// A method and a space (RFC 9112, section 3).
    case http1
    /// The preface of RFC 9113, section 3.4.
    case http2
    /// RFC 1928.
    case socks5
    case tls
    case other

    /// Longest method that is taken for one, in bytes.
    static let longestMethod = 24
    private static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

    /// Looks at the first 25 bytes at most; with so many there is always a result.
    public init(_ bytes: some Collection<UInt8>) {
        let start = Array(bytes.prefix(Self.longestMethod + 1))
        switch start.first {
        case nil: self = .needMore
        case 0x05?: self = .socks5
        case 0x16?: self = .tls
        default: self = Self.text(start)
        }
    }

    private static func text(_ start: [UInt8]) -> RequestSniff {
        // "PRI" is a method by its form: all of the preface has to be there or to be missed.
        if start.count > 3, start.starts(with: preface.prefix(start.count)) {
            return start.count >= preface.count ? .http2 : .needMore
        }
        let method = start.prefix(while: isMethod)
        guard method.count <= longestMethod else { return .other }
        if method.count == start.count { return .needMore }
        return !method.isEmpty && start[method.count] == UInt8(ascii: " ") ? .http1 : .other
    }

    /// Narrower than RFC 9110's tokens: no method has a dot, and other protocols' greetings do.
    private static func isMethod(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, UInt8(ascii: "-"), UInt8(ascii: "_"): true
        default: false
        }
    }
}
