internal import Glibc
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// HTTP/1.1 over a unix socket: one connection for each request.
struct HTTPConnection: Sendable {
    typealias AsyncChannel = NIOAsyncChannel<HTTPClientResponsePart, HTTPClientRequestPart>

    let socketPath: String

    /// Sends `request` and lets `use` read the answer; the connection is closed afterwards.
    func perform<Value: Sendable>(
        _ request: HTTPRequest,
        _ use: (HTTPHead, inout HTTPBody) async throws -> Value
    ) async throws -> Value {
        let channel = try await connect(idleSeconds: request.idleSeconds)
        do {
            return try await channel.executeThenClose { inbound, outbound in
                try await exchange(request, channel.channel, inbound, outbound, use)
            }
        } catch {
            throw mapped(error, request)
        }
    }

    private func connect(idleSeconds: Int64) async throws -> AsyncChannel {
        do {
            return try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connect(unixDomainSocketPath: socketPath) { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let pipeline = channel.pipeline.syncOperations
                        try pipeline.addHandler(
                            IdleStateHandler(allTimeout: .seconds(idleSeconds)))
                        try pipeline.addHandler(IdleCloser())
                        try pipeline.addHTTPClientHandlers()
                        return try AsyncChannel(wrappingChannelSynchronously: channel)
                    }
                }
        } catch {
            throw connectError(error)
        }
    }

    private func connectError(_ error: any Error) -> ClientError {
        guard let error = error as? IOError else {
            return ClientError(.address, "Cannot use the socket \(socketPath): \(error)")
        }
        let number = error.errnoCode
        switch number {
        case ENOENT, ECONNREFUSED, ENOTDIR:
            return ClientError(
                .unreachable, "No supervisor answers at \(socketPath)", errno: number)
        case EACCES, EPERM:
            return ClientError(
                .permission, "No permission to use the supervisor at \(socketPath)", errno: number)
        case EAGAIN, ECONNRESET, EINTR:
            return ClientError(
                .lost, "The supervisor at \(socketPath) does not take connections", errno: number)
        default:
            return ClientError(
                .address, "Cannot connect to \(socketPath): \(text(of: number))", errno: number)
        }
    }

    private func exchange<Value: Sendable>(
        _ request: HTTPRequest,
        _ channel: any NIOCore.Channel,
        _ inbound: NIOAsyncChannelInboundStream<HTTPClientResponsePart>,
        _ outbound: NIOAsyncChannelOutboundWriter<HTTPClientRequestPart>,
        _ use: (HTTPHead, inout HTTPBody) async throws -> Value
    ) async throws -> Value {
        // The body is written beside the reading, because an error may be answered before its end.
        try await withThrowingTaskGroup(of: BodyFailure?.self) { group in
            group.addTask { await write(request, outbound, closing: channel) }
            defer { group.cancelAll() }
            var body = HTTPBody(inbound.makeAsyncIterator())
            do {
                let head = try await body.head()
                return try await use(head, &body)
            } catch {
                group.cancelAll()
                if let failure = try await group.next() ?? nil, failure.isLocal {
                    throw ClientError(.body, "\(failure.error)", cause: failure.error)
                }
                throw error
            }
        }
    }

    private struct BodyFailure: Sendable {
        var error: any Error
        var isLocal: Bool
    }

    private func write(
        _ request: HTTPRequest, _ outbound: NIOAsyncChannelOutboundWriter<HTTPClientRequestPart>,
        closing channel: any NIOCore.Channel
    ) async -> BodyFailure? {
        do {
            try await outbound.write(.head(head(of: request)))
            switch request.body {
            case .none:
                break
            case .json(let bytes):
                try await outbound.write(.body(.byteBuffer(ByteBuffer(bytes: bytes))))
            case .stream(_, let next):
                while true {
                    let chunk: [UInt8]?
                    do {
                        chunk = try await next()
                    } catch {
                        // Closing without an end tells the supervisor that the body is incomplete.
                        channel.close(promise: nil)
                        return BodyFailure(error: error, isLocal: !(error is CancellationError))
                    }
                    guard let chunk else { break }
                    try await outbound.write(.body(.byteBuffer(ByteBuffer(bytes: chunk))))
                }
            }
            try await outbound.write(.end(nil))
            return nil
        } catch {
            return BodyFailure(error: error, isLocal: false)
        }
    }

    private func head(of request: HTTPRequest) -> HTTPRequestHead {
        let method: HTTPMethod =
            switch request.method {
            case .get: .GET
            case .post: .POST
            case .put: .PUT
            case .delete: .DELETE
            }
        var head = HTTPRequestHead(version: .http1_1, method: method, uri: request.target)
        head.headers.add(name: "Host", value: "localhost")
        head.headers.add(name: "User-Agent", value: "superserve")
        head.headers.add(name: "Accept", value: request.accept)
        head.headers.add(name: "Connection", value: "close")
        for (name, value) in request.headers { head.headers.add(name: name, value: value) }
        switch request.body {
        case .none:
            if method == .POST || method == .PUT {
                head.headers.add(name: "Content-Length", value: "0")
            }
        case .json(let bytes):
            head.headers.add(name: "Content-Type", value: "application/json")
            head.headers.add(name: "Content-Length", value: String(bytes.count))
        case .stream(let contentType, _):
            head.headers.add(name: "Content-Type", value: contentType)
            head.headers.add(name: "Transfer-Encoding", value: "chunked")
        }
        return head
    }

    private func mapped(_ error: any Error, _ request: HTTPRequest) -> any Error {
        let place = "\(request.target) at \(socketPath)"
        switch error {
        case is IdleTimeout:
            return ClientError(
                .timeout,
                "The supervisor said nothing for \(request.idleSeconds) s (\(place))")
        case let error as IOError:
            return ClientError(
                .lost, "The connection to the supervisor was lost (\(place))",
                errno: error.errnoCode)
        case is ChannelError:
            return ClientError(.lost, "The connection to the supervisor was lost (\(place))")
        case HTTPParserError.invalidEOFState:
            return ClientError(.lost, "The connection to the supervisor was lost (\(place))")
        case is HTTPParserError:
            return ClientError(.badAnswer, "The answer is not HTTP (\(place))")
        default:
            return error
        }
    }
}

