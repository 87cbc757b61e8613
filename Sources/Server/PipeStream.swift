internal import API
internal import NIOCore
internal import NIOPosix
internal import Sandbox

/// Writing into the pipe of a session's file helper; never blocks a thread.
enum PipeStream {
    typealias Pipe = NIOAsyncChannel<ByteBuffer, ByteBuffer>

    static func writing(_ transfer: FileTransfer) async throws -> Pipe {
        let descriptor = try transfer.pipe.take().release()
        return try await NIOPipeBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .takingOwnershipOfDescriptor(output: descriptor) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try Pipe(wrappingChannelSynchronously: channel)
                }
            }
    }

    /// What a helper's failure means to a client.
    static func wire(_ error: SandboxError, path: String) -> WireError {
        let notFound = error.errno == 2 || error.errno == 20
        let text =
            error.detail.isEmpty ? "\(path): \(SandboxError.name(of: error.errno))" : "\(error)"
        return WireError(code: notFound ? .fileNotFound : .fileFailed, message: text)
    }
}

/// The bytes of a helper's pipe, read only when somebody asks for more. Letting it go closes the
/// pipe.
final class PulledPipe: Sendable {
    private let demand: AsyncStream<Void>.Continuation
    private let chunks: AsyncThrowingStream<ByteBuffer, any Error>

    init(_ transfer: FileTransfer) async throws {
        let descriptor = try transfer.pipe.take().release()
        let pipe = try await NIOPipeBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .takingOwnershipOfDescriptor(input: descriptor) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try PipeStream.Pipe(wrappingChannelSynchronously: channel)
                }
            }
        let (requests, demand) = AsyncStream.makeStream(of: Void.self)
        let (chunks, found) = AsyncThrowingStream.makeStream(of: ByteBuffer.self)
        self.demand = demand
        self.chunks = chunks
        Task {
            do {
                try await pipe.executeThenClose { inbound, _ in
                    var iterator = inbound.makeAsyncIterator()
                    for await _ in requests {
                        guard let bytes = try await iterator.next() else { break }
                        found.yield(bytes)
                    }
                }
                found.finish()
            } catch {
                found.finish(throwing: error)
            }
        }
    }

    /// The next bytes, nil at the end. One caller at a time.
    func next() async throws -> ByteBuffer? {
        demand.yield()
        for try await bytes in chunks { return bytes }
        return nil
    }

    func close() { demand.finish() }

    deinit { demand.finish() }
}
