internal import API
internal import NIOCore
internal import NIOPosix
internal import Sandbox

/// The bytes of a pipe that a session's file helper holds the other end of; never blocks a thread, and
/// reads or writes only as fast as both sides go.
enum PipeStream {
    typealias Pipe = NIOAsyncChannel<ByteBuffer, ByteBuffer>

    static func reading(_ transfer: FileTransfer) async throws -> Pipe {
        let descriptor = try transfer.pipe.duplicate().release()
        return try await NIOPipeBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .takingOwnershipOfDescriptor(input: descriptor) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try Pipe(wrappingChannelSynchronously: channel)
                }
            }
    }

    static func writing(_ transfer: FileTransfer) async throws -> Pipe {
        let descriptor = try transfer.pipe.duplicate().release()
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
        let text = error.detail.isEmpty ? "\(path): \(SandboxError.name(of: error.errno))" : "\(error)"
        return WireError(code: notFound ? .fileNotFound : .fileFailed, message: text)
    }
}
