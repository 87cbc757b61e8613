internal import API
internal import NIOCore
internal import Settings

/// What a connection of a session was opened to, by the address that it reached.
enum Entry: Sendable, Hashable {
    /// The proxy's port: HTTP or SOCKS, as the first byte says.
    case proxy
    /// Port 53.
    case names
    /// A program that knows of no proxy: the address, and the port that it wants.
    case transparent(IPAddress, port: UInt16)

    /// - Parameters:
    ///   - address: the connection's own end, in the session.
    ///   - proxyPort: where the session's init listens for proxy clients.
    init(address: IPAddress, port: UInt16, proxyPort: UInt16) {
        switch port {
        case proxyPort: self = .proxy
        case 53: self = .names
        default: self = .transparent(address, port: port)
        }
    }

    /// Puts into the pipeline of a new connection what serves it.
    func install(in channel: any Channel, _ session: SessionEgress) throws {
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(FlowGate(session.turns(on: channel.eventLoop)))
        try pipeline.addHandler(FirstBytesDeadline())
        switch self {
        case .proxy: try pipeline.addHandler(ProxyEntry(session))
        case .names: try pipeline.addHandler(NameStream(session))
        case .transparent(let address, let port):
            try pipeline.addHandler(TransparentEntry(session, address, port))
        }
    }
}

/// Ends a connection whose client says nothing for long at the beginning.
final class FirstBytesDeadline: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = NIOAny

    /// A client with an idle connection to a proxy costs two descriptors.
    private static let patience = TimeAmount.minutes(5)
    private var timer: Scheduled<Void>?

    func handlerAdded(context: ChannelHandlerContext) {
        let channel = context.channel
        timer = context.eventLoop.scheduleTask(in: Self.patience) { channel.close(promise: nil) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        context.fireChannelRead(data)
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }

    func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }
}

/// The proxy's port: one byte tells SOCKS 5 from HTTP.
final class ProxyEntry: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let session: SessionEgress

    init(_ session: SessionEgress) { self.session = session }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        guard let first = bytes.getInteger(at: bytes.readerIndex, as: UInt8.self) else { return }
        let pipeline = context.pipeline.syncOperations
        do {
            if first == 5 {
                try pipeline.addHandler(SOCKSGate(session), position: .after(self))
            } else {
                try HTTPGate.install(in: pipeline, after: self, .proxy, session)
            }
        } catch {
            return context.close(promise: nil)
        }
        context.fireChannelRead(data)
        pipeline.removeHandler(self, promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // A client that leaves without a word.
        if case .inputClosed? = event as? ChannelEvent { context.close(promise: nil) }
        context.fireUserInboundEventTriggered(event)
    }
}

/// A connection of a program that knows of no proxy. The address that it dialled stands for a name,
/// because the session's names all have such addresses; or it is an address of the session itself,
/// at a port that the policy names.
final class TransparentEntry: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let session: SessionEgress
    private let address: IPAddress
    private let port: UInt16
    private var bytes = ByteBuffer()
    private var words = FirstWords()
    /// Bytes wait until it is clear where they go.
    private var isDecided = false

    init(_ session: SessionEgress, _ address: IPAddress, _ port: UInt16) {
        self.session = session
        self.address = address
        self.port = port
    }

    func channelActive(context: ChannelHandlerContext) {
        begin(context)
        context.fireChannelActive()
    }

    func handlerAdded(context: ChannelHandlerContext) {
        if context.channel.isActive { begin(context) }
    }

    private func begin(_ context: ChannelHandlerContext) {
        guard !isDecided else { return }
        if let host = session.host(of: address), let known = Destination(host: host, port: port) {
            connect(to: known, context)
        }
        // Else the name was given out before the supervisor was restarted: the client's first bytes
        // will say it.
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var new = unwrapInboundIn(data)
        let words = new.readableBytesView
        bytes.writeBuffer(&new)
        guard !isDecided else { return }
        switch self.words.feed(words) {
        case .needsMore: break
        case .tls(let name?):
            guard let named = Destination(host: .name(name), port: port) else { return }
            connect(to: named, context)
        case .http: http(context)
        case .tls(nil), .other, .refused:
            refuse(EgressRefusal(.policy, "\(address) stands for no name any more"), context)
        }
    }

    private func http(_ context: ChannelHandlerContext) {
        isDecided = true
        let pipeline = context.pipeline.syncOperations
        do {
            try HTTPGate.install(in: pipeline, after: self, .host(port: port), session)
        } catch {
            return context.close(promise: nil)
        }
        context.fireChannelRead(wrapInboundOut(bytes))
        pipeline.removeHandler(self, promise: nil)
    }

    private func connect(to destination: Destination, _ context: ChannelHandlerContext) {
        isDecided = true
        let record = OpenRecord(.transparent, destination, in: session)
        Passage(destination: destination, record: record, session: session).open(
            for: context, early: { [self] in bytes },
            refuse: { [self] refusal in
                record.end(refusal)
                answerRefusal(context)
            })
    }

    private func refuse(_ refusal: EgressRefusal, _ context: ChannelHandlerContext) {
        isDecided = true
        let record = OpenRecord(.transparent, nil, in: session)
        record.end(refusal)
        answerRefusal(context)
    }

    /// A client that speaks TLS understands an alert; others see the connection end.
    private func answerRefusal(_ context: ChannelHandlerContext) {
        if bytes.getInteger(at: bytes.readerIndex, as: UInt8.self) == 22 {
            context.write(NIOAny(FirstBytes.accessDenied), promise: nil)
        }
        context.channel.closeAfterFlush(mode: .all)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // One that has not said yet where it wants to go.
        if case .inputClosed? = event as? ChannelEvent, !isDecided { context.close(promise: nil) }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
