internal import CSandbox
internal import Egress
internal import Foundation
internal import Gateway
public import Logging
internal import Sandbox
internal import Server
internal import ServiceLifecycle
internal import Sessions
public import Settings
internal import Storage
internal import UnixSignals

/// What the supervisor is started with.
public struct DaemonOptions: Sendable {
    public var directories: Directories
    public var config: SupervisorConfig
    /// Where `config` was read from, for a reload.
    public var file: ConfigFile
    /// True where the keeper is started by somebody else.
    public var isLauncherSeparate: Bool
    /// Path of superserve-launcher.
    public var launcher: String
    /// Directory of the agents that ship with superserve; nil where there is none.
    public var shippedAgents: String?
    public var version: String
    public var logger: Logger

    public init(
        directories: Directories, config: SupervisorConfig, file: ConfigFile,
        isLauncherSeparate: Bool, launcher: String, shippedAgents: String?,
        version: String, logger: Logger
    ) {
        self.directories = directories
        self.config = config
        self.file = file
        self.isLauncherSeparate = isLauncherSeparate
        self.launcher = launcher
        self.shippedAgents = shippedAgents
        self.version = version
        self.logger = logger
    }
}

/// The supervisor as a process: lock, directories, launcher, privileges, then store and server.
public struct Daemon: Sendable {
    /// Service id where root starts the supervisor and the configuration names none: outside of
    /// every range that useradd(8) and systemd hand out.
    public static let defaultServiceID: UInt32 = 1_900_000_000

    private var options: DaemonOptions
    private let startedAs: uid_t
    private let launcher: LauncherProcess
    private let startedKeeper: Bool
    private let master: MasterKey
    private let tls: GatewayTLS

    /// Takes the lock, prepares the directories, starts the keeper and gives up every privilege.
    /// Capabilities belong to threads (capabilities(7)), so this is called before the process has a
    /// second one.
    public init(preparing options: DaemonOptions) throws(DaemonError) {
        self.options = options
        startedAs = getuid()
        // Held for the life of the process, so the descriptor is kept nowhere.
        _ = try options.directories.lock()
        Self.raiseDescriptorLimit()
        try Self.prepare(&self.options, startedAs: startedAs)
        _ = try self.options.directories.lockRuntime()
        if startedAs == 0, let shipped = self.options.shippedAgents {
            self.options.shippedAgents = try self.options.directories.adopt(shipped: shipped)
        }
        // With the rights of who started it: both may be closed to the service.
        (master, tls) = try Self.prepareSecrets(self.options)
        (launcher, startedKeeper) = try Self.becomeService(self.options, startedAs: startedAs)
        Self.forbidCores()
    }

    /// The master key, where the service manager gives one (systemd.exec(5), "Credentials"), and
    /// the authorities that the operator trusts.
    private static func prepareSecrets(
        _ options: DaemonOptions
    ) throws(DaemonError) -> (MasterKey, GatewayTLS) {
        let environment = ProcessInfo.processInfo.environment
        var given: Data?
        if let directory = environment["CREDENTIALS_DIRECTORY"] {
            let path = directory + "/superserve-secrets.key"
            if access(path, F_OK) == 0 { given = try contents(of: path) }
        }
        do {
            let master = try MasterKey(path: options.directories.secretsKey, given: given)
            let file = options.config.gatewayCA
            let authorities = try file.map { (path) throws(DaemonError) in try contents(of: path) }
            do {
                return (master, try GatewayTLS(master, authorities: authorities))
            } catch {
                throw DaemonError("gateway_ca: \(file ?? ""): \(error)")
            }
        } catch let error as DaemonError {
            throw error
        } catch {
            throw DaemonError("\(error)")
        }
    }

    private static func contents(of path: String) throws(DaemonError) -> Data {
        do {
            return try Data(contentsOf: URL(fileURLWithPath: path))
        } catch {
            throw DaemonError("\(path) cannot be read: \(error.localizedDescription)")
        }
    }

