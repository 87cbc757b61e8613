internal import API
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
internal import Sandbox
internal import Sessions

// Files in and out of a session. The supervisor never touches the session's tree: a helper inside
// the session, with the session's rights, reads and writes; only tar streams pass through here.

extension APIServer {
    func addFileRoutes(to group: RouterGroup<PeerContext>) {
        group.get { request, context in
            let path = try Self.path(request)
            let link = try await supervisor.link(context.parameter("id"), caller: context.caller)
            return try await download(path, link)
        }
        group.put { request, context in
            let path = try Self.path(request)
            let link = try await supervisor.link(context.parameter("id"), caller: context.caller)
            try await upload(request.body, to: path, link)
            return Response(status: .noContent)
        }
    }

    /// The `path` parameter; relative ones are below /workspace.
    private static func path(_ request: Request) throws(WireError) -> String {
        guard let path = request.query("path"), !path.isEmpty, path.utf8.count < 4096,
            !path.utf8.contains(0)
        else {
            throw WireError(
                code: .badRequest,
                message: "'path' must name a file in the session, in less than 4096 bytes")
        }
        return path.hasPrefix("/") ? path : "/workspace/" + path
    }

    private func download(_ path: String, _ link: any SandboxLink) async throws -> Response {
        let transfer: FileTransfer
        do throws(SandboxError) {
            transfer = try await link.readFiles(path)
        } catch {
            throw PipeStream.wire(error, path: path)
        }
        let pipe = try await PulledPipe(transfer)
        guard let first = try await pipe.next() else {
            do throws(SandboxError) {
                try await link.outcome(of: transfer)
            } catch {
                throw PipeStream.wire(error, path: path)
            }
            throw WireError(code: .fileFailed, message: "\(path): nothing came")
        }
        return Response(
            status: .ok, headers: [.contentType: "application/x-tar"],
            body: ResponseBody { writer in
                defer { pipe.close() }
                try await writer.write(first)
                while let bytes = try await pipe.next() { try await writer.write(bytes) }
                try await link.outcome(of: transfer)
                try await writer.finish(nil)
            })
    }

    private func upload(_ body: RequestBody, to path: String, _ link: any SandboxLink) async throws
    {
        let transfer: FileTransfer
        do throws(SandboxError) {
            transfer = try await link.writeFiles(path)
        } catch {
            throw PipeStream.wire(error, path: path)
        }
        let pipe = try await PipeStream.writing(transfer)
        var total = 0
        var failure: (any Error)?
        do {
            try await pipe.executeThenClose { _, outbound in
                for try await bytes in body {
                    total += bytes.readableBytes
                    guard total <= options.maximumUpload else {
                        throw WireError(
                            code: .tooLarge,
                            message: "The upload is larger than \(options.maximumUpload) bytes")
                    }
                    try await outbound.write(bytes)
                }
                outbound.finish()
            }
        } catch {
            failure = error
        }
        do throws(SandboxError) {
            try await link.outcome(of: transfer)
        } catch {
            throw (failure as? WireError) ?? PipeStream.wire(error, path: path)
        }
        if let failure { throw failure }
    }
}
