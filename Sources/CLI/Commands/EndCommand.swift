internal import API
internal import ArgumentParser
internal import Client

/// `superserve sessions end`
struct EndCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "end",
        abstract: "End a session for good.",
        discussion: "Destroys its workspace and history at once. This cannot be undone.")

    @OptionGroup var session: SessionArgument
    @OptionGroup var output: JSONOption
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
        let console = Console()
        let answer = try await connection.connect(console).end(session.id)
        let text =
            output.json
            ? JSONText.clean(answer.json) + "\n"
            : Self.confirmation(answer.value.shortId, answer.value.status)
        try await console.out(text)
    }

    /// The line that says a session has ended.
    static func confirmation(_ shortID: String, _ status: SessionStatus) -> String {
        "✓ Session \(CellText.clean(shortID)) ended (status: \(status.rawValue.uppercased()))\n"
    }
}
