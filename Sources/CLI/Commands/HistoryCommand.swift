internal import API
internal import ArgumentParser
internal import Client
internal import Foundation

/// `superserve sessions history`
struct HistoryCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "history",
        abstract: "Print the conversation of a session, also of one that has timed out.")

    @OptionGroup var session: SessionArgument

    @Flag(help: "Print Markdown.")
    var markdown = false

    @OptionGroup var output: JSONOption
    @OptionGroup var connection: ConnectionOptions

    func validate() throws {
        if markdown, output.json {
            throw ValidationError("--markdown and --json exclude each other.")
        }
    }

    func run() async throws {
        let console = Console()
        let answer = try await connection.connect(console).history(session.id)
        let transcript = Transcript(history: answer.value, uid: getuid())
        let text: String
        if output.json {
            text = JSONText.clean(answer.json) + "\n"
        } else if markdown {
            text = transcript.markdown
        } else {
            text = transcript.text
        }
        try await console.out(text)
        if answer.value.messages.isEmpty, !output.json {
            await console.err("No messages in this session.\n")
        }
    }
}
