internal import API
internal import ArgumentParser
internal import Client

/// `superserve sessions resume`
struct ResumeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resume",
        abstract: "Continue a session.",
        discussion: """
            Takes up the conversation, with the same rules as 'superserve run'. While the session \
            is processing a message, its answer is shown from the start.
            """)

    @OptionGroup var target: SessionArgument

    @Argument(help: "The next message.")
    var prompt: String?

    @OptionGroup var mode: AnswerOptions
    @OptionGroup var connection: ConnectionOptions

    func validate() throws { try AnswerOptions.check(prompt) }

    func run() async throws {
        let console = Console()
        let isConversation = mode.isConversation
        var message = prompt
        if let message { try MessageDelivery.check(message) }
        let connector = try connection.connector(console)
        let client = try await connector.connect()
        let session = try await client.resume(target.id).value
        let run = SessionRun(
            console: console, connector: connector, client: client, session: session,
            json: mode.json)
        if isConversation {
            let title = CellText.cut(SessionTable.title(session), to: 60, atWord: true)
            let agent = CellText.clean(session.agent.name)
            await console.err("Resumed \(session.shortId): \"\(title)\" (\(agent))\n")
            try await run.converse(start(session, message))
            return
        }
        let isAttaching = session.turn != nil && message == nil
        if !isAttaching || !TerminalSituation.current().inputIsTerminal {
            message = try await MessageInput.read(argument: prompt, console: console)
        }
        switch (message, session.turn) {
        case (let message?, _): try await run.answer(message)
        case (nil, let turn?): try await run.attach(turn)
        case (nil, nil):
            throw CLIError.usage(
                    "There is no message: give a PROMPT or pipe one in", of: "sessions resume")
        }
    }

    private func start(_ session: WireSession, _ message: String?) -> Conversation.Start {
        if let message { return .message(message) }
        return session.turn.map(Conversation.Start.attach) ?? .prompt
    }
}
