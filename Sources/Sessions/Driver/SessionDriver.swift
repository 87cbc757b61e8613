internal import API
internal import AgentProtocols
internal import Egress
internal import Foundation
internal import Logging
internal import Sandbox

/// What every driver shares.
struct DriverContext: Sendable {
    let store: any SessionStore
    let host: any SandboxHost
    let clock: any SessionClock
    let hub: EventHub
    let deadlines: DeadlineTable
    let shared: SharedLimits
    let gateway: EgressGateway
    let meters: MeterTable
    let secrets: SecretKeeper
    let logger: Logger

    var limits: SessionLimits { shared.current }
}

/// What a session's driver can be asked; one at a time, in order.
enum SessionCommand: Sendable {
    typealias Reply<Value: Sendable> = CheckedContinuation<Result<Value, WireError>, Never>

    case create(Reply<SessionRecord>)
    case send(String, WireUser, IdempotencyKey?, Reply<TurnRecord>)
    case cancel(WireUser, Reply<SessionRecord>)
    case resume(WireUser, Reply<SessionRecord>)
    case end(Reply<SessionRecord>)
    case discard(Reply<Void>)
    case editNetwork(NetworkEdit, Caller, Reply<WireNetwork>)
    case showNetwork(Reply<WireNetwork>)
    /// From the session's network.
    case notice(EgressNotice)
    case link(Reply<any SandboxLink>)
    case reconnect(Reply<Void>)
    case stop(Reply<Void>)
    /// From the control socket of connection `epoch`.
    case fromInit(epoch: Int, InitEvent)
    case timer(token: Int, AgentTimer)
    case turnCeiling(turn: Int)
    /// The time to look at what the session uses has come.
    case resources(token: Int)
    case deadline
    /// The time to try again has come, after the store or the way to init failed.
    case storageRetry
    case attachRetry
}

