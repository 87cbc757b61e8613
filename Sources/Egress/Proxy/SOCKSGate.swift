internal import API
internal import NIOCore
internal import Settings

/// SOCKS 5 (RFC 1928): CONNECT to a name or an address, without authentication. Names are resolved
/// by the supervisor, never in the session.
final class SOCKSGate: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private enum State {
        case greeting, request, connecting, done
    }

    private let session: SessionEgress
    private var state = State.greeting
    private var bytes = ByteBuffer()

    init(_ session: SessionEgress) { self.session = session }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var new = unwrapInboundIn(data)
        bytes.writeBuffer(&new)
        if case .greeting = state { greet(context) }
        if case .request = state { readRequest(context) }
    }

    /// Version, number of methods, methods: `0` is "no authentication".
    private func greet(_ context: ChannelHandlerContext) {
        guard let count = bytes.getInteger(at: bytes.readerIndex + 1, as: UInt8.self),
            bytes.readableBytes >= 2 + Int(count), let head = bytes.readBytes(length: 2),
            let methods = bytes.readBytes(length: Int(count))
        else { return }
        guard head[0] == 5, methods.contains(0) else {
            state = .done
            write([5, 0xff], context)
            return context.channel.closeAfterFlush(mode: .all)
        }
        state = .request
        write([5, 0], context)
    }

    private func readRequest(_ context: ChannelHandlerContext) {
        let record: OpenRecord
        do throws(EgressRefusal) {
            guard let destination = try parse() else { return }
            record = OpenRecord(.socks, destination, in: session)
            connect(to: destination, record, context)
        } catch {
            record = OpenRecord(.socks, nil, in: session)
            refuse(error, record, context)
        }
    }

    /// Version, command, zero, kind of address, address, port; nil while it is not whole.
    private func parse() throws(EgressRefusal) -> Destination? {
        var rest = bytes
        guard let head = rest.readBytes(length: 4) else { return nil }
        guard head[0] == 5, head[2] == 0 else {
            throw EgressRefusal(.malformed, "no SOCKS 5 request")
        }
        guard head[1] == 1 else {
            throw EgressRefusal(.unsupported, "SOCKS: only CONNECT is served")
        }
        let length: Int
        switch head[3] {
        case 1: length = 4
        case 4: length = 16
        case 3:
            guard let size = rest.readInteger(as: UInt8.self) else { return nil }
            length = Int(size)
        default: throw EgressRefusal(.unsupported, "SOCKS: unknown kind of address")
        }
        guard let name = rest.readBytes(length: length),
            let port = rest.readInteger(as: UInt16.self)
        else { return nil }
        bytes = rest
        let host = try host(name, isText: head[3] == 3)
        guard let destination = Destination(host: host, port: port) else {
            throw EgressRefusal(.malformed, "SOCKS: port 0")
        }
        return destination
    }

    private func host(_ bytes: [UInt8], isText: Bool) throws(EgressRefusal) -> Destination.Host {
        if !isText, let address = IPAddress(octets: bytes) { return .address(address) }
        do throws(NetworkTextError) {
            return try Destination.Host(bytes)
        } catch {
            throw EgressRefusal(.malformed, error.message)
        }
    }

    private func connect(
        to destination: Destination, _ record: OpenRecord, _ context: ChannelHandlerContext
    ) {
        state = .connecting
        Passage(destination: destination, record: record, session: session).open(
            for: context, early: { [self] in bytes },
            accept: { [self] in
                state = .done
                // The address that was bound is of no use to the client.
                write([5, 0, 0, 1, 0, 0, 0, 0, 0, 0], context)
            },
            refuse: { [self] in refuse($0, record, context) })
    }

    private func refuse(
        _ refusal: EgressRefusal, _ record: OpenRecord, _ context: ChannelHandlerContext
    ) {
        state = .done
        record.end(refusal)
        write([5, refusal.socksReply, 0, 1, 0, 0, 0, 0, 0, 0], context)
        context.channel.closeAfterFlush(mode: .all)
    }

    private func write(_ bytes: [UInt8], _ context: ChannelHandlerContext) {
        context.writeAndFlush(NIOAny(ByteBuffer(bytes: bytes)), promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent {
            switch state {
            case .greeting, .request: context.close(promise: nil)
            // The tunnel, or the end of what is being written, sees to it.
            case .connecting, .done: break
            }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
