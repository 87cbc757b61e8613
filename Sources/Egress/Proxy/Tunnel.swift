internal import NIOCore
internal import Settings

/// Two channels of one event loop that carry a client's own protocol.
struct Tunnel {
    let destination: Destination
    let client: any Channel
    let upstream: any Channel
    let record: OpenRecord
    let session: SessionEgress

    /// Joins the channels. What the client says first is looked at before it is passed on; what the
    /// other side says first (SMTP, SSH) goes to the client at once.
    func begin() throws {
        let record = record
        let inside = client.pipeline.syncOperations
        let outside = upstream.pipeline.syncOperations
        try outside.addHandler(Relay(to: client) { record.received($0) })
        try inside.addHandler(FirstBytes(of: self))
        let gates = (
            try inside.handler(type: FlowGate.self), try outside.handler(type: FlowGate.self)
        )
        FlowGate.join(gates.0, gates.1)
        gates.0.release()
        gates.1.release()
        client.closeFuture.assumeIsolated().whenComplete { _ in record.endOrCut() }
    }

    /// Ends both sides because of what the client said.
    func refuse(_ refusal: EgressRefusal, answer: ByteBuffer?) {
        record.end(refusal)
        upstream.close(promise: nil)
        if let answer { client.write(answer, promise: nil) }
        client.closeAfterFlush(mode: .all)
    }
}
