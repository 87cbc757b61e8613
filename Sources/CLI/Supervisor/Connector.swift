internal import API
internal import Client
internal import Foundation

/// Finds a supervisor that answers, and starts one for the user where none does.
struct Connector: Sendable {
    let search: SocketSearch
    let directories: SupervisorDirectories
    private let console: Console

    /// - Parameters:
    ///   - host: `--host`; nil takes SUPERSERVE_HOST.
    ///   - local: `--local`: skips the system service.
    init(host: String?, local: Bool, console: Console) throws {
        let environment = ProcessInfo.processInfo.environment
        let named = host ?? environment["SUPERSERVE_HOST"].flatMap { $0.isEmpty ? nil : $0 }
        directories = SupervisorDirectories(
            environment: environment, uid: getuid(), home: Account.home)
        search = try SocketSearch(
            host: local && host == nil ? nil : named, local: local, directories: directories,
            systemSocketExists: SocketProbe.exists(SupervisorDirectories.systemSocket))
        self.console = console
    }

    /// The API of the first supervisor that answers, or of one started now.
    func connect() async throws -> APIClient {
        if let client = try find() { return client }
        guard !search.isExplicit else {
            throw CLIError(
                "No supervisor answers at \(search.candidates[0])",
                hint: "Check --host and SUPERSERVE_HOST; without them, yours is started for you")
        }
        return try await start().client
    }

    /// The API of the first supervisor that answers, or nil.
    ///
    /// - Throws: `CLIError` where the caller may not use a supervisor that is there.
    func find() throws -> APIClient? {
        for path in search.candidates {
            switch SocketProbe.connect(path) {
            case .answers:
                return APIClient(socketPath: path)
            case .absent:
                continue
            case .denied:
                throw Self.denied(path)
            case .failed(let number):
                throw CLIError("Cannot connect to \(path): \(String(cString: strerror(number)))")
            }
        }
        return nil
    }

    /// A supervisor that was started, or that somebody else started meanwhile.
    struct Started: Sendable {
        var client: APIClient
        /// Of the supervisor that this process started; nil for another's.
        var pid: pid_t?
    }

    /// Starts a supervisor for the user and says so.
    func start() async throws -> Started {
        let launch = SupervisorLaunch(directories: directories)
        do {
            let pid = try await launch.start()
            await console.err("Started a supervisor for you (pid \(pid)).\n")
            return Started(client: APIClient(socketPath: directories.socket), pid: pid)
        } catch {
            // Another terminal may have been first; its supervisor holds the lock.
            let deadline = ContinuousClock.now + error.patience
            repeat {
                if case .answers = SocketProbe.connect(directories.socket) {
                    return Started(client: APIClient(socketPath: directories.socket), pid: nil)
                }
                try await Task.sleep(for: .milliseconds(50))
            } while ContinuousClock.now < deadline
            throw error.report
        }
    }

    /// The error that names the group to join.
    private static func denied(_ path: String) -> CLIError {
        let message = "No permission to use the supervisor at \(path)"
        guard let group = Account.group(owning: path) else { return CLIError(message) }
        return CLIError(
            message,
            hint: "Ask to be added to the group '\(group)' (sudo usermod -aG \(group) "
                + "\(Account.name)), or use your own supervisor with --local")
    }
}
