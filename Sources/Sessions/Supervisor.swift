public import API
internal import AgentProtocols
internal import Foundation
public import Logging
internal import Sandbox
internal import Settings

/// Who is asking: the user at the other end of the socket.
public struct Caller: Sendable, Hashable {
    public var user: WireUser
    /// Root, the user the supervisor runs as, and the operators' group.
    public var isOperator: Bool

    public init(user: WireUser, isOperator: Bool) {
        self.user = user
        self.isOperator = isOperator
    }
}

/// Everything the API can do. It finds the session, checks what the caller may, and hands the work
/// to the session's driver.
public actor Supervisor {
    let context: DriverContext
    public nonisolated let catalog: AgentCatalog
    /// Drivers of live sessions, by id; a task while one is being loaded.
    private var drivers: [SessionID: Task<SessionDriver, any Error>] = [:]
    private var running: [SessionID: Task<Void, Never>] = [:]
    private var liveCount = 0
    private var isDraining = false

    public init(
        store: any SessionStore, host: any SandboxHost, clock: any SessionClock,
        limits: SessionLimits,
        catalog: AgentCatalog, logger: Logger
    ) {
        context = DriverContext(
            store: store, host: host, clock: clock, hub: EventHub(), deadlines: DeadlineTable(),
            limits: limits, logger: logger)
        self.catalog = catalog
    }

    /// Tells event streams about changes; for the server's heartbeats.
    public nonisolated var hub: EventHub { context.hub }

    /// Bounds that the server checks before it calls.
    public nonisolated var limits: SessionLimits { context.limits }

    // MARK: - Drivers

    /// The driver of a session, made on demand.
    private func driver(_ id: SessionID) async throws(WireError) -> SessionDriver {
        guard !isDraining else {
            throw WireError(code: .draining, message: "The supervisor is shutting down")
        }
        let task: Task<SessionDriver, any Error>
        if let known = drivers[id] {
            task = known
        } else {
            task = Task { [context] in try await Self.load(id, context) }
            drivers[id] = task
        }
        do {
            let driver = try await task.value
            launch(driver)
            return driver
        } catch {
            drivers[id] = nil
            if let error = error as? WireError { throw error }
            throw WireError(
                code: .storageFailed, message: "Session '\(id.short)' could not be read: \(error)")
        }
    }

    private static func load(_ id: SessionID, _ context: DriverContext) async throws
        -> SessionDriver
    {
        guard let record = try await context.store.session(id) else {
            throw WireError.notFound(id.short)
        }
        guard
            let agent = try await context.store.agentVersion(
                id: record.agentID, version: record.agentVersion)
        else {
            throw WireError(
                code: .internal, message: "The agent of session '\(id.short)' is not in the store")
        }
        let sandbox = try await context.store.sandbox(id)
        let turn =
            record.lastTurn > 0
            ? try await context.store.turn(id, number: record.lastTurn) : nil
        return SessionDriver(
            record: record, sandbox: sandbox, turn: turn, agent: agent, context: context)
    }

    private func launch(_ driver: SessionDriver) {
        guard running[driver.id] == nil else { return }
        running[driver.id] = Task { [weak self] in
            await driver.run()
            await self?.finished(driver.id)
        }
    }

    private func finished(_ id: SessionID) {
        running[id] = nil
        drivers[id] = nil
    }

    /// Runs one command of a session. A session that is over gets a driver for that command only.
    private func ask<Value: Sendable>(
        _ id: SessionID, _ command: @Sendable (SessionCommand.Reply<Value>) -> SessionCommand
    ) async throws(WireError) -> Value {
        let driver = try await driver(id)
        do throws(WireError) {
            let value = try await driver.ask(command)
            await release(driver)
            return value
        } catch {
            await release(driver)
            throw error
        }
    }

    private func release(_ driver: SessionDriver) async {
        if await !driver.record.phase.isLive { driver.mailbox.finish() }
    }

    // MARK: - Sessions

    /// Creates a session with `agent`. `idleTimeout` in seconds, nil for the agent's or the
    /// default.
    public func create(
        agent name: String, idleTimeout: Int?, caller: Caller
    ) async throws(WireError) -> SessionRecord {
        guard !isDraining else {
            throw WireError(code: .draining, message: "The supervisor is shutting down")
        }
        let agent = try await catalog.version(named: name)
        let seconds = idleTimeout ?? agent.definition.idleTimeout ?? context.limits.idleTimeout
        guard APILimits.idleTimeoutSeconds.contains(seconds) else {
            throw WireError(
                code: .badRequest, message: "The idle timeout must be between 10 s and 30 days")
        }
        let blocks: Int
        do throws(SandboxError) {
            blocks = try await context.host.blocks
        } catch {
            throw WireError(
                code: .sandboxFailed, message: "The sandbox launcher does not answer: \(error)",
                hint: "superserve supervisor start")
        }
        let record = SessionRecord(
            id: SessionID(), agentID: agent.agentID, agentName: agent.definition.name,
            agentVersion: agent.version, idleTimeout: seconds, creator: caller.user,
            createdAt: context.clock.wall)
        let machine = AgentMachine(agent.definition, maximumLine: context.limits.maximumLine)
        do throws(StoreError) {
            _ = try await context.store.create(
                record, sandbox: SandboxRecord(block: 0, machine: machine),
                blocks: min(blocks, context.limits.maximumSessions))
        } catch {
            throw Self.wire(error, blocks: blocks)
        }
        return try await ask(record.id) { .create($0) }
    }

    private static func wire(_ error: StoreError, blocks: Int) -> WireError {
        switch error.code {
        case .noBlock:
            WireError(
                code: .capacity,
                message: "All \(blocks) sessions that this supervisor can hold are in use",
                hint: "superserve sessions end <id>")
        default:
            WireError(code: .storageFailed, message: "The session could not be stored: \(error)")
        }
    }

    /// Accepts a user message; the turn's events follow in the event stream.
    public func send(
        _ text: String, to content: String, caller: Caller
    ) async throws(WireError) -> (id: SessionID, turn: TurnRecord) {
        guard content.utf8.count <= context.limits.maximumMessage else {
            throw WireError(
                code: .tooLarge,
                message:
                    "The message has \(content.utf8.count) bytes; the limit is \(context.limits.maximumMessage)"
            )
        }
        guard !content.isEmpty, !content.utf8.contains(0) else {
            throw WireError(
                code: .badRequest,
                message: content.isEmpty
                    ? "The message is empty" : "The message contains a NUL character")
        }
        let id = try await resolve(text, caller: caller)
        return (id, try await ask(id) { .send(content, caller.user, $0) })
    }

    /// Cancels the running turn.
    public func cancel(_ text: String, caller: Caller) async throws(WireError) -> SessionRecord {
        let id = try await resolve(text, caller: caller)
        return try await ask(id) { .cancel(caller.user, $0) }
    }

    /// Restarts the idle clock and makes the caller a participant.
    public func resume(_ text: String, caller: Caller) async throws(WireError) -> SessionRecord {
        let id = try await resolve(text, caller: caller)
        return try await ask(id) { .resume(caller.user, $0) }
    }

    /// Ends a session for good; for its creator and operators.
    public func end(_ text: String, caller: Caller) async throws(WireError) -> SessionRecord {
        let id = try await resolve(text, caller: caller)
        try await requireOwner(id, caller, to: "end")
        return try await ask(id) { .end($0) }
    }

    /// Removes a session that never got a message.
    public func discard(_ text: String, caller: Caller) async throws(WireError) {
        let id = try await resolve(text, caller: caller)
        try await requireOwner(id, caller, to: "remove")
        try await ask(id) { .discard($0) }
    }

    private func requireOwner(_ id: SessionID, _ caller: Caller, to verb: String)
        async throws(WireError)
    {
        let record = try await record(id)
        guard caller.isOperator || record.creator.uid == caller.user.uid else {
            throw WireError(
                code: .forbidden,
                message:
                    "Only \(record.creator.name), who created session '\(id.short)', or an operator may \(verb) it"
            )
        }
    }

    /// A connection to the session's init for file transfers.
    public func link(_ text: String, caller: Caller) async throws(WireError) -> any SandboxLink {
        let id = try await resolve(text, caller: caller)
        return try await ask(id) { .link($0) }
    }

    // MARK: - The supervisor's own life

    /// Finds every session again after a start: reconnects what lives, settles what does not.
    public func recover() async throws(StoreError) {
        let known = try await context.store.withSandbox()
        await withTaskGroup(of: Void.self) { group in
            for (index, id) in known.enumerated() {
                if index >= 32 { await group.next() }
                group.addTask { [self] in
                    do throws(WireError) {
                        let _: Void = try await ask(id) { .reconnect($0) }
                    } catch {
                        context.logger.error("session \(id.short) not recovered: \(error.message)")
                    }
                }
            }
        }
        await sweepTrees(known: Set(known.map(\.hex)))
        do throws(StoreError) { try await catalog.dropUnused() } catch {
            context.logger.warning("unused agent versions: \(error)")
        }
    }

    /// Deletes session trees that no row knows.
    private func sweepTrees(known: Set<String>) async {
        let trees: [String]
        do throws(SandboxError) {
            trees = try await context.host.list()
        } catch {
            return context.logger.warning("left-over trees: \(error)")
        }
        for tree in trees where !known.contains(tree) {
            context.logger.notice("removing the left-over tree of session \(tree.prefix(12))")
            do throws(SandboxError) {
                if let process = await context.host.find(session: tree) {
                    try await context.host.kill(process)
                }
                try await context.host.destroy(session: tree)
            } catch {
                context.logger.warning("tree of session \(tree.prefix(12)): \(error)")
            }
        }
    }

    /// Times out what is due. Called about twice a second.
    public func checkDeadlines() async {
        for id in context.deadlines.due(context.clock) {
            (try? await driver(id))?.mailbox.yield(.deadline)
        }
    }

    /// Deletes the history of sessions that timed out long ago.
    public func purgeArchives() async throws(StoreError) {
        let oldest = context.clock.wall.addingTimeInterval(-Double(context.limits.archiveRetention))
        try await context.store.purgeArchives(before: oldest)
        try await catalog.dropUnused()
    }

    /// Lets every session go; agents run on and the next supervisor takes over.
    public func leave() async {
        isDraining = true
        context.hub.close()
        let tasks = drivers.values
        for task in tasks { (try? await task.value)?.mailbox.finish() }
        for task in running.values { await task.value }
    }

    /// Ends running turns as `stopped` and every process of every session; sessions stay, idle.
    public func stopAll() async {
        let known = Array(drivers.values)
        isDraining = true
        await withTaskGroup(of: Void.self) { group in
            for task in known {
                group.addTask {
                    guard let driver = try? await task.value else { return }
                    let _: Void? = try? await driver.ask { .stop($0) }
                }
            }
        }
        for task in running.values { await task.value }
        context.hub.close()
    }
}

extension WireError {
    static func notFound(_ text: String) -> WireError {
        WireError(
            code: .sessionNotFound,
            message:
                "No session found matching '\(TerminalText.neutralised(String(text.prefix(80))))'",
            hint: "superserve sessions list")
    }
}
