internal import API
internal import ArgumentParser
internal import Client
internal import Foundation

/// `superserve secrets`
struct SecretsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "secrets",
        abstract: "Set, list and delete the keys that an agent uses without seeing them.",
        subcommands: [
            SetSecretCommand.self, ListSecretsCommand.self, DeleteSecretCommand.self,
        ])
}

/// The secret a command is about.
struct SecretArguments: ParsableArguments {
    @OptionGroup var agent: AgentArgument

    @Argument(help: "The variable, as the agent's file has it under 'secrets'.")
    var key: String

    func validate() throws {
        guard !CellText.fold(key).isEmpty else {
            throw ValidationError("The secret's name is empty.")
        }
    }
}

/// `superserve secrets set`
struct SetSecretCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set",
        abstract: "Set a key of an agent.",
        discussion: """
            The value is read from standard input, or asked for where that is a terminal; it is \
            never an argument. Running sessions use it from their next request on.
            """)

    @OptionGroup var secret: SecretArguments
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
        let console = Console()
        let client = try await connection.connect(console)
        let value = try await SecretInput.read("Value of \(CellText.clean(secret.key)): ")
        try await client.setSecret(secret.key, of: secret.agent.name, to: value)
        try await console.out(
            "✓ Secret '\(CellText.clean(secret.key))' of agent "
                + "'\(CellText.clean(secret.agent.name))' set\n")
    }
}

/// `superserve secrets list`
struct ListSecretsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the keys of an agent, without their values.")

    @OptionGroup var agent: AgentArgument
    @OptionGroup var output: JSONOption
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
        let console = Console()
        let answer = try await connection.connect(console).secrets(of: agent.name)
        if output.json {
            try await console.out(JSONText.clean(answer.json) + "\n")
        } else if answer.value.secrets.isEmpty {
            await console.err("Agent '\(CellText.clean(agent.name))' has no secrets.\n")
        } else {
            try await console.out(SecretText(secrets: answer.value.secrets, now: Date()).text)
        }
    }
}

/// `superserve secrets delete`
struct DeleteSecretCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete a key of an agent.")

    @OptionGroup var secret: SecretArguments
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
        let console = Console()
        try await connection.connect(console).deleteSecret(
            secret.key, of: secret.agent.name)
        try await console.out("✓ Secret '\(CellText.clean(secret.key))' deleted\n")
    }
}
