internal import ArgumentParser
internal import Daemon
internal import Dispatch
internal import Foundation
internal import Glibc
internal import Logging
internal import Settings

/// The supervisor's program: reads options and configuration, then hands over to `Daemon`.
@main
struct Superserved: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "superserved",
        abstract: "Keeps the sessions of AI agents, each in a sandbox of its own.",
        version: Version.text)

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

    @Flag(help: "Use the launcher that somebody else starts, such as a unit of systemd.")
    var separateLauncher = false

    @Option(help: .hidden) var readyFd: Int32?
    @Option(help: "Path of superserve-launcher; default: beside this program.")
    var launcher: String?
    @Option(help: "Directory of the agents that ship with superserve.")
    var shippedAgents: String?

    func run() throws {
        do {
            if foreground || readyFd != nil {
                try serve()
            } else {
                try Background.start(arguments: Array(CommandLine.arguments.dropFirst()))
            }
        } catch {
            throw failed(error)
        }
    }

    /// EX_CONFIG of sysexits(3): to start it again does not help.
    private static let wrongConfiguration = ExitCode(78)

    private func failed(_ error: any Error) -> ExitCode {
        let text = String("\(error)".map { $0.isNewline ? " " : $0 })
        Readiness(descriptor: readyFd).tell("error \(text)")
        FileHandle.standardError.write(Data("Error: \(text)\n".utf8))
        return error is SettingsError ? Self.wrongConfiguration : .failure
    }

    /// Does what needs privileges while the process has one thread, then serves; never returns.
    private func serve() throws {
        signal(SIGPIPE, SIG_IGN)
        let places = try DefaultPlaces.current()
        let directories = try Directories(
            state: stateDir ?? places.state, runtime: runtimeDir ?? places.runtime)
        let file = ConfigFile(named: config, usual: places.config)
        let settings = try file.read()
        let level = Logger.Level(rawValue: logLevel ?? settings.logLevel)
        guard let level else { throw DaemonError("unknown log level '\(logLevel ?? "")'") }
        let logger = Logger(label: "superserved") { LineLogHandler(label: $0, level: level) }
        let programs = Programs.current()
        let readiness = Readiness(descriptor: readyFd)
        let daemon = try Daemon(
            preparing: DaemonOptions(
                directories: directories, config: settings, file: file,
                isLauncherSeparate: separateLauncher, launcher: launcher ?? programs.launcher,
                shippedAgents: shippedAgents ?? programs.shippedAgents, version: Version.text,
                logger: logger))
        let command = self
        Task {
            do {
                try await daemon.run {
                    logger.notice("ready on \(directories.socket)")
                    readiness.tell("ready")
                }
                Glibc.exit(0)
            } catch {
                Glibc.exit(command.failed(error).rawValue)
            }
        }
        dispatchMain()
    }
}
