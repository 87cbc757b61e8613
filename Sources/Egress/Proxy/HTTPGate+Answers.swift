internal import API
internal import NIOCore
internal import NIOHTTP1

extension HTTPGate {
    /// From the upstream.
    func answer(_ part: HTTPClientResponsePart) {
        guard let context, var now = exchange, !now.answerHasEnded else { return }
        switch part {
        case .head(let raw):
            let head = now.scrubber?.clean(raw) ?? raw
            if now.scrubber != nil, !head.isUncoded { return refuseCoded(context) }
            if head.status == .switchingProtocols {
                switching = head
                return
            }
            let answer = HTTPRoute.answer(head, to: now.head, closing: &now.mustClose)
            context.write(wrapOutboundOut(.head(answer)), promise: nil)
            if head.status.code >= 200 {
                now.answerHasBegun = true
                now.record.answered(head)
                if !head.isKeepAlive { upstreamIsSpent = true }
            }
        case .body(let bytes):
            now.record.receivedBody(bytes)
            // Every byte of a body comes by here; without the key from here on.
            let clean = now.scrubber?.feed(bytes) ?? bytes
            context.write(wrapOutboundOut(.body(.byteBuffer(clean))), promise: nil)
        case .end(let trailers):
            if let head = switching { return switchProtocols(head, now, context) }
            if let rest = now.scrubber?.finish() {
                context.write(wrapOutboundOut(.body(.byteBuffer(rest))), promise: nil)
            }
            let last = trailers.map { now.scrubber?.clean($0) ?? $0 }
            context.writeAndFlush(wrapOutboundOut(.end(last)), promise: nil)
            now.answerHasEnded = true
            now.record.end()
        }
        exchange = now
        finishIfDone(context)
    }

    func answerReadComplete() { context?.flush() }

    /// The upstream has closed, or said something that is no HTTP.
    func lostUpstream(_ channel: any Channel) {
        guard upstream?.channel === channel else { return }
        upstream = nil
        guard let context, let now = exchange, !now.answerHasEnded else { return }
        let refusal =
            session.endOfBytes
            ?? EgressRefusal(.badAnswer, "the server ended the connection without an answer")
        if now.answerHasBegun {
            // All that can be said now: the answer is not whole.
            now.record.end(
                session.endOfBytes ?? EgressRefusal(.badAnswer, "the answer is not whole"))
            context.close(promise: nil)
        } else if case .forwarding = now.state {
            refuse(refusal, context)
        }
    }

    func dropUpstream() {
        let old = upstream?.channel
        upstream = nil
        gate.part()
        old?.close(promise: nil)
    }

    /// After an answer: the next request, or the end of the connection.
    func finishIfDone(_ context: ChannelHandlerContext) {
        guard let now = exchange, now.answerHasEnded else { return }
        guard now.requestHasEnded else {
            // Answered before all was asked: what still comes belongs to nothing.
            if case .forwarding = now.state {
                dropUpstream()
                exchange?.state = .refused(drained: 0)
                exchange?.mustClose = true
                gate.release()
            }
            return
        }
        exchange = nil
        if now.mustClose {
            dropUpstream()
            context.channel.closeAfterFlush(mode: .all)
        } else if upstreamIsSpent {
            dropUpstream()
        }
    }

    /// From here on both sides speak another protocol (RFC 9110, section 7.8).
    private func switchProtocols(
        _ head: HTTPResponseHead, _ now: Exchange, _ context: ChannelHandlerContext
    ) {
        guard now.asksForUpgrade, let channel = upstream?.channel else {
            return context.close(promise: nil)
        }
        let record = now.record
        record.status(Int(head.status.code))
        context.writeAndFlush(wrapOutboundOut(.head(HTTPRoute.switched(head))), promise: nil)
        exchange = nil
        upstream = nil
        let client = context.channel
        leave(context, record) {
            try client.pipeline.syncOperations.addHandler(Relay(to: channel) { record.sent($0) })
            let outside = channel.pipeline.syncOperations
            try outside.addHandler(Relay(to: client) { record.received($0) })
            for handler in try HTTPAnswer.handlers(in: outside) {
                outside.removeHandler(handler, promise: nil)
            }
        }
        client.closeFuture.assumeIsolated().whenComplete { _ in record.endOrCut() }
        // A decoder hands over what it has not read in the loop's next turn, without saying that
        // the reading is complete: nobody else would flush it.
        context.eventLoop.assumeIsolated().execute {
            channel.flush()
            client.flush()
        }
        repeatEnd(context.eventLoop, client)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent {
            // No further request; an answer that is under way is still given.
            if exchange == nil { context.close(promise: nil) } else { exchange?.mustClose = true }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        exchange?.record.end()
        exchange = nil
        dropUpstream()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard error is HTTPParserError, exchange == nil else {
            return context.close(promise: nil)
        }
        let record = OpenRecord(.request, nil, in: session)
        let refusal = EgressRefusal(.malformed, "no HTTP request: \(error)")
        record.status(refusal.httpStatus)
        record.end(refusal)
        let head = HTTPRequestHead(version: .http1_1, method: .GET, uri: "/")
        write(refusal, to: head, closing: true, context)
        context.channel.closeAfterFlush(mode: .all)
    }
}

/// The upstream's side of HTTP that is passed on.
final class HTTPAnswer: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPClientResponsePart

    private let gate: HTTPGate

    private init(to gate: HTTPGate) { self.gate = gate }

    /// Puts HTTP at the end of an upstream's pipeline.
    static func install(
        in pipeline: ChannelPipeline.SynchronousOperations, to gate: HTTPGate
    ) throws {
        let decoder = HTTPResponseDecoder(
            leftOverBytesStrategy: .forwardBytes, informationalResponseStrategy: .forward)
        // The decoder sees requests before they are encoded: answers to HEAD have no body.
        try pipeline.addHandlers(
            HTTPRequestEncoder(), ByteToMessageHandler(decoder), HTTPAnswer(to: gate))
    }

    /// What `install` added; the decoder last, which then hands over what it has not read.
    static func handlers(
        in pipeline: ChannelPipeline.SynchronousOperations
    ) throws -> [any RemovableChannelHandler] {
        [
            try pipeline.handler(type: HTTPAnswer.self),
            try pipeline.handler(type: HTTPRequestEncoder.self),
            try pipeline.handler(type: ByteToMessageHandler<HTTPResponseDecoder>.self),
        ]
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        gate.answer(unwrapInboundIn(data))
    }

    func channelReadComplete(context: ChannelHandlerContext) { gate.answerReadComplete() }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent { context.close(promise: nil) }
    }

    func channelInactive(context: ChannelHandlerContext) { gate.lostUpstream(context.channel) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
