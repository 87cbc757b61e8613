internal import NIOCore

/// Name queries over TCP (RFC 7766): each with two bytes of length before it.
final class NameStream: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let session: SessionEgress
    private var bytes = ByteBuffer()

    init(_ session: SessionEgress) { self.session = session }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var new = unwrapInboundIn(data)
        bytes.writeBuffer(&new)
        while let length = bytes.getInteger(at: bytes.readerIndex, as: UInt16.self) {
            // Nobody asks more than a packet holds.
            guard length <= SessionEgress.maximumQuery else {
                return context.close(promise: nil)
            }
            guard let query = bytes.getBytes(at: bytes.readerIndex + 2, length: Int(length)) else {
                break
            }
            bytes.moveReaderIndex(forwardBy: 2 + Int(length))
            let answer = session.answer(query)
            guard !answer.isEmpty else { return context.close(promise: nil) }
            var framed = context.channel.allocator.buffer(capacity: answer.count + 2)
            framed.writeInteger(UInt16(answer.count))
            framed.writeBytes(answer)
            context.write(NIOAny(framed), promise: nil)
        }
        bytes.discardReadBytes()
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
