internal import ArgumentParser

/// `superserve sessions`
struct SessionsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sessions",
        abstract: "List, show, resume and end sessions.",
        subcommands: [
            ListSessionsCommand.self, GetSessionCommand.self, ResumeCommand.self, EndCommand.self,
        ])
}
