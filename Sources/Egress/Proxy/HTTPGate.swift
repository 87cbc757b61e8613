internal import API
internal import NIOCore
internal import NIOHTTP1
internal import Settings

/// The session's side of HTTP that is passed on: decides for each request by itself where it goes,
/// and gives back what the other side answers. Requests of one connection come one after the other.
final class HTTPGate: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    /// Bytes of the body of a refused request that are read before the connection is closed: a
    /// client that is still writing would otherwise not see the answer.
    private static let maximumDrain = 1 << 20

    /// Where a request may name its destination.
    enum Mode {
        /// The connection is one to a proxy.
        case proxy
        /// The client believes that it speaks to this host.
        case fixed(Destination)
        /// It believes that it speaks to the host that its requests name, at this port.
        case host(port: UInt16)
        /// TLS to this host was ended here, because a secret is bound to it.
        case intercepted(Destination)

        var isIntercepted: Bool { if case .intercepted = self { true } else { false } }
        var defaultPort: UInt16 { isIntercepted ? 443 : 80 }
        /// The one host that requests may name.
        var fixed: Destination? {
            switch self {
            case .fixed(let destination), .intercepted(let destination): destination
            case .proxy, .host: nil
            }
        }
    }

    /// One request and its answer.
    struct Exchange {
        enum State {
            /// The upstream is being connected; what has come already waits.
            case connecting([HTTPServerRequestPart])
            case forwarding
            /// Answered by us; the rest of the request is thrown away.
            case refused(drained: Int)
        }
        var state: State
        let record: OpenRecord
        let head: HTTPRequestHead
        /// It is one that gets a key, or was to get one.
        var isForSecret = false
        /// Takes the key out of the answer.
        var scrubber: SecretScrubber?
        var asksForUpgrade = false
        var requestHasEnded = false
        var answerHasBegun = false
        var answerHasEnded = false
        var mustClose = false
    }

    private let mode: Mode
    let session: SessionEgress
    let gate: FlowGate
    var exchange: Exchange?
    var upstream: (hop: Hop, channel: any Channel)?
    /// The upstream has said that it answers nothing more.
    var upstreamIsSpent = false
    /// The head of an answer that changes the protocol; the change follows its end.
    var switching: HTTPResponseHead?
    var context: ChannelHandlerContext?
    private var handlers: [any RemovableChannelHandler] = []

    private init(_ mode: Mode, _ session: SessionEgress, _ gate: FlowGate) {
        self.mode = mode
        self.session = session
        self.gate = gate
    }

    // MARK: - Pipelines

    /// Puts HTTP at the end of a pipeline that has a `FlowGate` at its beginning.
    @discardableResult
    static func install(
        in pipeline: ChannelPipeline.SynchronousOperations, after handler: any ChannelHandler,
        _ mode: Mode, _ session: SessionEgress
    ) throws -> HTTPGate {
        let http = HTTPGate(mode, session, try pipeline.handler(type: FlowGate.self))
        let decoder = ByteToMessageHandler(HTTPRequestDecoder(leftOverBytesStrategy: .forwardBytes))
        // Framing headers are this gate's matter: the encoder does not know of HEAD.
        var configuration = HTTPResponseEncoder.Configuration()
        configuration.automaticallySetFramingHeaders = false
        let encoder = HTTPResponseEncoder(configuration: configuration)
        let order = HTTPServerPipelineHandler()
        try pipeline.addHandlers([decoder, encoder, order, http], position: .after(handler))
        // The decoder goes last: it then hands over what it has not read.
        http.handlers = [order, encoder, decoder]
        return http
    }

    /// The same for a tunnel that turns out to carry HTTP: its upstream is taken over.
    static func install(
        in pipeline: ChannelPipeline.SynchronousOperations, after handler: any ChannelHandler,
        leadingTo tunnel: Tunnel
    ) throws {
        let http = try install(
            in: pipeline, after: handler, .fixed(tunnel.destination), tunnel.session)
        let outside = tunnel.upstream.pipeline.syncOperations
        outside.removeHandler(try outside.handler(type: Relay.self), promise: nil)
        try http.adopt(tunnel.upstream, Hop(destination: tunnel.destination))
    }

    func adopt(_ channel: any Channel, _ hop: Hop) throws {
        let pipeline = channel.pipeline.syncOperations
        try HTTPAnswer.install(in: pipeline, to: self)
        FlowGate.join(gate, try pipeline.handler(type: FlowGate.self))
        try pipeline.handler(type: FlowGate.self).release()
        upstream = (hop, channel)
        upstreamIsSpent = false
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }
    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    // MARK: - Requests

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): begin(head, context)
        case let part: pass(part, context)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        upstream?.channel.flush()
        context.fireChannelReadComplete()
    }

    private func begin(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
        let record = OpenRecord(head.method == .CONNECT ? .connect : .request, nil, in: session)
        exchange = Exchange(state: .connecting([]), record: record, head: head)
        exchange?.mustClose = !head.isKeepAlive
        do throws(EgressRefusal) {
            let route = try HTTPRoute(
                head, mode, session.secrets.list, proxyPort: session.proxyPort)
            record.name(route.destination)
            if head.method != .CONNECT {
                record.request(method: head.method.rawValue, path: route.head.uri)
                try session.countRequest(to: route.hop)
            }
            exchange?.asksForUpgrade = route.asksForUpgrade
            if route.secret != nil { return unlock(route, context) }
            head.method == .CONNECT ? connect(route, context) : forward(route, context)
        } catch {
            refuse(error, context)
        }
    }

    private func pass(_ part: HTTPServerRequestPart, _ context: ChannelHandlerContext) {
        guard var now = exchange else { return }
        if case .end = part { now.requestHasEnded = true }
        switch now.state {
        case .connecting(let parts): now.state = .connecting(parts + [part])
        case .forwarding: send(part, now.record)
        case .refused(let drained):
            if case .body(let bytes) = part {
                now.state = .refused(drained: drained + bytes.readableBytes)
                if drained > Self.maximumDrain { context.close(promise: nil) }
            }
        }
        exchange = now
        finishIfDone(context)
    }

    private func send(_ part: HTTPServerRequestPart, _ record: OpenRecord) {
        guard let channel = upstream?.channel else { return }
        switch part {
        case .head: break
        case .body(let bytes):
            record.sentBody(bytes)
            channel.write(HTTPClientRequestPart.body(.byteBuffer(bytes)), promise: nil)
        case .end(let trailers):
            channel.writeAndFlush(HTTPClientRequestPart.end(trailers), promise: nil)
        }
    }

    func forward(_ route: HTTPRoute, _ context: ChannelHandlerContext) {
        if let upstream, upstream.hop == route.hop, upstream.channel.isActive {
            // The policy may have changed since it was opened.
            let policy = (try? session.policy(for: route.hop)) ?? .none
            let verdict = policy.mayAsk(route.destination)
            guard verdict.isAllowed else {
                refuse(.init(.policy, "\(route.destination): \(verdict)"), context)
                return gate.release()
            }
            let address = upstream.channel.remoteAddress.flatMap(IPAddress.init)
            exchange?.record.allowed(by: verdict.reason, address: address)
            return deliver(route)
        }
        open(route, context) { [self] channel in
            dropUpstream()
            do {
                try adopt(channel, route.hop)
            } catch {
                return channel.close(promise: nil)
            }
            deliver(route)
        }
    }

    /// Writes the head, and what had to wait.
    private func deliver(_ route: HTTPRoute) {
        guard let now = exchange, case .connecting(let parts) = now.state else { return }
        exchange?.state = .forwarding
        var head = route.head
        ModelCall.prepare(&head)
        upstream?.channel.write(HTTPClientRequestPart.head(head), promise: nil)
        for part in parts { send(part, now.record) }
        upstream?.channel.flush()
        gate.release()
    }

    /// Connects; nothing is read from the client meanwhile.
    private func open(
        _ route: HTTPRoute, _ context: ChannelHandlerContext,
        _ then: @escaping (any Channel) -> Void
    ) {
        guard let record = exchange?.record else { return }
        session.connect(context.channel, to: route.hop, record) { [self] result in
            switch result {
            case .success(let channel): then(channel)
            case .failure(let refusal):
                refuse(refusal, context)
                gate.release()
            }
        }
    }

    private func connect(_ route: HTTPRoute, _ context: ChannelHandlerContext) {
        if session.secrets.intercepts(route.destination) { return intercept(route, context) }
        open(route, context) { [self] channel in
            guard let context = self.context, let record = exchange?.record else { return }
            let tunnel = Tunnel(
                destination: route.destination, client: context.channel, upstream: channel,
                record: record, session: session)
            acceptTunnel(context)
            leave(context, record) { try tunnel.begin() }
            repeatEnd(context.eventLoop, context.channel)
        }
    }

    /// The answer to CONNECT: what follows is the tunnel's.
    func acceptTunnel(_ context: ChannelHandlerContext) {
        let head = HTTPResponseHead(version: .http1_1, status: .ok)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        exchange = nil
    }

    /// Tells those who came into the pipeline of a client that has ended already, after the decoder
    /// has handed over what it had not read: in the loop's next turn.
    func repeatEnd(_ eventLoop: any EventLoop, _ client: any Channel) {
        guard gate.inputHasEnded else { return }
        eventLoop.assumeIsolated().execute {
            client.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        }
    }

    /// Takes HTTP out of the pipeline once `install` has put something in its place.
    func leave(
        _ context: ChannelHandlerContext, _ record: OpenRecord, _ install: () throws -> Void
    ) {
        let pipeline = context.pipeline.syncOperations
        do {
            try install()
        } catch {
            record.end(.init(.badAnswer, "\(error)"))
            return context.close(promise: nil)
        }
        pipeline.removeHandler(self, promise: nil)
        for handler in handlers { pipeline.removeHandler(handler, promise: nil) }
    }

    /// Refuses the request that has just begun or is being connected.
    func refuse(_ refusal: EgressRefusal, _ context: ChannelHandlerContext) {
        guard var now = exchange else { return }
        now.record.status(refusal.httpStatus)
        now.record.end(refusal)
        if case .connecting(let parts) = now.state {
            now.requestHasEnded = parts.contains { if case .end = $0 { true } else { false } }
        }
        // After bytes that were no request, what follows may be anything.
        now.mustClose =
            now.mustClose || !now.requestHasEnded || now.asksForUpgrade
            || refusal.cause == .malformed
        now.state = .refused(drained: 0)
        now.answerHasEnded = true
        exchange = now
        let said = now.isForSecret ? refusal.coded() : refusal
        write(said, to: now.head, closing: now.mustClose, context)
        finishIfDone(context)
    }

    /// Tells the client why.
    func write(
        _ refusal: EgressRefusal, to head: HTTPRequestHead, closing: Bool,
        _ context: ChannelHandlerContext
    ) {
        for part in HTTPRoute.refusal(refusal, to: head, closing: closing) {
            context.write(wrapOutboundOut(part), promise: nil)
        }
        context.flush()
    }
}
