internal import API
internal import ArgumentParser
internal import Client

/// `superserve supervisor`
struct SupervisorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "supervisor",
        abstract: "Start, stop and look at the supervisor.",
        subcommands: [
            StartSupervisorCommand.self, StopSupervisorCommand.self,
            ReloadSupervisorCommand.self, SupervisorStatusCommand.self,
        ])
}

/// `superserve supervisor start`
struct StartSupervisorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "start", abstract: "Start a supervisor for you, unless one answers.")

    @OptionGroup var output: JSONOption
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
        let console = Console()
        let connector = try connection.connector(console)
        let running = try connector.find()
        guard running != nil || !connector.search.isExplicit else {
            throw CLIError(
                "A supervisor for \(connector.search.candidates[0]) cannot be started from here",
                hint: "Start your own with: superserve supervisor start --local")
        }
        let started = running == nil ? try await connector.start() : nil
        guard let client = running ?? started?.client else { return }
        let health = try await client.health()
        if output.json {
            try await console.out(JSONText.clean(health.json) + "\n")
        } else if started?.pid == nil {
            await console.err("A supervisor is running already (pid \(health.value.pid)).\n")
        }
    }
}

/// `superserve supervisor stop`
struct StopSupervisorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stop",
        abstract: "Stop the supervisor and every agent.",
        discussion: "Running turns fail; sessions stay, with their files.")

    private static let waitSeconds = 60

    @OptionGroup var output: JSONOption
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
        let console = Console()
        let connector = try connection.connector(console)
        guard let client = try connector.find() else { throw SupervisorStatusCommand.none }
        try await client.stopSupervisor()
        let deadline = ContinuousClock.now + .seconds(Self.waitSeconds)
        while case .answers = SocketProbe.connect(client.socketPath) {
            guard ContinuousClock.now < deadline else {
                throw CLIError(
                    "The supervisor did not stop within \(Self.waitSeconds) s",
                    hint: "See: superserve supervisor status")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
        if output.json {
            try await console.out("{\"status\":\"stopped\"}\n")
        } else {
            await console.err("Stopped the supervisor.\n")
        }
    }
}

/// `superserve supervisor reload`
struct ReloadSupervisorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reload",
        abstract: "Let the supervisor read its configuration and agents again.",
        discussion: "What is wrong is refused with its line; what was there before stays.")

    @OptionGroup var output: JSONOption
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
        let console = Console()
        guard let client = try connection.connector(console).find() else {
            throw SupervisorStatusCommand.none
        }
        let answer = try await client.reloadSupervisor()
        if output.json {
            try await console.out(JSONText.clean(answer.json) + "\n")
            return
        }
        let waiting = answer.value.waiting.map { CellText.clean($0) }.joined(separator: ", ")
        let note = waiting.isEmpty ? "" : " From the next start: \(waiting)."
        await console.err("Reloaded. Agents: \(answer.value.agents).\(note)\n")
    }
}

/// `superserve supervisor status`
struct SupervisorStatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show whether a supervisor answers, and how it is.")

    static let none = CLIError(
        "No supervisor is running", hint: "Start one with: superserve supervisor start")

    @OptionGroup var output: JSONOption
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
        let console = Console()
        guard let client = try connection.connector(console).find() else {
            if output.json { try await console.out("{\"status\":\"stopped\"}\n") }
            throw Self.none
        }
        let health = try await client.health()
        if output.json {
            try await console.out(JSONText.clean(health.json) + "\n")
            return
        }
        try await console.out(Self.text(health.value, socket: client.socketPath))
    }

    /// One line for each field.
    static func text(_ health: WireHealth, socket: String) -> String {
        let fields = [
            ("Status", CellText.clean(health.status)),
            ("PID", String(health.pid)),
            ("Version", CellText.clean(health.version)),
            ("Uptime", TimeText.span(seconds: health.uptimeSeconds)),
            ("Sessions", "\(health.liveSessions) of \(health.sessionCapacity)"),
            ("Socket", CellText.clean(socket)),
            ("State", CellText.clean(health.stateDirectory)),
        ]
        return fields.map { CellText.pad($0.0 + ":", to: 14) + $0.1 + "\n" }.joined()
    }
}
