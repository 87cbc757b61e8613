public import NIOCore
public import Settings

/// TLS, which this module does not link.
///
/// All but `prepare` is called on the channel's event loop.
public protocol EgressTLS: Sendable {
    /// Reads the authorities that are trusted, once; may take its time.
    func prepare() throws
    /// Begins TLS as a client, checks certificate and name, and succeeds once both hold. Fails with
    /// `EgressTLSError`.
    func connect(_ channel: any Channel, to host: Destination.Host) -> EventLoopFuture<Void>
    /// What ends TLS for a client in `session` that wants to speak to `name`.
    func handler(accepting name: HostName, session: String) throws -> any ChannelHandler
}

/// Why there is no TLS connection.
public struct EgressTLSError: Error, Sendable, CustomStringConvertible {
    /// The other side's certificate is not to be trusted, as opposed to not reaching an agreement.
    public var isCertificate: Bool
    public var description: String

    public init(isCertificate: Bool, _ description: String) {
        self.isCertificate = isCertificate
        self.description = description
    }
}
