internal import Settings

/// What the first bytes of a client in a tunnel say about where it wants to go.
enum Inspection: Sendable, Hashable {
    case needsMore
    /// TLS, with the name of the server that it wants.
    case tls(HostName?)
    case http
    /// A protocol that names no host where we can see it.
    case other
    /// What the text says is wrong.
    case refused(String)

    /// A request line that takes longer is none: requests for hosts are short.
    private static let longestLine = 16384

    /// - Parameter bytes: all that the client has said.
    init(of bytes: some Collection<UInt8>) {
        if let early = Self.hiddenTLS(Array(bytes.prefix(5))) {
            self = early
            return
        }
        switch RequestSniff(bytes) {
        case .needMore: self = .needsMore
        case .socks5, .other: self = .other
        case .http2:
            // Hosts are in compressed headers: who passes them on unread passes on any host.
            self = .refused("HTTP/2 without TLS is not passed on")
        case .http1: self = Self.line(bytes)
        case .tls:
            var reader = ClientHelloReader()
            switch reader.feed(bytes) {
            case .needMore: self = .needsMore
            case .notTLS: self = .refused("TLS that does not begin with a hello")
            case .hello(let hello): self = .tls(hello.serverName)
            case .malformed(let text): self = .refused("TLS: \(text)")
            }
        }
    }

    /// Servers take a hello after an alert or a change of ciphers, and some take that of SSL 2,
    /// which has no name: with either in front, the name would not be seen.
    private static func hiddenTLS(_ start: [UInt8]) -> Inspection? {
        guard let first = start.first else { return nil }
        if [0x14, 0x15, 0x17, 0x18].contains(first) {
            guard start.count >= 2 else { return .needsMore }
            return start[1] == 3 ? .refused("TLS that does not begin with a hello") : nil
        }
        guard first & 0x80 != 0 else { return nil }
        guard start.count == 5 else { return .needsMore }
        let isHello = start[2] == 1 && (start[3] == 3 || start[3...4] == [0, 2])
        return isHello ? .refused("a hello of SSL 2") : nil
    }

    /// HTTP only where the whole first line is that of a request: other protocols begin with a word
    /// and a space too.
    private static func line(_ bytes: some Collection<UInt8>) -> Inspection {
        let line = Array(bytes.prefix(longestLine)).prefix { $0 != UInt8(ascii: "\n") }
        guard line.count < longestLine else { return .refused("a request line without an end") }
        guard line.count < bytes.count else { return .needsMore }
        let text = line.last == UInt8(ascii: "\r") ? Array(line.dropLast()) : Array(line)
        let version = Array(" HTTP/1.".utf8)
        guard text.count > version.count, text.dropLast().suffix(version.count) == version[...]
        else { return .other }
        return .http
    }
}
