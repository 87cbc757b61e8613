internal import ArgumentParser
internal import Daemon
internal import Foundation
internal import Logging
internal import Settings

/// The supervisor's program: reads options and configuration, then hands over to `Daemon`.
@main
struct Superserved: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "superserved",
        abstract: "Keeps the sessions of AI agents, each in a sandbox of its own.", version: Version.text)

    @Option(help: "Directory of the database, the agents and the sessions.")
    var stateDir: String?

    @Option(help: "Directory of the sockets; superserved.sock appears here.")
    var runtimeDir: String?

    @Option(help: "Configuration file (YAML); see config/superserved.yaml for every key.")
    var config: String?

    @Option(help: "trace, debug, info, notice, warning, error or critical.")
    var logLevel: String?

    @Flag(help: "Stay in the foreground and log to standard error.")
    var foreground = false

    @Option(help: .hidden) var readyFd: Int32?
    @Option(help: "Path of superserve-launcher; default: beside this program.")
    var launcher: String?
    @Option(help: "Directory of the agents that ship with superserve.")
    var shippedAgents: String?

    func run() async throws {
        do {
            if foreground || readyFd != nil {
                try await serve()
            } else {
                try Background.start(arguments: Array(CommandLine.arguments.dropFirst()))
            }
        } catch {
            let text = String("\(error)".map { $0.isNewline ? " " : $0 })
            Readiness(descriptor: readyFd).tell("error \(text)")
            FileHandle.standardError.write(Data("Error: \(text)\n".utf8))
            throw ExitCode.failure
        }
    }

    private func serve() async throws {
        signal(SIGPIPE, SIG_IGN)
        let places = try DefaultPlaces.current()
        let directories = try Directories(
            state: stateDir ?? places.state, runtime: runtimeDir ?? places.runtime)
        let settings = try readConfig(places)
        let level = Logger.Level(rawValue: logLevel ?? settings.logLevel)
        guard let level else { throw DaemonError("unknown log level '\(logLevel ?? "")'") }
        let logger = Logger(label: "superserved") { LineLogHandler(label: $0, level: level) }
        let programs = Programs.current()
        let readiness = Readiness(descriptor: readyFd)
        let daemon = Daemon(
            DaemonOptions(
                directories: directories, config: settings,
                launcher: launcher ?? programs.launcher,
                shippedAgents: shippedAgents ?? programs.shippedAgents, version: Version.text,
                logger: logger))
        try await daemon.run {
            logger.notice("ready on \(directories.socket)")
            readiness.tell("ready")
        }
    }

    private func readConfig(_ places: DefaultPlaces) throws -> SupervisorConfig {
        let path = config ?? places.config
        guard config != nil || FileManager.default.fileExists(atPath: path) else {
            return SupervisorConfig()
        }
        let text: String
        do {
            text = try String(contentsOfFile: path, encoding: .utf8)
        } catch {
            throw DaemonError("the configuration \(path) cannot be read: \(error.localizedDescription)")
        }
        return try SupervisorConfig(yaml: text, file: path)
    }
}
