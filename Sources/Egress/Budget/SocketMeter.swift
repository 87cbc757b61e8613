internal import NIOCore
internal import Settings

/// Counts what goes through a socket to the outside, whatever protocol it carries, and lets no byte
/// pass beyond the session's budget. It stands next to the socket.
final class SocketMeter: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = IOData
    typealias OutboundOut = IOData

    private let session: SessionEgress
    private var isCut = false

    init(_ session: SessionEgress) { self.session = session }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard case .byteBuffer(var bytes) = unwrapOutboundIn(data), !isCut else {
            promise?.fail(ChannelError.ioOnClosedChannel)
            return
        }
        let granted = session.take(bytes: bytes.readableBytes, .bytesOut)
        guard granted < bytes.readableBytes, let rest = bytes.readSlice(length: granted) else {
            return context.write(data, promise: promise)
        }
        context.writeAndFlush(wrapOutboundOut(.byteBuffer(rest)), promise: nil)
        promise?.fail(EgressRefusal(.unreachable, "the budget is used up"))
        cut(context)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isCut else { return }
        var bytes = unwrapInboundIn(data)
        let granted = session.take(bytes: bytes.readableBytes, .bytesIn)
        guard granted < bytes.readableBytes, let rest = bytes.readSlice(length: granted) else {
            return context.fireChannelRead(data)
        }
        if granted > 0 { context.fireChannelRead(wrapInboundOut(rest)) }
        // What has passed is still delivered, as before an orderly end.
        context.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        cut(context)
    }

    /// In the loop's next turn: whoever writes must not find the channel gone under it.
    private func cut(_ context: ChannelHandlerContext) {
        isCut = true
        let channel = context.channel
        context.eventLoop.assumeIsolated().execute { channel.closeAfterFlush(mode: .all) }
        session.cutUpstreams(but: channel)
    }
}
