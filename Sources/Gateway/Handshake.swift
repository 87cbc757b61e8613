internal import Egress
internal import NIOCore
internal import NIOSSL
internal import NIOTLS

/// Waits for the end of a handshake, then leaves.
final class Handshake: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = NIOAny

    private static let patience = TimeAmount.seconds(10)

    private let done: EventLoopPromise<Void>
    private var isDone = false
    private var timer: Scheduled<Void>?

    init(_ done: EventLoopPromise<Void>) { self.done = done }

    func handlerAdded(context: ChannelHandlerContext) {
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: Self.patience) { [self] in
            fail(EgressTLSError(isCertificate: false, "the server does not answer the handshake"))
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted? = event as? TLSUserEvent, !isDone {
            finish()
            done.succeed()
            context.pipeline.syncOperations.removeHandler(self, promise: nil)
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard !isDone else { return context.fireErrorCaught(error) }
        fail(Self.explain(error))
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        fail(EgressTLSError(isCertificate: false, "the server ended the connection"))
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        fail(EgressTLSError(isCertificate: false, "the connection was given up"))
    }

    private func finish() {
        isDone = true
        timer?.cancel()
    }

    private func fail(_ error: EgressTLSError) {
        guard !isDone else { return }
        finish()
        done.fail(error)
    }

    /// BoringSSL says in its own words what was wrong.
    private static func explain(_ error: any Error) -> EgressTLSError {
        let text = "\(error)"
        if error as? NIOSSLExtraError == .failedToValidateHostname {
            return EgressTLSError(
                isCertificate: true, "the server's certificate is for another name")
        }
        if text.contains("CERTIFICATE_VERIFY_FAILED") {
            return EgressTLSError(
                isCertificate: true,
                "the server's certificate is not trusted; 'gateway_ca' adds authorities")
        }
        return EgressTLSError(isCertificate: false, "the handshake failed: \(text.prefix(300))")
    }
}