/// Runs one session: takes commands from a mailbox one after the other, persists, then acts.
/// Nothing else writes the session's rows, so what it holds in memory is what the store holds.
actor SessionDriver {
    let id: SessionID
    let context: DriverContext
    let agent: AgentVersion
    /// What the session has used of the network.
    nonisolated let meter: NetworkMeter
    nonisolated let mailbox: AsyncStream<SessionCommand>.Continuation
    private let commands: AsyncStream<SessionCommand>

    var record: SessionRecord
    var sandbox: SandboxRecord?
    var turn: TurnRecord?
    var link: (any SandboxLink)?
    /// The way out of the session; nil where its policy allows nothing, and without a sandbox.
    var network: SessionEgress?
    /// Numbers the connections to init; events of older ones are ignored.
    var epoch = 0
    /// Absolute input offset up to which bytes went to init on this connection.
    var inputSent: UInt64 = 0
    /// Absolute input offset that init has confirmed.
    var inputAccepted: UInt64 = 0
    var inputEndSent = false
    var timerToken = 0
    var timerTask: Task<Void, Never>?
    var ceilingTask: Task<Void, Never>?
    /// Numbers the chains of looks at what is used; older ones end.
    var resourceToken = 0
    var isStopped = false
    /// Why the last transaction failed; nil while the store works.
    var storageFailure: WireEventError?
    /// A `.storageRetry` is on its way.
    var storageRetryPending = false
    /// Attempts to reach a living init that have failed in a row.
    var attachAttempts = 0

    init(
        record: SessionRecord, sandbox: SandboxRecord?, turn: TurnRecord?, agent: AgentVersion,
        meter: NetworkMeter, context: DriverContext
    ) {
        id = record.id
        self.record = record
        self.sandbox = sandbox
        self.turn = turn
        self.agent = agent
        self.meter = meter
        self.context = context
        (commands, mailbox) = AsyncStream.makeStream(of: SessionCommand.self)
    }

    /// Works until the session is over or the supervisor leaves.
    func run() async {
        for await command in commands { await perform(command) }
        timerTask?.cancel()
        ceilingTask?.cancel()
        link?.close()
        context.meters.leave(id)
    }

    /// Asks and waits for the answer.
    nonisolated func ask<Value: Sendable>(
        _ command: (SessionCommand.Reply<Value>) -> SessionCommand
    ) async throws(WireError) -> Value {
        let result: Result<Value, WireError> = await withCheckedContinuation { continuation in
            if case .terminated = mailbox.yield(command(continuation)) {
                continuation.resume(
                    returning: .failure(
                        WireError(code: .draining, message: "The supervisor is shutting down")))
            }
        }
        return try result.get()
    }

    private func perform(_ command: SessionCommand) async {
        switch command {
        case .create(let reply): await answer(reply) { () throws(WireError) in try await create() }
        case .send(let text, let user, let key, let reply):
            await answer(reply) { () throws(WireError) in
                try await send(text, user: user, key: key)
            }
        case .cancel(let user, let reply):
            await answer(reply) { () throws(WireError) in try await cancel(user: user) }
        case .resume(let user, let reply):
            await answer(reply) { () throws(WireError) in try await resume(user: user) }
        case .end(let reply): await answer(reply) { () throws(WireError) in try await end() }
        case .discard(let reply):
            await answer(reply) { () throws(WireError) in try await discard() }
        case .editNetwork(let edit, let caller, let reply):
            await answer(reply) { () throws(WireError) in try await editNetwork(edit, caller) }
        case .showNetwork(let reply): reply.resume(returning: .success(showNetwork()))
        case .notice(let notice): await take(notice)
        case .link(let reply):
            await answer(reply) { () throws(WireError) in try await connectedLink() }
        case .reconnect(let reply):
            await answer(reply) { () throws(WireError) in await reconnect() }
        case .stop(let reply): await answer(reply) { () throws(WireError) in await stop() }
        case .fromInit(let number, let event):
            if number == epoch { await take(event) }
        case .timer(let token, let timer):
            if token == timerToken { await advance(.timer(timer)) }
        case .turnCeiling(let number):
            if turn?.number == number, turn?.outcome == nil { await turnTookTooLong() }
        case .resources(let token):
            if token == resourceToken { await checkResources() }
        case .deadline: await checkDeadline()
        case .storageRetry: await retryStorage()
        case .attachRetry: await reattach()
        }
    }

    /// Puts a command into the mailbox after a while; nothing waits for it.
    func later(_ command: SessionCommand, after time: Duration) {
        Task { [mailbox] in
            guard (try? await Task.sleep(for: time)) != nil else { return }
            mailbox.yield(command)
        }
    }

    private func answer<Value: Sendable>(
        _ reply: SessionCommand.Reply<Value>, _ body: () async throws(WireError) -> Value
    ) async {
        do throws(WireError) {
            reply.resume(returning: .success(try await body()))
        } catch {
            reply.resume(returning: .failure(error))
        }
    }

    /// Milliseconds of the boot clock.
    var now: UInt64 { context.clock.boot.nanoseconds / 1_000_000 }

    /// `cause`: a stable code, for whoever searches the log.
    func log(_ level: Logger.Level, _ message: String, cause: String? = nil) {
        var metadata: Logger.Metadata = [
            "session": "\(id.short)", "session_id": "\(id)", "agent": "\(record.agentName)",
        ]
        if record.lastTurn > 0 { metadata["turn"] = "\(record.lastTurn)" }
        if let cause { metadata["cause"] = "\(cause)" }
        context.logger.log(
            level: level, "\(TerminalText.neutralised(message))", metadata: metadata)
    }

    /// Commits and makes the result visible to readers. On failure nothing in memory has changed.
    func commit(_ change: SessionChange) async throws(WireError) {
        do throws(StoreError) {
            try await context.store.commit(change)
        } catch {
            log(.error, "cannot store: \(error)")
            throw WireError(error, "The state could not be stored")
        }
        record = change.session
        if let newTurn = change.turn { turn = newTurn }
        if let newSandbox = change.sandbox { sandbox = newSandbox }
        if change.removeSandbox { sandbox = nil }
        context.deadlines.set(id, record.phase == .idle ? record.deadline : nil)
        context.hub.wake(id)
    }

    /// The record with the lifecycle's effects on clock and times applied.
    func transition(
        _ event: LifecycleEvent, activity: Bool
    ) throws(WireError) -> (record: SessionRecord, effects: [LifecycleEffect]) {
        var next = record
        let effects: [LifecycleEffect]
        do throws(LifecycleRefusal) {
            effects = try next.phase.handle(event)
        } catch {
            throw refusal(error, event)
        }
        let wall = context.clock.wall
        for effect in effects {
            switch effect {
            case .startIdleClock:
                next.deadline = IdleDeadline(
                    since: context.clock.boot, sinceWall: wall, seconds: next.idleTimeout)
            case .stopIdleClock: next.deadline = nil
            case .destroySandbox, .deleteHistory: break
            }
        }
        if activity { next.lastActiveAt = wall }
        return (next, effects)
    }

    private func refusal(_ refusal: LifecycleRefusal, _ event: LifecycleEvent) -> WireError {
        switch refusal {
        case .active:
            WireError(
                code: .sessionActive, message: "Session '\(id.short)' is processing a message",
                hint: "superserve sessions resume \(id.short)")
        case .over:
            WireError(
                code: .sessionNotResumable,
                message:
                    "Session '\(id.short)' has status '\(record.phase.status.rawValue)' and cannot be resumed",
                hint: "superserve run \(record.agentName)")
        case .alreadyEnded:
            WireError(
                code: .sessionAlreadyEnded, message: "Session '\(id.short)' has already ended",
                hint: "superserve sessions list")
        case .impossible:
            WireError(
                code: .internal,
                message:
                    "Session '\(id.short)' cannot take '\(event)' while \(record.phase.rawValue)")
        }
    }
}
