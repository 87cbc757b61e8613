public import Settings

/// What the first message of a TLS client says about where it wants to go (RFC 8446, section
/// 4.1.2; RFC 6066, section 3).
public struct ClientHello: Sendable, Hashable {
    /// Nil where the client names no server.
    public let serverName: HostName?
    /// Application protocols in the client's order (RFC 7301).
    public let alpn: [String]
    /// There is an encrypted hello inside (extension 0xfe0d), which may name another server, or
    /// just noise that looks like one.
    public let hasEncryptedHello: Bool

    /// Bytes of a hello with the headers of its records. Those of real clients are below 4 KiB.
    public static let maximumBytes = 1 << 16

    /// What the bytes so far are.
    public enum Inspection: Sendable, Hashable {
        case needMore
        case notTLS
        case hello(ClientHello)
        /// It begins as TLS, but is none; the text says what is wrong, for the log.
        case malformed(String)
    }

    private enum ExtensionType {
        static let serverName = 0
        static let protocols = 16
        static let encryptedHello = 0xfe0d
    }

    struct Mistake: Error {
        var text: String

        init(_ text: String) { self.text = text }
    }

    /// Reads the body of a handshake message of type 1.
    init(body: ArraySlice<UInt8>) throws(Mistake) {
        var reader = ByteReader(body)
        guard let version = reader.number(bytes: 2), version >> 8 == 3, reader.take(32) != nil,
            let session = reader.vector(lengthBytes: 1), session.count <= 32,
            let suites = reader.vector(lengthBytes: 2), !suites.isEmpty,
            suites.count.isMultiple(of: 2),
            let compression = reader.vector(lengthBytes: 1), !compression.isEmpty
        else { throw Mistake("the hello is cut short") }
        var serverName: HostName?
        var alpn: [String] = []
        var seen: Set<Int> = []
        if !reader.isAtEnd {
            guard let list = reader.vector(lengthBytes: 2), reader.isAtEnd else {
                throw Mistake("the length of the extensions is wrong")
            }
            var extensions = ByteReader(list)
            while !extensions.isAtEnd {
                guard let type = extensions.number(bytes: 2),
                    let value = extensions.vector(lengthBytes: 2)
                else { throw Mistake("the length of an extension is wrong") }
                guard seen.insert(type).inserted else {
                    throw Mistake("extension \(type) is there twice")
                }
                switch type {
                case ExtensionType.serverName: serverName = try Self.serverName(value)
                case ExtensionType.protocols: alpn = try Self.protocols(value)
                default: break
                }
            }
        }
        self.serverName = serverName
        self.alpn = alpn
        hasEncryptedHello = seen.contains(ExtensionType.encryptedHello)
    }

    /// One name of the type for host names, and nothing else: servers differ in which one of
    /// several they take.
    private static func serverName(_ value: ArraySlice<UInt8>) throws(Mistake) -> HostName {
        var outer = ByteReader(value)
        guard let list = outer.vector(lengthBytes: 2), outer.isAtEnd else {
            throw Mistake("the length of the server names is wrong")
        }
        var reader = ByteReader(list)
        guard let type = reader.byte(), let name = reader.vector(lengthBytes: 2) else {
            throw Mistake("the server name is cut short")
        }
        guard type == 0 else { throw Mistake("the server name has the unknown type \(type)") }
        guard reader.isAtEnd else { throw Mistake("there is more than one server name") }
        do {
            return try HostName(name)
        } catch {
            throw Mistake("the server name \(error.message)")
        }
    }

    private static func protocols(_ value: ArraySlice<UInt8>) throws(Mistake) -> [String] {
        var outer = ByteReader(value)
        guard let list = outer.vector(lengthBytes: 2), outer.isAtEnd, !list.isEmpty else {
            throw Mistake("the length of the application protocols is wrong")
        }
        var reader = ByteReader(list)
        var result: [String] = []
        while !reader.isAtEnd {
            guard let name = reader.vector(lengthBytes: 1), !name.isEmpty else {
                throw Mistake("an application protocol has no name")
            }
            result.append(String(decoding: name, as: UTF8.self))
        }
        return result
    }
}
