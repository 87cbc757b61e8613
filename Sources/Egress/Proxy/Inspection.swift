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
    /// Of the binary form of the PROXY protocol. The text form begins with the word.
    private static let proxySignature = Array("\r\n\r\n\0\r\nQUIT\n".utf8)

    /// - Parameter bytes: all that the client has said.
    init(of bytes: some Collection<UInt8>) {
        if let early = Self.hiddenTLS(Array(bytes.prefix(5))) {
            self = early
            return
        }
        switch RequestSniff(bytes) {
        case .needMore: self = .needsMore
        case .socks5: self = .other
        case .http2:
            // Hosts are in compressed headers: who passes them on unread passes on any host.
            self = .refused("HTTP/2 without TLS is not passed on")
        case .http1, .other: self = Self.line(Array(bytes.prefix(Self.longestLine)))
        case .tls:
            var reader = ClientHelloReader()
            self.init(reader.feed(bytes))
        }
    }

    /// What a reader of hellos says.
    init(_ hello: ClientHello.Inspection) {
        switch hello {
        case .needMore: self = .needsMore
        case .notTLS: self = .refused("TLS that does not begin with a hello")
        case .hello(let hello): self = .tls(hello.serverName)
        case .malformed(let text): self = .refused("TLS: \(text)")
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

    /// HTTP is whatever any server could take for a request: some skip blanks and empty lines at
    /// the beginning, take any word for a method, or any blank for a space. Whether it is a good
    /// request is for the parser to say, which is strict.
    private static func line(_ bytes: [UInt8]) -> Inspection {
        let more: Inspection =
            bytes.count < longestLine ? .needsMore : .refused("a request line without an end")
        if bytes.starts(with: proxySignature) { return .refused(proxyProtocol) }
        let text = bytes.drop { isBlank($0) || $0 == UInt8(ascii: "\n") }
        let word = text.prefix(while: isTokenByte)
        guard let next = text.dropFirst(word.count).first else { return more }
        guard !word.isEmpty, isBlank(next) else { return .other }
        if word.elementsEqual("PROXY".utf8) { return .refused(proxyProtocol) }
        // Git's own protocol: a length, a word, a path, NUL; no line ever ends.
        if word.prefix(4).allSatisfy(isHexadecimal), word.dropFirst(4).starts(with: "git-".utf8) {
            return .other
        }
        let line = text.prefix { $0 != UInt8(ascii: "\n") }
        guard line.count < text.count else { return more }
        let version = Array("http/".utf8)
        let lower = line.map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 }
        let names = lower.indices.contains { lower[$0...].starts(with: version) }
        if names { return .http }
        // HTTP before 1.0 (RFC 1945, section 5): the server chooses among its hosts by itself.
        let target = text.dropFirst(word.count).drop(while: isBlank)
        return word.elementsEqual("GET".utf8) && target.first == UInt8(ascii: "/")
            ? .refused("a request without a version") : .other
    }

    /// It tells a server to believe in another client, and what follows is not looked at.
    private static let proxyProtocol = "the PROXY protocol is not passed on"

    /// What one server or another takes for a space.
    private static func isBlank(_ byte: UInt8) -> Bool {
        byte == 0x20 || (0x09...0x0d).contains(byte) && byte != UInt8(ascii: "\n")
    }

    /// RFC 9110, section 5.6.2.
    private static func isTokenByte(_ byte: UInt8) -> Bool {
        (0x21...0x7e).contains(byte) && !"\"(),/:;<=>?@[\\]{}".utf8.contains(byte)
    }

    private static func isHexadecimal(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte | 0x20)
    }
}