    /// What is in memory stays there. At 1 the kernel writes no core and starts no handler either
    /// (core(5)); the process is not dumpable besides.
    private static func forbidCores() {
        var limit = rlimit(rlim_cur: 1, rlim_max: 1)
        _ = setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &limit)
    }

    /// Runs until SIGTERM or SIGINT, or until a client stops the service. `onReady` is called when
    /// the socket answers.
    public func run(onReady: @escaping @Sendable () -> Void) async throws {
        let directories = options.directories
        umask(0o077)
        // Names are looked up as sessions give them: the host's search domains would turn a name
        // that does not exist into another one (resolv.conf(5)).
        setenv("LOCALDOMAIN", "", 1)
        let host = try LauncherHost(
            process: launcher, directories: directories,
            mayStartKeeper: startedAs != 0 && !options.isLauncherSeparate, logger: options.logger)
        let store: SQLiteStore
        do throws(StoreError) {
            store = try SQLiteStore(path: directories.database)
        } catch {
            if startedKeeper { await host.stopLauncher() }
            throw DaemonError("the state could not be opened: \(error)")
        }
        defer { store.close() }
        let supervisor = makeSupervisor(store: store, host: host)
        let capacity = try await host.blocks
        await sayLimits(host)
        try await supervisor.recover(limit: .milliseconds(200))
        try await serve(
            supervisor, host: host, store: store, capacity: capacity, onReady: onReady)
    }

    /// One descriptor a session and a few for each client: as many as the system allows.
    private static func raiseDescriptorLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    private static func serviceIDs(_ config: SupervisorConfig) -> (uid: uid_t, gid: gid_t) {
        let uid = config.serviceUID ?? defaultServiceID
        return (uid, config.serviceGID ?? uid)
    }

    /// Makes the directories and takes their real paths from here on.
    private static func prepare(
        _ options: inout DaemonOptions, startedAs: uid_t
    ) throws(DaemonError) {
        var group: gid_t?
        if let name = options.config.socketGroup { group = try groupID(name) }
        let owner = startedAs == 0 ? serviceIDs(options.config) : nil
        try options.directories.prepare(owner: owner, group: group)
        options.directories = try options.directories.resolved()
    }

    /// Starts the keeper and gives up every privilege.
    private static func becomeService(
        _ options: DaemonOptions, startedAs: uid_t
    ) throws(DaemonError) -> (LauncherProcess, startedKeeper: Bool) {
        let config = options.config
        let directories = options.directories
        let isRoot = startedAs == 0
        let (uid, gid) = serviceIDs(config)
        var identity: [String] = []
        if isRoot {
            identity = ["--service-uid", "\(uid)", "--service-gid", "\(gid)"]
            // Otherwise the keeper takes a range that no other one has.
            if config.subordinateFirst != nil || config.subordinateCount != nil {
                let first = config.subordinateFirst ?? defaultServiceID + 1
                let range = "\(first):\(config.subordinateCount ?? 65536)"
                identity += ["--sub-uid", range, "--sub-gid", range]
            }
        }
        let process = LauncherProcess(
            executable: options.launcher, directories: directories,
            isSeparate: options.isLauncherSeparate, identityArguments: identity)
        let mustStart = !options.isLauncherSeparate && !process.answers()
        if mustStart { try process.start() }
        let result = csandbox_drop_privileges(isRoot ? uid : uid_t.max, isRoot ? gid : gid_t.max)
        guard result == 0 else {
            throw DaemonError(
                "privileges could not be dropped: \(String(cString: strerror(-result)))")
        }
        try directories.checkReachable()
        return (process, mustStart)
    }

    private static func groupID(_ name: String) throws(DaemonError) -> gid_t {
        guard let entry = getgrnam(name) else {
            throw DaemonError("the group '\(name)' (socket_group) does not exist")
        }
        return entry.pointee.gr_gid
    }

    private func makeSupervisor(store: SQLiteStore, host: LauncherHost) -> Supervisor {
        let config = options.config
        let directories = options.directories
        let ceilings = AgentCeilings(config, forbidden: directories.secret)
        let clock = SystemClock()
        let catalog = AgentCatalog(
            store: store, clock: clock, shipped: options.shippedAgents,
            operatorDirectory: config.agentsDirectory, copies: directories.agentCopies,
            ceilings: ceilings, maximumSource: config.maximumDeploy, logger: options.logger)
        return Supervisor(
            store: store, host: host, clock: clock,
            limits: SessionLimits(config, ceilings: ceilings), gateway: makeGateway(),
            secrets: SecretKeeper(store: store, vault: Vault(master)), catalog: catalog,
            logger: options.logger)
    }

    /// Descriptors that are kept free of sessions' connections: for control sockets, clients, the
    /// store.
    private static let reservedDescriptors = 2048

    private func makeGateway() -> EgressGateway {
        var limit = rlimit()
        let known = getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0
        let descriptors = known ? Int(clamping: limit.rlim_cur) : 1024
        // Each connection has two: the session's end and the one that was dialled.
        let connections = max(64, (descriptors - Self.reservedDescriptors) / 2)
        return EgressGateway(
            EgressGateway.Options(
                connectionsPerSession: options.config.maximumConnections, connections: connections,
                opened: options.config.privateDestinations,
                proxyPort: UInt16(CSANDBOX_PROXY_PORT),
                logDirectory: options.directories.networkLogs, tls: tls))
    }

    /// Whoever requires limits hears at the start, not at the first session, that there are none.
    private func sayLimits(_ host: LauncherHost) async {
        guard options.config.limits == .required, let here = try? await host.enforcement else {
            return
        }
        let missing = [SandboxLimits.Limit.memory, .pids, .cpu].filter {
            !here.inForce.contains($0)
        }
        guard !missing.isEmpty else { return }
        let names = missing.map(\.rawValue).joined(separator: ", ")
        options.logger.error(
            "limits are required and cannot be enforced, so no session will start: \(names): \(here.note ?? "")"
        )
    }

    private func serve(
        _ supervisor: Supervisor, host: LauncherHost, store: SQLiteStore, capacity: Int,
        onReady: @escaping @Sendable () -> Void
    ) async throws {
        let config = options.config
        let manager = ServiceManager()
        let reload = Reload(
            file: options.file, started: config, forbidden: options.directories.secret,
            supervisor: supervisor, manager: manager, logger: options.logger)
        let stopRequests = AsyncStream.makeStream(of: Void.self)
        let server = APIServer(
            supervisor: supervisor,
            options: ServerOptions(
                socketPath: options.directories.socket, stateDirectory: options.directories.state,
                version: options.version, capacity: capacity,
                maximumDeploy: config.maximumDeploy, maximumUpload: config.maximumUpload,
                maximumClients: config.maximumClients,
                operators: Operators(ownUID: startedAs, group: config.operatorGroup)),
            requestStop: { stopRequests.continuation.yield() },
            reload: { try await reload.run() })
        let logger = options.logger
        umask(0o117)  // the socket is born 0660; Hummingbird has no mode for it
        let group = ServiceGroup(
            configuration: .init(
                services: [
                    .init(
                        service: Work {
                            try await server.run(logger: logger) {
                                umask(0o077)
                                onReady()
                                manager.ready("Serving")
                            }
                        }),
                    .init(
                        service: Work { try await Self.housekeeping(supervisor, store, manager) }),
                    .init(
                        service: Work {
                            await cancelWhenGracefulShutdown {
                                await reload.onSignal()
                                try? await gracefulShutdown()
                            }
                        }),
                    .init(service: Drain(supervisor: supervisor, manager: manager, logger: logger)),
                    .init(
                        service: StopOnRequest(
                            requests: stopRequests.stream, supervisor: supervisor, host: host),
                        successTerminationBehavior: .gracefullyShutdownGroup),
                ],
                gracefulShutdownSignals: [.sigterm, .sigint], logger: logger))
        try await group.run()
    }

    /// Deadlines twice a second, what the network was used for every two, heartbeats of event
    /// streams, unfinished endings every ten seconds, old archives once an hour.
    private static func housekeeping(
        _ supervisor: Supervisor, _ store: SQLiteStore, _ manager: ServiceManager
    ) async throws {
        await cancelWhenGracefulShutdown {
            var ticks = 0
            // Several signs of life in the time that the service manager allows for one. This loop
            // has them because it asks every session's driver for something.
            let beat = manager.watchdogSeconds.map { max(1, Int($0 * 2 / 4)) }
            while !Task.isCancelled {
                await supervisor.checkDeadlines()
                if ticks % 4 == 0 { await supervisor.saveNetworkUsage() }
                if let beat, ticks % beat == 0 { manager.isAlive() }
                if ticks % 30 == 0 { supervisor.hub.wakeAll() }
                if ticks % 20 == 19 { await supervisor.finishEndings() }
                if ticks % 7200 == 0 {
                    try? await supervisor.purgeArchives()
                    try? await store.checkpoint()
                }
                ticks += 1
                try? await Task.sleep(for: .milliseconds(500))
            }
        }
    }
}

/// A closure as a service.
private struct Work: Service {
    let body: @Sendable () async throws -> Void
    func run() async throws { try await body() }
}

/// Ends event streams and sessions' drivers when the supervisor is told to leave; agents run on.
private struct Drain: Service {
    /// How long clients may take to read the last bytes of their answers.
    static let patience = Duration.seconds(5)

    let supervisor: Supervisor
    let manager: ServiceManager
    let logger: Logger

    func run() async throws {
        try? await gracefulShutdown()
        manager.stopping()
        await supervisor.leave()
        // The server waits for its clients, of which one may never read. Everything is stored.
        Task { [logger] in
            try await Task.sleep(for: Self.patience)
            logger.notice("clients that do not read are left behind")
            exit(0)
        }
    }
}

/// Ends the whole service when a client asks for it (spec row 18).
private struct StopOnRequest: Service {
    let requests: AsyncStream<Void>
    let supervisor: Supervisor
    let host: LauncherHost

    func run() async throws {
        let asked = await cancelWhenGracefulShutdown {
            for await _ in requests { return true }
            return false
        }
        guard asked else { return }
        await supervisor.stopAll()
        await host.stopLauncher()
    }
}
