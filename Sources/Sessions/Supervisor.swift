public import API
internal import AgentProtocols
public import Egress
internal import Foundation
public import Logging
internal import Sandbox
public import Settings

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
    /// A session's driver: being loaded, then at work.
    struct Entry {
        let number: Int
        let loading: Task<SessionDriver, any Error>
        var running: Task<Void, Never>?
    }

    /// Drivers of live sessions, by id.
    var drivers: [SessionID: Entry] = [:]
    private var lastEntry = 0
    /// Calls of `finishEndings` that do nothing, now and after the next attempt: it waits longer
    /// each time something cannot be finished.
    var endingsWait = (left: 0, next: 1)
    var isDraining = false

    public init(
        store: any SessionStore, host: any SandboxHost, clock: any SessionClock,
        limits: SessionLimits, gateway: EgressGateway, secrets: SecretKeeper,
        catalog: AgentCatalog, logger: Logger
    ) {
        context = DriverContext(
            store: store, host: host, clock: clock, hub: EventHub(), deadlines: DeadlineTable(),
            shared: SharedLimits(limits), gateway: gateway, meters: MeterTable(), secrets: secrets,
            logger: logger)
        self.catalog = catalog
    }

    /// Takes other settings, for what happens from now on.
    public nonisolated func apply(_ config: SupervisorConfig, ceilings: AgentCeilings) async {
        var limits = SessionLimits(config, ceilings: ceilings)
        limits.storageRetry = context.limits.storageRetry
        context.shared.current = limits
        await catalog.apply(config, ceilings: ceilings)
    }

    /// Tells event streams about changes; for the server's heartbeats.
    public nonisolated var hub: EventHub { context.hub }

    /// Bounds that the server checks before it calls.
    public nonisolated var limits: SessionLimits { context.limits }

    // MARK: - Drivers

    /// The driver of a session, made on demand.
    func driver(_ id: SessionID) async throws(WireError) -> SessionDriver {
        guard !isDraining else {
            throw WireError(code: .draining, message: "The supervisor is shutting down")
        }
        let entry = drivers[id] ?? add(id)
        do {
            let driver = try await entry.loading.value
            launch(driver, entry.number)
            return driver
        } catch {
            finished(id, entry.number)
            if let error = error as? WireError { throw error }
            throw WireError(error, "Session '\(id.short)' could not be read")
        }
    }

    private func add(_ id: SessionID) -> Entry {
        lastEntry += 1
        let entry = Entry(
            number: lastEntry, loading: Task { [context] in try await Self.load(id, context) })
        drivers[id] = entry
        return entry
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
            record: record, sandbox: sandbox, turn: turn, agent: agent,
            meter: try await meter(record, agent, context), context: context)
    }

    private static func meter(
        _ record: SessionRecord, _ agent: AgentVersion, _ context: DriverContext
    ) async throws -> NetworkMeter {
        if let meter = context.meters.join(record.id) { return meter }
        let ceilings = context.limits.ceilings
        let meter = NetworkMeter(
            usage: try await context.store.networkUsage(record.id) ?? NetworkUsage(),
            budget: ceilings.budget(of: agent, record), prices: ceilings.prices(of: agent))
        context.meters.add(record.id, meter)
        return meter
    }

    private func launch(_ driver: SessionDriver, _ number: Int) {
        guard let entry = drivers[driver.id], entry.number == number, entry.running == nil else {
            return
        }
        drivers[driver.id]?.running = Task { [weak self] in
            await driver.run()
            await self?.finished(driver.id, number)
        }
    }

    /// Forgets an entry, unless a newer one has taken its place.
    private func finished(_ id: SessionID, _ number: Int) {
        if drivers[id]?.number == number { drivers[id] = nil }
    }

    /// Runs one command of a session. A session that is over gets a driver for that command only.
    func ask<Value: Sendable>(
        _ id: SessionID, _ command: @Sendable (SessionCommand.Reply<Value>) -> SessionCommand
    ) async throws(WireError) -> Value {
        while true {
            let driver = try await driver(id)
            do throws(WireError) {
                let value = try await driver.ask(command)
                await release(driver)
                return value
            } catch {
                await release(driver)
                // The driver was about to leave: its successor takes the command.
                guard error.code == .draining, !isDraining else { throw error }
                await drivers[id]?.running?.value
            }
        }
    }

    private func release(_ driver: SessionDriver) async {
        if await !driver.record.phase.isLive { driver.mailbox.finish() }
    }

    // MARK: - Sessions

    /// Creates a session with `agent`. `idleTimeout` in seconds, nil for the agent's or the
    /// default. With a `key` that was used before, the session that was created then.
    public func create(
        agent name: String, idleTimeout: Int?, key text: String? = nil, caller: Caller
    ) async throws(WireError) -> SessionRecord {
        guard !isDraining else {
            throw WireError(code: .draining, message: "The supervisor is shutting down")
        }
        var key: IdempotencyKey?
        if let text {
            let request = "\(name.prefix(100)) \(idleTimeout.map(String.init) ?? "")"
            key = try IdempotencyKey(text, uid: caller.user.uid, request: request)
        }
        if let key, let known = try await created(by: key) { return known }
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
                blocks: min(blocks, context.limits.maximumSessions), key: key)
        } catch {
            // The same request may have come twice at the same time.
            if let key, let known = try await created(by: key) { return known }
            throw Self.wire(error, blocks: blocks)
        }
        FaultPoint.createStored()
        return try await ask(record.id) { .create($0) }
    }

    /// The session that an earlier request with this key created, once its sandbox stands.
    private func created(by key: IdempotencyKey) async throws(WireError) -> SessionRecord? {
        let known: IdempotencyKey.Outcome?
        do throws(StoreError) {
            known = try await context.store.outcome(of: key, session: nil)
        } catch {
            throw WireError(error, "The sessions could not be read")
        }
        guard let known else { return nil }
        try known.check(key)
        return try await ask(known.session) { .create($0) }
    }

    private static func wire(_ error: StoreError, blocks: Int) -> WireError {
        switch error.code {
        case .noBlock:
            WireError(
                code: .capacity,
                message: "All \(blocks) sessions that this supervisor can hold are in use",
                hint: "superserve sessions end <id>")
        default:
            WireError(error, "The session could not be stored")
        }
    }

    /// Accepts a user message; the turn's events follow in the event stream. With a `key` that was
    /// used in this session before, the turn of that time.
    public func send(
        _ text: String, to content: String, key: String? = nil, caller: Caller
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
        var named: IdempotencyKey?
        if let key {
            named = try IdempotencyKey(
                key, uid: caller.user.uid, request: "\(content.utf8.count) bytes")
        }
        return (id, try await ask(id) { [named] in .send(content, caller.user, named, $0) })
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

    func requireOwner(_ id: SessionID, _ caller: Caller, to verb: String)
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
}

extension WireError {
    /// What a client is told when the store failed: a full or broken disk, or a mistake of ours.
    init(_ error: any Error, _ what: String) {
        let code = (error as? StoreError)?.code == .storage
        self.init(code: code ? .storageFailed : .internal, message: "\(what): \(error)")
    }

    static func notFound(_ text: String) -> WireError {
        WireError(
            code: .sessionNotFound,
            message:
                "No session found matching '\(TerminalText.neutralised(String(text.prefix(80))))'",
            hint: "superserve sessions list")
    }
}
