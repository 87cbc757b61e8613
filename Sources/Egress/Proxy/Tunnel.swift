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
        client.closeFuture.assumeIsolated().whenComplete { _ in record.end() }
    }

    /// Gives the tunnel what the client said before it was there, and the end of it if it has ended
    /// already. Called with the context of the handler whose place the tunnel takes.
    func handOver(_ early: ByteBuffer, _ context: ChannelHandlerContext) {
        if early.readableBytes > 0 {
            context.fireChannelRead(NIOAny(early))
            context.fireChannelReadComplete()
        }
        if clientHasEnded { context.fireUserInboundEventTriggered(ChannelEvent.inputClosed) }
    }

    private var clientHasEnded: Bool {
        (try? client.pipeline.syncOperations.handler(type: FlowGate.self))?.inputHasEnded == true
    }

    /// Ends both sides because of what the client said.
    func refuse(_ refusal: EgressRefusal, answer: ByteBuffer?) {
        record.end(refusal)
        upstream.close(promise: nil)
        if let answer { client.write(answer, promise: nil) }
        client.closeAfterFlush(mode: .all)
    }
}

/// Looks at the first bytes of a client in a tunnel: a TLS hello and an HTTP request name a host,
/// which must be the one that the tunnel leads to. Otherwise a tunnel to an allowed name would be
/// one to every name at the same address.
final class FirstBytes: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let tunnel: Tunnel
    private var bytes = ByteBuffer()
    private var hasEnded = false
    private var words = FirstWords()

    init(of tunnel: Tunnel) { self.tunnel = tunnel }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var new = unwrapInboundIn(data)
        let words = new.readableBytesView
        bytes.writeBuffer(&new)
        switch self.words.feed(words) {
        case .needsMore: break
        case .tls(let name): tls(name, context)
        case .http: http(context)
        case .other: relay(context)
        case .refused(let text):
            tunnel.refuse(EgressRefusal(.malformed, text), answer: nil)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // A client that ends before it said anything whole: pass on what there is.
        guard case .inputClosed? = event as? ChannelEvent else {
            return context.fireUserInboundEventTriggered(event)
        }
        hasEnded = true
        relay(context)
    }

    func channelInactive(context: ChannelHandlerContext) {
        tunnel.upstream.close(promise: nil)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    private func tls(_ name: HostName?, _ context: ChannelHandlerContext) {
        guard case .name(let wanted) = tunnel.destination.host else { return relay(context) }
        guard name == wanted else {
            let said = name.map { "names \($0)" } ?? "names no host"
            return tunnel.refuse(
                EgressRefusal(.policy, "the TLS hello \(said), the tunnel leads to \(wanted)"),
                answer: Self.accessDenied)
        }
        relay(context)
    }

    /// A TLS alert: fatal, access_denied (RFC 8446, section 6).
    static let accessDenied = ByteBuffer(bytes: [21, 3, 3, 0, 2, 2, 49])

    private func relay(_ context: ChannelHandlerContext) {
        let record = tunnel.record
        proceed(context) {
            try $0.addHandler(
                Relay(to: tunnel.upstream) { record.sent($0) }, position: .after(self))
        }
    }

    /// From here on every request is looked at, not only the first.
    private func http(_ context: ChannelHandlerContext) {
        proceed(context) {
            try HTTPGate.install(in: $0, after: self, leadingTo: tunnel)
        }
    }

    private func proceed(
        _ context: ChannelHandlerContext,
        _ install: (ChannelPipeline.SynchronousOperations) throws -> Void
    ) {
        let pipeline = context.pipeline.syncOperations
        do {
            try install(pipeline)
        } catch {
            return context.close(promise: nil)
        }
        if bytes.readableBytes > 0 {
            context.fireChannelRead(wrapInboundOut(bytes))
            context.fireChannelReadComplete()
            bytes.clear()
        }
        // While this handler has a place in the pipeline: afterwards nobody would hear it.
        if hasEnded { context.fireUserInboundEventTriggered(ChannelEvent.inputClosed) }
        pipeline.removeHandler(self, promise: nil)
    }
}
