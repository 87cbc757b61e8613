internal import API
internal import Archive
internal import ArgumentParser
internal import Client
internal import Foundation

/// `superserve sessions cp`
struct CopyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cp",
        abstract: "Copy files out of a session or into it.",
        usage: "superserve sessions cp <id>:<path> <local>\n"
            + "superserve sessions cp <local> <id>:<path>",
        discussion: """
            Works like 'cp -r'. Relative paths in a session are below /workspace. '-' is standard \
            input or output, for a single file. What comes out of a session cannot be written \
            outside the target.
            """)

    @Argument(
        help: ArgumentHelp("What to copy.", valueName: "source"),
        completion: .file())
    var source: CopyLocation

    @Argument(
        help: ArgumentHelp("Where to.", valueName: "destination"),
        completion: .file())
    var destination: CopyLocation

    @Option(
        help: ArgumentHelp(
            "Refuse to copy more than this out of a session (bytes, or 500M, 16G).",
            valueName: "size"))
    var maxSize = SizeOption.defaultDownload

    @OptionGroup var output: JSONOption
    @OptionGroup var connection: ConnectionOptions

    func validate() throws {
        switch (source, destination) {
        case (.session, .session), (.local, .local), (.stream, .stream), (.local, .stream),
            (.stream, .local):
            throw ValidationError("Exactly one side must be <id>:<path>.")
        case (.stream, .session(_, let path)):
            if path.copyName == nil || path.text.hasSuffix("/") {
                throw ValidationError("Standard input needs a file name in the session.")
            }
        case (.session, _), (_, .session):
            return
        }
    }

    func run() async throws {
        let console = Console()
        let client = try await connection.connect(console)
        let transfer = FileTransfer(client: client, byteLimit: maxSize.bytes)
        let (source, destination) = (source, destination)
        let report = try await Interruptible.run {
            switch (source, destination) {
            case (.session(let id, let path), .local(let local)):
                return try await transfer.download(id, path, to: local)
            case (.session(let id, let path), _):
                return try await transfer.print(id, path, console)
            case (.local(let local), .session(let id, let path)):
                return try await transfer.upload(local, to: id, path)
            case (_, .session(let id, let path)):
                return try await transfer.uploadStandardInput(to: id, path)
            default:
                throw CLIError.usage("Exactly one side must be <id>:<path>", of: "sessions cp")
            }
        }
        for note in report.notes { await console.err(TextSanitizer.line(note) + "\n") }
        // Standard output may be the file itself.
        if output.json, destination != .stream {
            let text = String(decoding: try WireJSON.encode(report), as: UTF8.self)
            try await console.out(JSONText.clean(text) + "\n")
        }
        guard report.isWhole else {
            throw CLIError("Not everything could be read in the session; the rest was copied")
        }
    }
}
