internal import ArgumentParser

/// The root of the command line.
struct Superserve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "superserve",
        abstract: "Give AI agents sandboxed, persistent sessions.",
        discussion: """
            A session is a conversation with an agent in a sandbox of its own. It stays after this \
            program leaves, and can be resumed until it is ended or times out.

            If no supervisor answers, one is started for you.
            """,
        version: Version.text,
        subcommands: [
            RunCommand.self, SessionsCommand.self, AgentsCommand.self, DeployCommand.self,
            SecretsCommand.self, SupervisorCommand.self, CompletionsCommand.self,
        ])
}

/// The version of this program.
enum Version {
    static let text = "0.1.0"
}
