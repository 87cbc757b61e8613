internal import API
internal import Archive
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
internal import NIOPosix
internal import Sessions
internal import Synchronization

extension APIServer {
    /// `POST /v1/agents`: a tar stream that begins with `superserve.yaml`; what is below `source/`
    /// becomes the agent's source. Nothing is registered before the whole archive has been read.
    func deploy(_ request: Request, caller: Caller) async throws -> Response {
        let version = try await deployed(request, caller: caller)
        return try Answer.json(try await supervisor.show(version), status: .created)
    }

    private func deployed(_ request: Request, caller: Caller) async throws -> AgentVersion {
        let staged = try await supervisor.catalog.stage()
        do {
            let unpacker = try Unpacker(directory: staged.path, maximumBytes: options.maximumDeploy)
            for try await bytes in request.body {
                try await NIOThreadPool.singleton.runIfActive { try unpacker.feed(bytes) }
            }
            let (yaml, files) = try await NIOThreadPool.singleton.runIfActive {
                try unpacker.finish()
            }
            if files == 0 { await supervisor.catalog.discard(staged) }
            return try await supervisor.catalog.deploy(
                yaml: yaml, source: files == 0 ? nil : staged, caller: caller)
        } catch {
            await supervisor.catalog.discard(staged)
            if let error = error as? ArchiveError {
                throw WireError(
                    code: error.code == .tooLarge ? .tooLarge : .agentInvalid, message: "\(error)")
            }
            throw error
        }
    }
}

/// Unpacks an upload piece by piece, on whatever thread of the pool has it at the moment; one at a
/// time.
private final class Unpacker: Sendable {
    private struct State {
        var extractor: TarExtractor
        var yaml: YAMLBox
    }

    private final class YAMLBox {
        var bytes: [UInt8] = []
    }

    /// Bytes of `superserve.yaml`.
    private static let maximumYAML = 1 << 20

    private let state: Mutex<State>

    init(directory: String, maximumBytes: Int) throws {
        let yaml = YAMLBox()
        let extractor = TarExtractor(
            into: try DirectoryHandle(path: directory),
            options: .init(
                selection: .below("source"), modes: .normalised,
                links: .insideTree(orBelow: ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc"]),
                limits: .init(entries: 100_000, bytes: Int64(maximumBytes)),
                firstFile: .init(name: "superserve.yaml", limit: Self.maximumYAML) {
                    yaml.bytes = $0
                }))
        state = Mutex(State(extractor: extractor, yaml: yaml))
    }

    func feed(_ bytes: ByteBuffer) throws {
        try state.withLock { try $0.extractor.feed(ArraySlice(bytes.readableBytesView)) }
    }

    /// The definition's text, and how many files, directories and links came with it.
    func finish() throws -> (yaml: String, files: Int) {
        try state.withLock { state in
            let summary = try state.extractor.finish()
            let count = summary.files + summary.directories + summary.links
            return (String(decoding: state.yaml.bytes, as: UTF8.self), count)
        }
    }
}
