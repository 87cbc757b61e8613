internal import ArgumentParser

/// `superserve sessions`
struct SessionsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sessions",
        abstract: "List, show, resume, read and end sessions, and copy their files.",
        subcommands: [
            ListSessionsCommand.self, GetSessionCommand.self, ResumeCommand.self, EndCommand.self,
            HistoryCommand.self, CopyCommand.self, NetworkCommand.self,
        ])
}
