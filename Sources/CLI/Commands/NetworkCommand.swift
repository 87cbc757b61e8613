internal import API
internal import ArgumentParser
internal import Client
internal import Foundation

/// `superserve sessions network`
struct NetworkCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "network",
        abstract: "Show or change what a session may reach, and show what it tried.",
        discussion: """
            A rule is HOST, *.SUFFIX, an address or a range of addresses, each with or without \
            :PORT; without one, ports 80 and 443 are meant. A budget is KIND=VALUE or KIND=none; kinds \
            are bytes_out, bytes_in, connections, requests, tokens and cost (US dollars).
            """)

    /// What may be done with rules and budgets.
    enum Change: String, CaseIterable, ExpressibleByArgument {
        case allow, deny, budget
    }

    @OptionGroup var session: SessionArgument

    @Argument(help: "allow, deny or budget.")
    var change: Change?

    @Argument(help: "Rules; for budget KIND=VALUE.")
    var rules: [String] = []

    @Flag(help: "Print every record of the network log, as JSON lines.")
    var log = false

    @OptionGroup var output: JSONOption
    @OptionGroup var connection: ConnectionOptions

    func validate() throws {
        if change != nil, rules.isEmpty {
            throw ValidationError("Say what to \(change?.rawValue ?? "change").")
        }
        if log, change != nil || output.json {
            throw ValidationError("--log goes with nothing else.")
        }
    }

    func run() async throws {
        let console = Console()
        let client = try await connection.connect(console)
        if log { return try await printLog(client, console) }
        let answer =
            switch change {
            case nil: try await client.network(session.id, limit: NetworkText.shownRecords)
            case .allow?: try await client.editNetwork(session.id, WireEditNetwork(allow: rules))
            case .deny?: try await client.editNetwork(session.id, WireEditNetwork(deny: rules))
            case .budget?: try await client.editNetwork(session.id, WireEditNetwork(budget: rules))
            }
        try await console.out(
            output.json
                ? JSONText.clean(answer.json) + "\n" : NetworkText(network: answer.value).text)
    }

    private func printLog(_ client: APIClient, _ console: Console) async throws {
        let records = try await client.network(session.id, limit: 10_000).value.records
        let encoder = WireCoding.encoder()
        for record in records {
            let line = String(decoding: try encoder.encode(record), as: UTF8.self)
            try await console.out(JSONText.clean(line) + "\n")
        }
    }
}
