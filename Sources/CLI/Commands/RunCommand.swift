internal import API
internal import ArgumentParser
internal import Client

/// `superserve run`
struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Start a session with an agent.",
        discussion: """
            On a terminal this begins a conversation: 'exit', Ctrl+D or Ctrl+C at the prompt leave \
            it, and the session stays and can be resumed; '/end' ends it for good. Ctrl+C during \
            an answer cancels the answer.

            In a pipe or in the background the agent answers once; without a PROMPT argument, \
            standard input is the message.
            """)

    @Argument(help: "The name of the agent.", completion: .custom(Completions.agents))
    var agent: String

    @Argument(help: "The first message.")
    var prompt: String?

    @OptionGroup var mode: AnswerOptions

    @Flag(help: "Send the message and return at once.")
    var detach = false

    @Flag(name: .customLong("rm"), help: "End the session on leaving.")
    var remove = false

    @Option(
        help: ArgumentHelp(
            "End the session after this time without activity (90s, 29m, 2h, 30d).",
            valueName: "duration"))
    var idleTimeout: DurationOption?

    @Option(
        name: .customLong("upload"), parsing: .singleValue,
        help: ArgumentHelp(
            "Copy a file or directory into the session first. Can be repeated.",
            valueName: "path[:dest]"),
        completion: .file())
    var uploads: [UploadOption] = []

    @OptionGroup var connection: ConnectionOptions

    func validate() throws {
        guard !CellText.fold(agent).isEmpty else {
            throw ValidationError("The agent's name is empty.")
        }
        try AnswerOptions.check(prompt)
        if detach, remove { throw ValidationError("--detach and --rm exclude each other.") }
        let bounds = APILimits.idleTimeoutSeconds
        if let idleTimeout, !bounds.contains(idleTimeout.seconds) {
            throw ValidationError("The idle timeout must be between 10 seconds and 30 days.")
        }
    }

    func run() async throws {
        let console = Console()
        let isConversation = mode.isConversation && !detach
        var message = prompt
        if !isConversation {
            message = try await MessageInput.read(argument: prompt, console: console)
            guard message != nil else {
                throw CLIError.usage(
                    "There is no message: give a PROMPT or pipe one in", of: "run")
            }
        }
        if let message { try MessageDelivery.check(message) }
        for upload in uploads where !LocalPath.exists(upload.path) {
            throw CLIError("No file or directory '\(upload.path)'")
        }
        let connector = try connection.connector(console)
        let client = try await connector.connect()
        let request = WireCreateSession(agent: agent, idleTimeoutSeconds: idleTimeout?.seconds)
        let session = try await Repeating(connector: connector, client: client).run { key in
            try await client.createSession(request, key: key).value
        }
        await console.err("Session ID: \(session.shortId)\n")
        let run = SessionRun(
            console: console, connector: connector, client: client, session: session,
            json: mode.json, isNew: true, endsSession: remove)
        try await run.upload(uploads)
        switch message {
        case let message? where detach:
            try await run.detach(message)
        case let message? where !isConversation:
            try await run.answer(message)
        default:
            try await run.converse(message.map(Conversation.Start.message) ?? .prompt)
        }
    }
}

/// How `run` and `sessions resume` answer.
struct AnswerOptions: ParsableArguments {
    @Flag(help: "Answer once, then exit; the session stays.")
    var single = false

    @Flag(help: "Answer once; print one event a line as JSON.")
    var json = false

    /// Refuses a prompt that says nothing.
    static func check(_ prompt: String?) throws {
        if let prompt, CellText.fold(prompt).isEmpty {
            throw ValidationError("The prompt is empty.")
        }
    }

    /// Spec row 11.
    var isConversation: Bool {
        !single && !json && TerminalSituation.current().allowsConversation
    }
}
