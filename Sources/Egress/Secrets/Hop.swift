internal import NIOCore
internal import Settings

/// A connection to the outside that requests may share.
struct Hop: Sendable, Hashable {
    let destination: Destination
    var isTLS = false
    /// The secret that it is opened for: the policy is that secret's.
    var secret: String?
}

extension SessionEgress {
    /// May this be dialled? The session's policy, or the one place of a secret.
    func policy(for hop: Hop) throws(EgressRefusal) -> NetworkPolicy {
        guard let name = hop.secret else { return policy }
        guard let secret = secrets.list.first(where: { $0.name == name }) else {
            throw EgressRefusal(.secret, "there is no secret '\(name)' here")
        }
        do throws(NetworkTextError) {
            return try secret.policy(deny: policy.deny + denied)
        } catch {
            throw EgressRefusal(.policy, "\(hop.destination): \(error.message)")
        }
    }

    /// TLS on a connection of which nothing has been read yet, and nothing is afterwards. Whoever
    /// gets bytes before they can go on would keep them without a bound.
    static func secure(
        _ channel: any Channel, to host: Destination.Host, with tls: any EgressTLS
    ) -> EventLoopFuture<Void> {
        channel.eventLoop.flatSubmit {
            do {
                let gate = try channel.pipeline.syncOperations.handler(type: FlowGate.self)
                let future = tls.connect(channel, to: host)
                gate.release()
                future.assumeIsolated().whenComplete { _ in gate.hold() }
                return future
            } catch {
                return channel.eventLoop.makeFailedFuture(error)
            }
        }
    }
}
