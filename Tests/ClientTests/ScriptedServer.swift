import Foundation
import NIOCore
import NIOPosix
import Synchronization

/// A server on a unix socket that answers each connection with bytes from a script, then closes it.
final class ScriptedServer: Sendable {
    struct Reply: Sendable {
        var bytes: String
        /// Keeps the connection open without a word, for this long.
        var silence: Duration = .zero
    }

    let path: String
    private let seen = Mutex<[String]>([])
    private let channel: NIOAsyncChannel<NIOAsyncChannel<ByteBuffer, ByteBuffer>, Never>

    init() async throws {
        path = NSTemporaryDirectory() + "client-\(UUID().uuidString.prefix(8)).sock"
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(unixDomainSocketPath: path) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel(wrappingChannelSynchronously: channel)
                }
            }
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// What each connection asked for, head and body as they came.
    var requests: [String] { seen.withLock { $0 } }

    /// The first line of each request.
    var requestLines: [String] {
        requests.map { $0.components(separatedBy: "\r\n")[0] }
    }

    /// Serves while `body` runs; `script` answers the request of connection number `index`.
    func run<Value: Sendable>(
        _ script: @escaping @Sendable (_ index: Int, _ request: String) -> Reply,
        while body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { [channel] in
                try await channel.executeThenClose { connections in
                    var index = 0
                    for try await connection in connections {
                        await self.serve(connection, index, script)
                        index += 1
                    }
                }
            }
            defer { group.cancelAll() }
            return try await body()
        }
    }

    private func serve(
        _ connection: NIOAsyncChannel<ByteBuffer, ByteBuffer>, _ index: Int,
        _ script: @Sendable (Int, String) -> Reply
    ) async {
        try? await connection.executeThenClose { inbound, outbound in
            var request = ""
            for try await bytes in inbound {
                request += String(buffer: bytes)
                if Self.isWhole(request) { break }
            }
            seen.withLock { $0.append(request) }
            let reply = script(index, request)
            if !reply.bytes.isEmpty { try await outbound.write(ByteBuffer(string: reply.bytes)) }
            if reply.silence > .zero { try await Task.sleep(for: reply.silence) }
        }
    }

    private static func isWhole(_ request: String) -> Bool {
        guard let end = request.range(of: "\r\n\r\n") else { return false }
        let head = request[..<end.lowerBound].lowercased()
        let body = request[end.upperBound...]
        if head.contains("transfer-encoding: chunked") { return body.hasSuffix("0\r\n\r\n") }
        guard let field = head.range(of: "content-length: ") else { return true }
        return body.utf8.count >= Int(head[field.upperBound...].prefix { $0.isNumber }) ?? 0
    }

    /// An answer with a JSON body.
    static func json(_ status: Int, _ body: String) -> Reply {
        Reply(
            bytes: "HTTP/1.1 \(status) X\r\nContent-Type: application/json\r\n"
                + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)")
    }

    /// The head of an event stream and some events; it has no end.
    static func events(_ frames: [String]) -> Reply {
        let chunks = frames.map { "\(String($0.utf8.count, radix: 16))\r\n\($0)\r\n" }
        return Reply(
            bytes: "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                + "Transfer-Encoding: chunked\r\n\r\n" + chunks.joined())
    }
}
