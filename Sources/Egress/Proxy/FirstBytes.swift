internal import NIOCore
internal import Settings

/// Looks at the first bytes of a client in a tunnel: a TLS hello and an HTTP request name a host,
/// which must be the one that the tunnel leads to. Otherwise a tunnel to an allowed name would be
/// one to every name at the same address.
///
/// A client of another protocol may say a word, which could begin a request, and wait for an
/// answer. After a moment the word is passed on, because no server acts on part of a line; should
/// it become a request after all, the tunnel is cut. Once the other side has spoken it is no server
/// that waits for a request or a hello, and nothing is looked at any more.
final class FirstBytes: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    /// How long a client may be silent in the middle of its first line.
    private static let patience = TimeAmount.seconds(1)

    private let tunnel: Tunnel
    /// What was not passed on.
    private var bytes = ByteBuffer()
    private var timer: Scheduled<Void>?
    private var passedOn = false
    private var hasEnded = false
    private var words = FirstWords()

    init(of tunnel: Tunnel) { self.tunnel = tunnel }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var new = unwrapInboundIn(data)
        let words = new.readableBytesView
        bytes.writeBuffer(&new)
        timer?.cancel()
        guard !tunnel.record.hasReceived else { return relay(context) }
        switch self.words.feed(words) {
        case .needsMore: wait(context)
        case .tls(let name): tls(name, context)
        case .http where passedOn:
            tunnel.refuse(
                EgressRefusal(.malformed, "a request whose first line comes in pieces"),
                answer: nil)
        case .http: http(context)
        case .other: relay(context)
        case .refused(let text):
            tunnel.refuse(EgressRefusal(.malformed, text), answer: nil)
        }
    }

    private func wait(_ context: ChannelHandlerContext) {
        guard self.words.mayPassOn else { return }
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: Self.patience) { [self] in
            passedOn = true
            tunnel.record.sent(bytes.readableBytes)
            tunnel.upstream.writeAndFlush(bytes, promise: nil)
            bytes.clear()
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // A client that ends before it said anything whole: pass on what there is.
        guard case .inputClosed? = event as? ChannelEvent else {
            return context.fireUserInboundEventTriggered(event)
        }
        hasEnded = true
        relay(context)
    }

    func channelInactive(context: ChannelHandlerContext) {
        timer?.cancel()
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
