internal import API
internal import ArgumentParser
internal import Client
internal import Foundation

/// `superserve deploy`
struct DeployCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "deploy",
        abstract: "Deploy the agent that superserve.yaml describes.",
        discussion: """
            The directory that 'source:' in superserve.yaml names is uploaded with it, without \
            .git, .env files, __pycache__ and .superserve.
            """)

    @Argument(help: "The directory with superserve.yaml.", completion: .directory)
    var directory = "."

    @OptionGroup var output: JSONOption
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
        let console = Console()
        let deployment = try Deployment(directory: directory)
        let client = try await connection.connect(console)
        let sender = FileSender(
            path: deployment.source, name: "source",
            firstFiles: [(Deployment.fileName, deployment.definition)],
            byteLimit: APILimits.deployBytes, excludes: Deployment.excludes)
        let answer = try await Interruptible.run {
            try await client.deploy { try await sender.next() }
        }
        for note in await sender.notes { await console.err(TextSanitizer.line(note) + "\n") }
        if output.json {
            try await console.out(JSONText.clean(answer.json) + "\n")
            return
        }
        let agent = answer.value
        let (name, id) = (CellText.clean(agent.name), CellText.clean(agent.id))
        try await console.out("Deployed '\(name)' (\(id), version \(agent.version))\n")
    }
}
