internal import NIOCore

/// Name queries over TCP (RFC 7766): each with two bytes of length before it.
final class NameStream: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let session: SessionEgress
    private var frames = DNSFrames()

    init(_ session: SessionEgress) { self.session = session }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let queries = frames.feed(unwrapInboundIn(data).readableBytesView) else {
            return context.close(promise: nil)
        }
        for query in queries {
            let answer = session.answer(query)
            guard !answer.isEmpty, let framed = DNSFrames.framed(answer) else {
                return context.close(promise: nil)
            }
            context.write(NIOAny(ByteBuffer(bytes: framed)), promise: nil)
        }
        context.flush()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent {
            context.channel.closeAfterFlush(mode: .all)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
