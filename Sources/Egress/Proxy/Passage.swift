internal import NIOCore
internal import Settings

/// The way of a connection that is not HTTP to a proxy: to a tunnel, or, where a secret is bound to
/// the host, to a gate that reads its requests. Begun by a handler that leaves when it is open.
struct Passage {
    let destination: Destination
    let record: OpenRecord
    let session: SessionEgress

    /// Opens it for the client of `context`, whose handler hands over what it keeps of the client's
    /// bytes and is removed.
    ///
    /// - Parameters:
    ///   - early: what the client has said until it is open.
    ///   - accept: called just before.
    ///   - refuse: called instead where it cannot be opened; the record is the caller's to end.
    func open(
        for context: ChannelHandlerContext, early: @escaping () -> ByteBuffer,
        accept: @escaping () -> Void = {}, refuse: @escaping (EgressRefusal) -> Void
    ) {
        let client = context.channel
        if session.secrets.intercepts(destination) {
            let interception = Interception(
                destination: destination, client: client, record: record, session: session)
            accept()
            return context.leave(early: early(), to: interception.begin) { [record] error in
                record.end(EgressRefusal(error))
                client.close(promise: nil)
            }
        }
        session.connect(client, to: Hop(destination: destination), record) { [self] result in
            switch result {
            case .failure(let refusal): refuse(refusal)
            case .success(let upstream):
                let tunnel = Tunnel(
                    destination: destination, client: client, upstream: upstream, record: record,
                    session: session)
                accept()
                context.leave(early: early(), to: tunnel.begin) { error in
                    tunnel.refuse(EgressRefusal(.badAnswer, "\(error)"), answer: nil)
                }
            }
        }
    }
}

extension ChannelHandlerContext {
    /// Removes this handler in favour of those that `begin` puts into the pipeline: they get what
    /// the client said before they were there, and the end of it if it has ended already.
    fileprivate func leave(
        early: ByteBuffer, to begin: () throws -> Void, orElse fail: (any Error) -> Void
    ) {
        do {
            try begin()
        } catch {
            return fail(error)
        }
        if early.readableBytes > 0 {
            fireChannelRead(NIOAny(early))
            fireChannelReadComplete()
        }
        let pipeline = pipeline.syncOperations
        if (try? pipeline.handler(type: FlowGate.self))?.inputHasEnded == true {
            fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        }
        pipeline.removeHandler(context: self, promise: nil)
    }
}
