public import Egress
public import Foundation
public import NIOCore
internal import NIOSSL
public import Sessions
public import Settings
internal import Synchronization

/// TLS for requests that get a key: to the real servers with full verification, and for clients in
/// sessions that insist on the real name.
public final class GatewayTLS: EgressTLS {
    /// Certificates that are kept for sessions' clients.
    private static let maximumLeaves = 256
    /// How long the other side may take to agree to the end of a connection: within what the end of
    /// a session may take for all of its connections.
    private static let shutdown = TimeAmount.milliseconds(50)
    private static let leafLife = Duration.seconds(86400)

    private struct Leaf {
        let context: NIOSSLContext
        let made: ContinuousClock.Instant
    }

    private struct LeafKey: Hashable {
        let session: String
        let name: HostName
    }

    private let master: MasterKey
    private let extra: [NIOSSLCertificate]
    private let client = Mutex<NIOSSLContext?>(nil)
    private let leaves = Mutex<[LeafKey: Leaf]>([:])

    /// - Parameter authorities: PEM text, certificates that servers may have besides the system's.
    public init(_ master: MasterKey, authorities: Data?) throws(VaultError) {
        self.master = master
        do {
            extra = try authorities.map { try NIOSSLCertificate.fromPEMBytes(Array($0)) } ?? []
        } catch {
            throw VaultError("no certificates in PEM form: \(error)")
        }
        guard authorities == nil || !extra.isEmpty else {
            throw VaultError("no certificates in PEM form")
        }
    }

    public func prepare() throws {
        _ = try clientContext()
    }

    private func clientContext() throws -> NIOSSLContext {
        try client.withLock { known in
            if let known { return known }
            var configuration = TLSConfiguration.makeClientConfiguration()
            configuration.minimumTLSVersion = .tlsv12
            configuration.shutdownTimeout = Self.shutdown
            configuration.certificateVerification = .fullVerification
            configuration.applicationProtocols = ["http/1.1"]
            if !extra.isEmpty { configuration.additionalTrustRoots = [.certificates(extra)] }
            let context = try NIOSSLContext(configuration: configuration)
            known = context
            return context
        }
    }

    public func connect(
        _ channel: any Channel, to host: Destination.Host
    ) -> EventLoopFuture<Void> {
        let done = channel.eventLoop.makePromise(of: Void.self)
        do {
            let name: String? = if case .name(let name) = host { name.text } else { nil }
            let handler = try NIOSSLClientHandler(context: clientContext(), serverHostname: name)
            try channel.pipeline.syncOperations.addHandlers([handler, Handshake(done)])
        } catch {
            done.fail(EgressTLSError(isCertificate: false, "\(error)"))
        }
        return done.futureResult
    }

    public func handler(accepting name: HostName, session: String) throws -> any ChannelHandler {
        let key = LeafKey(session: session, name: name)
        let now = ContinuousClock.now
        let known = leaves.withLock { leaves in
            leaves = leaves.filter { $0.value.made.duration(to: now) < Self.leafLife }
            return leaves[key]
        }
        let leaf = try known ?? Leaf(context: serverContext(key), made: now)
        leaves.withLock { leaves in
            if leaves.count >= Self.maximumLeaves, leaves[key] == nil { leaves = [:] }
            leaves[key] = leaf
        }
        return NIOSSLServerHandler(context: leaf.context)
    }

    private func serverContext(_ key: LeafKey) throws -> NIOSSLContext {
        let leaf = try SessionAuthority(master, session: key.session).leaf(for: key.name.text)
        let certificates = try NIOSSLCertificate.fromPEMBytes(Array(leaf.certificate.utf8))
        let secret = try NIOSSLPrivateKey(bytes: Array(leaf.key.utf8), format: .pem)
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: certificates.map { .certificate($0) },
            privateKey: .privateKey(secret))
        configuration.minimumTLSVersion = .tlsv12
        configuration.shutdownTimeout = Self.shutdown
        configuration.applicationProtocols = ["http/1.1"]
        return try NIOSSLContext(configuration: configuration)
    }
}
