internal import API
internal import ArgumentParser
internal import Client
internal import Foundation

/// `superserve sessions get`
struct GetSessionCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get", abstract: "Show a session.")

    @OptionGroup var session: SessionArgument
    @OptionGroup var output: JSONOption
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
        let console = Console()
        let answer = try await connection.connect(console).session(session.id)
        let text =
            output.json
            ? JSONText.clean(answer.json) + "\n"
            : SessionDetails(
                session: answer.value, now: Date(), palette: console.palette
            ).text
        try await console.out(text)
    }
}
