internal import API
internal import ArgumentParser
internal import Client
internal import Foundation

/// `superserve agents`
struct AgentsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "agents",
        abstract: "List, show and delete agents.",
        subcommands: [
            ListAgentsCommand.self, GetAgentCommand.self, DeleteAgentCommand.self,
        ])
}

/// The agent a command is about.
struct AgentArgument: ParsableArguments {
    @Argument(help: "The name of the agent.", completion: .custom(Completions.agents))
    var name: String

    func validate() throws {
        guard !CellText.fold(name).isEmpty else {
            throw ValidationError("The agent's name is empty.")
        }
    }
}

/// `superserve agents list`
struct ListAgentsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the agents that you can run.")

    @OptionGroup var output: JSONOption
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
        let console = Console()
        let answer = try await connection.connect(console).agents()
        if output.json {
            try await console.out(JSONText.clean(answer.json) + "\n")
        } else if answer.value.agents.isEmpty {
            await console.err("No agents found. Deploy one with: superserve deploy\n")
        } else {
            try await console.out(AgentTable(agents: answer.value.agents, now: Date()).text)
        }
    }
}

/// `superserve agents get`
struct GetAgentCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get", abstract: "Show an agent.")

    @OptionGroup var agent: AgentArgument
    @OptionGroup var output: JSONOption
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
        let console = Console()
        let answer = try await connection.connect(console).agent(agent.name)
        let text =
            output.json
            ? JSONText.clean(answer.json) + "\n"
            : AgentDetails(agent: answer.value, now: Date()).text
        try await console.out(text)
    }
}

/// `superserve agents delete`
struct DeleteAgentCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete",
        abstract: "Delete a deployed agent.",
        discussion: "Sessions that live keep the version they started with.")

    @OptionGroup var agent: AgentArgument
    @OptionGroup var output: JSONOption
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
        let console = Console()
        try await connection.connect(console).deleteAgent(agent.name)
        if output.json {
            let deleted = String(decoding: try WireJSON.encode(["deleted": agent.name]), as: UTF8.self)
            try await console.out(JSONText.clean(deleted) + "\n")
        } else {
            try await console.out("✓ Agent '\(CellText.clean(agent.name))' deleted\n")
        }
    }
}
