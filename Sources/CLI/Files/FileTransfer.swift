internal import API
internal import Archive
internal import Client
internal import Foundation

/// Copies files between this host and sessions.
struct FileTransfer: Sendable {
    /// What was copied.
    struct Report: Sendable, Encodable {
        var bytes: Int64
        /// What was left out and why.
        var notes: [String]
        /// False where the session could not read everything.
        var isWhole = true
    }

    let client: APIClient
    /// Bytes that may come out of a session.
    var byteLimit = SizeOption.defaultDownload.bytes

    /// Copies a file or directory of a session to a local path.
    func download(_ id: String, _ path: SessionPath, to local: String) async throws -> Report {
        let receiver = try FileReceiver(
            try DownloadTarget(local, for: path), byteLimit: byteLimit,
            mask: FileReceiver.creationMask())
        var isWhole = true
        do {
            try await client.readFiles(id, path: path.text) { try await receiver.feed($0) }
        } catch let error as ClientError where error.code == .lost {
            // A whole archive on a broken line: something in the session could not be read.
            guard await receiver.isComplete else { throw error }
            isWhole = false
        }
        let summary = try await receiver.finish()
        let hidden = summary.leftOut - summary.notes.count
        let more = hidden > 0 ? ["Left out \(hidden) more"] : []
        return Report(bytes: summary.bytes, notes: summary.notes + more, isWhole: isWhole)
    }

    /// Writes a file of a session to standard output.
    func print(_ id: String, _ path: SessionPath, _ console: Console) async throws -> Report {
        var file = SingleFileParser()
        try await client.readFiles(id, path: path.text) { bytes in
            let data = try file.feed(bytes[...])
            if !data.isEmpty { try await console.out(data) }
        }
        try file.finish()
        return Report(bytes: file.bytes, notes: [])
    }

    /// Copies a local file or directory into a session.
    func upload(_ local: String, to id: String, _ path: SessionPath) async throws -> Report {
        guard LocalPath.exists(local) else { throw CLIError("No file or directory '\(local)'") }
        return try await send(local, name: LocalPath.name(of: local), to: id, path)
    }

    /// Copies standard input into a file of a session.
    func uploadStandardInput(to id: String, _ path: SessionPath) async throws -> Report {
        let input = try await StandardInputFile.read()
        let report = try await send(input.path, name: path.copyName ?? "stdin", to: id, path)
        return withExtendedLifetime(input) { report }
    }

    private func send(
        _ local: String, name: String, to id: String, _ path: SessionPath
    ) async throws -> Report {
        // Asked before anything is sent: an unknown id is answered best while the line is quiet.
        let session = try await client.session(id).value
        let sender = FileSender(path: local, name: name)
        try await client.writeFiles(session.id, path: path.text) { try await sender.next() }
        return Report(bytes: await sender.bytes, notes: await sender.notes)
    }
}

/// The data of an archive with one file.
struct SingleFileParser: Sendable {
    private var parser = TarParser()
    private var entries = 0
    private(set) var bytes: Int64 = 0

    /// The data in the next bytes of the archive.
    mutating func feed(_ chunk: ArraySlice<UInt8>) throws -> [UInt8] {
        var data: [UInt8] = []
        for event in try parser.feed(chunk) {
            switch event {
            case .entry(let entry):
                entries += 1
                let name = entry.nameText
                guard entry.kind == .file else {
                    throw CLIError("'\(name)' is no file; name a local directory to copy it to")
                }
                guard entries == 1 else { throw CLIError("The session sent more than one file") }
            case .data(let bytes):
                data += bytes
            case .endOfEntry, .endOfArchive:
                break
            }
        }
        bytes += Int64(data.count)
        return data
    }

    func finish() throws {
        try parser.finish()
        guard entries == 1 else { throw CLIError("The session sent no file") }
    }
}
