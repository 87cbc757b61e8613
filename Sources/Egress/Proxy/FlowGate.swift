internal import NIOCore

/// Ties the reading of one channel to the writing of another: bytes are taken from a peer only
/// while the other one takes them, so memory stays bounded however slow either is. Without another
/// one, a peer that does not read its answers is not read either. It stands next to the socket;
/// both channels run on one event loop.
final class FlowGate: ChannelDuplexHandler {
    typealias InboundIn = NIOAny
    typealias OutboundIn = NIOAny

    /// The gate of the channel that what is read here goes to.
    private var partner: FlowGate?
    private var context: ChannelHandlerContext?
    private var isHeld: Bool
    private var readIsWaiting = false
    /// The session's share of the loop; nil: no other session is there to be fair to.
    private let turns: ReadTurns?
    private var turnIsAwaited = false
    /// The peer has said that it sends nothing more. Handlers that come later do not hear of it.
    private(set) var inputHasEnded = false

    /// - Parameter isHeld: nothing is read until `release`.
    init(isHeld: Bool = false, _ turns: ReadTurns?) {
        self.isHeld = isHeld
        self.turns = turns
    }

    /// Joins two channels: from here on each reads only while the other can write.
    static func join(_ one: FlowGate, _ other: FlowGate) {
        one.partner = other
        other.partner = one
        one.readOn()
        other.readOn()
    }

    /// Leaves the partner; reading is free again.
    func part() {
        let old = partner
        partner = nil
        old?.partner = nil
        old?.readOn()
        readOn()
    }

    /// Reads nothing until `release`.
    func hold() { isHeld = true }

    func release() {
        isHeld = false
        readOn()
    }

    /// Closes after what was written. From here, next to the socket, bytes can be written whatever
    /// protocol the pipeline speaks.
    func closeAfterFlush(mode: CloseMode) {
        guard let context else { return }
        let channel = context.channel
        let flushed = context.eventLoop.makePromise(of: Void.self)
        flushed.futureResult.whenComplete { _ in channel.close(mode: mode, promise: nil) }
        let nothing = channel.allocator.buffer(capacity: 0)
        context.writeAndFlush(NIOAny(nothing), promise: flushed)
    }

    private var mayRead: Bool {
        !isHeld && (partner ?? self).context?.channel.isWritable != false
    }

    private func readOn() {
        guard readIsWaiting, mayRead, !turnIsAwaited, let context else { return }
        guard turns?.mayRead(self) ?? true else { return turnIsAwaited = true }
        readIsWaiting = false
        context.read()
    }

    /// The session's turn to read has come. False where this gate has no use for it.
    func turnHasCome() -> Bool {
        turnIsAwaited = false
        guard readIsWaiting, mayRead, let context else { return false }
        readIsWaiting = false
        context.read()
        return true
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        part()
        self.context = nil
    }

    func read(context: ChannelHandlerContext) {
        readIsWaiting = true
        readOn()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let began = NIODeadline.now()
        context.fireChannelRead(data)
        turns?.spent(since: began)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        let began = NIODeadline.now()
        context.fireChannelReadComplete()
        turns?.spent(since: began)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        (partner ?? self).readOn()
        context.fireChannelWritabilityChanged()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent { inputHasEnded = true }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        part()
        context.fireChannelInactive()
    }
}