/// The body of an answer, read chunk by chunk.
struct HTTPBody {
    private var iterator: NIOAsyncChannelInboundStream<HTTPClientResponsePart>.AsyncIterator
    private var isComplete = false

    init(_ iterator: NIOAsyncChannelInboundStream<HTTPClientResponsePart>.AsyncIterator) {
        self.iterator = iterator
    }

    fileprivate mutating func head() async throws -> HTTPHead {
        while let part = try await iterator.next(isolation: #isolation) {
            if case .head(let head) = part, head.status.code >= 200 {
                return HTTPHead(
                    status: Int(head.status.code),
                    contentType: head.headers.first(name: "content-type") ?? "")
            }
        }
        try Task.checkCancellation()
        throw ClientError(.lost, "The supervisor closed the connection without an answer")
    }

    /// The next bytes, or nil at the end of the body. A connection that ends before is an error.
    mutating func next() async throws -> ByteBuffer? {
        guard !isComplete else { return nil }
        while let part = try await iterator.next(isolation: #isolation) {
            switch part {
            case .head: continue
            case .body(let buffer): return buffer
            case .end:
                isComplete = true
                return nil
            }
        }
        try Task.checkCancellation()
        throw ClientError(.lost, "The connection to the supervisor was lost")
    }

    /// The whole body, up to `limit` bytes.
    mutating func collect(limit: Int) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        while let buffer = try await next() {
            guard bytes.count + buffer.readableBytes <= limit else {
                throw ClientError(.badAnswer, "The answer is larger than \(limit) bytes")
            }
            bytes.append(contentsOf: buffer.readableBytesView)
        }
        return bytes
    }
}

/// Nothing was read or written for the allowed time.
private struct IdleTimeout: Error {}

/// Turns `IdleStateHandler`'s event into an error that ends the exchange.
private final class IdleCloser: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is IdleStateHandler.IdleStateEvent {
            context.fireErrorCaught(IdleTimeout())
            context.close(promise: nil)
        } else {
            context.fireUserInboundEventTriggered(event)
        }
    }
}
