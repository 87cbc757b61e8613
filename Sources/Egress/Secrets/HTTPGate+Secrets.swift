internal import NIOCore
internal import NIOHTTP1

extension HTTPGate {
    /// Asks for the key of a request, which waits meanwhile, and sends it on its way.
    func unlock(_ route: HTTPRoute, _ context: ChannelHandlerContext) {
        guard let secret = route.secret, let record = exchange?.record else { return }
        exchange?.isForSecret = true
        record.uses(secret.name)
        gate.hold()
        let source = session.secrets.source
        let value = context.eventLoop.makeFutureWithTask { try await source(secret.name).get() }
        value.assumeIsolated().whenComplete { [self] result in
            // The client may have left.
            guard let context = self.context, exchange?.record === record else { return }
            switch result {
            case .success(let value) where value.fitsHeader:
                exchange?.scrubber = SecretScrubber(value, standIn: secret.standIn)
                forward(route.with(value), context)
            case .success:
                withhold("the value of \(secret.name) cannot stand in a header", nil, context)
            case .failure(let error):
                let problem = error as? SessionSecrets.Problem
                withhold(problem?.text ?? "\(error)", problem?.code, context)
            }
        }
    }

    private func withhold(_ text: String, _ code: String?, _ context: ChannelHandlerContext) {
        refuse(EgressRefusal(.secret, text).coded(code), context)
        gate.release()
    }

    /// The server compressed its answer though it was asked not to: nobody can tell what is in it.
    func refuseCoded(_ context: ChannelHandlerContext) {
        dropUpstream()
        let text = "the server's answer is compressed, which was not asked for"
        refuse(EgressRefusal(.badAnswer, text).coded("coded_answer"), context)
    }

    /// CONNECT to a host that a secret is bound to.
    func intercept(_ route: HTTPRoute, _ context: ChannelHandlerContext) {
        guard let record = exchange?.record else { return }
        gate.hold()
        // The end of the request is still to come, and belongs to this gate.
        context.eventLoop.assumeIsolated().execute { [self] in
            guard let context = self.context, exchange?.record === record else { return }
            let interception = Interception(
                destination: route.destination, client: context.channel, record: record,
                session: session)
            acceptTunnel(context)
            leave(context, record) { try interception.begin() }
            repeatEnd(context.eventLoop, context.channel)
        }
    }
}
