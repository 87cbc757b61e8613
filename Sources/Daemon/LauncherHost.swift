internal import Foundation
internal import Logging
internal import Sandbox
internal import Sessions

/// The sandbox host that sessions use: the launcher's socket, connected again when it was lost.
actor LauncherHost: SandboxHost {
    private let process: LauncherProcess
    private let directories: Directories
    private let reactor: PacketReactor
    private let logger: Logger
    /// False where privileges were given up (only root could start the same keeper again), and
    /// where somebody else starts it.
    private let mayStartKeeper: Bool
    private var launcher: Launcher?
    private var connecting: Task<Launcher, any Error>?
    /// How often the launcher was connected to.
    private var connections = 0

    init(
        process: LauncherProcess, directories: Directories, mayStartKeeper: Bool, logger: Logger
    ) throws(SandboxError) {
        self.process = process
        self.directories = directories
        self.mayStartKeeper = mayStartKeeper
        self.logger = logger
        reactor = try PacketReactor()
    }

    private func current() async throws(SandboxError) -> Launcher {
        if let launcher { return launcher }
        let task = connecting ?? Task { try await connect() }
        connecting = task
        defer { connecting = nil }
        do {
            let new = try await task.value
            launcher = new
            return new
        } catch let error as SandboxError {
            throw error
        } catch {
            throw SandboxError(.disconnected, stage: "launcher", detail: "\(error)")
        }
    }

    private func connect() async throws -> Launcher {
        if mayStartKeeper, !process.answers() {
            logger.notice("the launcher is gone; starting a new one")
            do throws(DaemonError) { try process.start() } catch {
                throw SandboxError(.disconnected, stage: "launcher", detail: error.description)
            }
        }
        connections += 1
        let number = connections
        let new: Launcher
        do throws(SandboxError) {
            new = try await Launcher.connect(
                path: directories.launcherSocket, reactor: reactor, onExit: { _, _ in },
                onClose: { [weak self] in
                    Task { await self?.lost(number) }
                })
        } catch {
            throw process.isSeparate ? Self.unit(error) : error
        }
        guard new.stateDirectory == directories.state else {
            new.close()
            throw SandboxError(
                .refused, stage: "launcher",
                detail: """
                    the one on \(directories.runtime) keeps the sessions of \(new.stateDirectory); \
                    stop it with that state directory, or use another --runtime-dir
                    """)
        }
        return new
    }

    private static func unit(_ error: SandboxError) -> SandboxError {
        SandboxError(
            error.code, stage: "launcher", errno: error.errno,
            detail: "it does not run; as root: systemctl start superserve-launcher.service")
    }

    /// Connection `number` is gone; a newer one may be in use already.
    private func lost(_ number: Int) {
        if number == connections { launcher = nil }
    }

    /// One request; once more on a new connection when the launcher had been replaced.
    private func ask<T: Sendable>(
        _ body: @Sendable (Launcher) async throws(SandboxError) -> T
    ) async throws(SandboxError) -> T {
        do throws(SandboxError) {
            return try await body(try await current())
        } catch {
            guard error.code == .disconnected else { throw error }
            launcher = nil
            return try await body(try await current())
        }
    }

    var blocks: Int {
        get async throws(SandboxError) { try await current().blocks }
    }

    /// Limits that can be enforced on this host, and why not all.
    var enforcement: LimitEnforcement {
        get async throws(SandboxError) { try await current().enforcement }
    }

    func start(_ plan: SandboxPlan) async throws(SandboxError) -> StartedSandbox {
        try await ask { launcher async throws(SandboxError) in
            // After a lost answer the sandbox of the first attempt may stand.
            if let process = try await find(session: plan.session) {
                try await launcher.kill(process)
            }
            let quota = try await launcher.prepare(session: plan.session, block: plan.block)
            try plan.check(quota)
            var started = try await launcher.spawn(plan)
            started.quota = quota
            return started
        }
    }

    func attach(
        session: String, process: ProcessIdentity, nonce: [UInt8],
        onEvent: @escaping @Sendable (InitEvent) -> Void
    ) async throws(SandboxError) -> (link: any SandboxLink, state: InitState) {
        try await InitLink.connect(
            path: directories.controlSocket(session), process: process, nonce: nonce,
            reactor: reactor,
            onEvent: onEvent)
    }

    func find(session: String) async throws(SandboxError) -> ProcessIdentity? {
        try ControlSocket.owner(path: directories.controlSocket(session))
    }

    func kill(_ process: ProcessIdentity) async throws(SandboxError) {
        try await ask { launcher async throws(SandboxError) in try await launcher.kill(process) }
    }

    func destroy(session: String) async throws(SandboxError) {
        try await ask { launcher async throws(SandboxError) in
            try await launcher.destroy(session: session)
        }
    }

    func usage(session: String) async throws(SandboxError) -> SandboxUsage {
        try await ask { launcher async throws(SandboxError) in
            try await launcher.usage(session: session)
        }
    }

    func measure(session: String) async throws(SandboxError) -> UInt64 {
        try await ask { launcher async throws(SandboxError) in
            try await launcher.measure(session: session).bytes
        }
    }

    /// The keeper writes down when it ends everything in order: clock ticks since the machine's
    /// start, as in the identity of a process.
    nonisolated func wasStopped(_ process: ProcessIdentity) -> Bool {
        guard let text = try? String(contentsOfFile: directories.stopRecord, encoding: .utf8),
            let ticks = UInt64(text.trimmingCharacters(in: .whitespacesAndNewlines))
        else { return false }
        return process.startTime < ticks
    }

    /// Trees on disk, and control sockets whose trees may be gone already.
    func list() async throws(SandboxError) -> [String] {
        let trees = try await ask { launcher async throws(SandboxError) in
            try await launcher.list()
        }
        return Array(Set(trees).union(directories.sessionsWithSockets()))
    }

    /// Ends the launcher, its keeper and every sandbox.
    func stopLauncher() async {
        do throws(SandboxError) {
            try await current().stop()
        } catch {
            logger.warning("launcher not stopped: \(error)")
        }
    }
}
