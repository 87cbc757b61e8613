internal import NIOCore
internal import Settings

/// A connection of a session to a host that a secret is bound to, ended here: its requests are read
/// one by one.
struct Interception {
    let destination: Destination
    let client: any Channel
    let record: OpenRecord
    let session: SessionEgress

    /// Puts TLS and HTTP at the end of the client's pipeline.
    func begin() throws {
        guard case .name(let name) = destination.host, let tls = session.tls else {
            throw EgressRefusal(.unsupported, "\(destination) cannot be intercepted")
        }
        let pipeline = client.pipeline.syncOperations
        let handler = try tls.handler(accepting: name, session: session.id)
        try pipeline.addHandler(handler)
        try HTTPGate.install(in: pipeline, after: handler, .intercepted(destination), session)
        record.allowed(by: "intercepted", address: nil)
        client.closeFuture.assumeIsolated().whenComplete { [record] _ in record.end() }
        try pipeline.handler(type: FlowGate.self).release()
    }
}
