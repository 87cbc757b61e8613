internal import NIOCore

/// One half of a tunnel: what this channel receives goes to the other one as it is. Ends are passed
/// on one direction at a time (half-close), so that a client may say that it is done and still read
/// the answer.
final class Relay: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer

    private let peer: any Channel
    /// Called with the number of bytes of each read, before they are passed on.
    private let count: (Int) -> Void
    private var inputHasEnded = false

    init(to peer: any Channel, count: @escaping (Int) -> Void) {
        self.peer = peer
        self.count = count
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        count(bytes.readableBytes)
        peer.write(bytes, promise: nil)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        peer.flush()
        context.fireChannelReadComplete()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent {
            inputHasEnded = true
            peer.closeAfterFlush(mode: .output)
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        // What came before an orderly end is still delivered; after a reset there is no use in it.
        if inputHasEnded { peer.closeAfterFlush(mode: .all) } else { peer.close(promise: nil) }
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}

extension Channel {
    /// Reads nothing more until its `FlowGate` is released.
    ///
    /// On the channel's event loop.
    func holdReading() {
        (try? pipeline.syncOperations.handler(type: FlowGate.self))?.hold()
    }

    /// Closes once everything that was written is with the kernel. A plain close drops what waits,
    /// and so does one of the output when the input has ended.
    ///
    /// On the channel's event loop.
    func closeAfterFlush(mode: CloseMode) {
        if let gate = try? pipeline.syncOperations.handler(type: FlowGate.self) {
            gate.closeAfterFlush(mode: mode)
        } else {
            close(mode: mode, promise: nil)
        }
    }
}
