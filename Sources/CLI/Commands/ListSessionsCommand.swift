internal import API
internal import ArgumentParser
internal import Client
internal import Foundation

/// `superserve sessions list`
struct ListSessionsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List your sessions, the latest activity first.")

    @Argument(help: "Only sessions with this agent.", completion: .custom(Completions.agents))
    var agentName: String?

    @Option(help: "Only sessions with this agent.", completion: .custom(Completions.agents))
    var agent: String?

    @Option(help: "Only sessions in this status.")
    var status: StatusFilter?

    @Option(help: "How many sessions to list at most.")
    var limit = 50

    @Flag(help: "Everyone's sessions, for operators.")
    var all = false

    @OptionGroup var output: JSONOption
    @OptionGroup var connection: ConnectionOptions

    func validate() throws {
        if let agent, let agentName, agent != agentName {
            throw ValidationError("Two agents are given: '\(agentName)' and '\(agent)'.")
        }
        guard limit > 0 else { throw ValidationError("The limit must be at least 1.") }
    }

    func run() async throws {
        let console = Console()
        let client = try await connection.connect(console)
        let answer = try await client.sessions(
            agent: agent ?? agentName, status: status?.status, limit: limit, all: all)
        if output.json {
            try await console.out(JSONText.clean(answer.json) + "\n")
            return
        }
        let list = answer.value
        guard !list.sessions.isEmpty else {
            let name = agent ?? agentName ?? "AGENT"
            await console.err("No sessions found. Start one with: superserve run \(name)\n")
            return
        }
        let table = SessionTable(
            sessions: list.sessions, now: Date(), palette: console.palette)
        try await console.out(table.text)
        let hidden = list.total - list.sessions.count
        if hidden > 0 {
            let noun = hidden == 1 ? "session is" : "sessions are"
            await console.err(
                "\(hidden) more \(noun) hidden. Show them with: --limit \(list.total)\n")
        }
    }
}

/// `--status`, in any letter case.
enum StatusFilter: String, CaseIterable, ExpressibleByArgument {
    case active, idle, ended, timeout

    init?(argument: String) { self.init(rawValue: argument.lowercased()) }

    var status: SessionStatus {
        switch self {
        case .active: .active
        case .idle: .idle
        case .ended: .ended
        case .timeout: .timeout
        }
    }
}
