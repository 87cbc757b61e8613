internal import ArgumentParser
internal import Client
internal import Foundation

/// Which supervisor a command talks to.
struct ConnectionOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The supervisor's socket (unix:///path/to/socket). Default: $SUPERSERVE_HOST.",
            valueName: "url"))
    var host: String?

    @Flag(help: "Use your own supervisor, not the system service.")
    var local = false

    /// How to reach the supervisor from this process.
    func connector(_ console: Console) throws -> Connector {
        try Connector(host: host, local: local, console: console)
    }

    /// The API of a supervisor that answers; starts one where none does.
    func connect(_ console: Console) async throws -> APIClient {
        try await connector(console).connect()
    }
}

/// `--json`.
struct JSONOption: ParsableArguments {
    @Flag(help: "Print JSON.")
    var json = false
}

/// The session a command is about.
struct SessionArgument: ParsableArguments {
    @Argument(help: "The session ID, or as much of it as is unique.")
    var id: String

    func validate() throws {
        guard !CellText.fold(id).isEmpty else { throw ValidationError("The session ID is empty.") }
    }
}
