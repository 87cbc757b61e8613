internal import API
internal import AgentProtocols
internal import Foundation
internal import Logging
internal import Sandbox
internal import Settings

// A turn from the accepted message to its terminal event.

extension SessionDriver {
    /// Accepts a user message: stored with the turn's first event before anything is started.
    func send(
        _ content: String, user: WireUser, key: IdempotencyKey?
    ) async throws(WireError) -> TurnRecord {
        if let key, let known = try await accepted(content, by: key) { return known }
        var (next, _) = try transition(.messageAccepted, activity: true)
        if let limit = sandbox?.machine.maximumMessage, content.utf8.count > limit {
            throw WireError(
                code: .tooLarge,
                message: """
                    The message has \(content.utf8.count) bytes; agent '\(record.agentName)' takes \
                    it as an argument of its command, which may have \(limit)
                    """)
        }
        try await checkSessionLimits()
        try await ensureSandbox()
        guard var box = sandbox else {
            throw WireError(code: .internal, message: "Session '\(id.short)' has no sandbox")
        }
        await beginTurnResources(&box)
        next.lastTurn += 1
        next.messages += 1
        next.lastSeq += 1
        if next.title == nil { next.title = TerminalText.title(content) }
        let accepted = TurnRecord(
            number: next.lastTurn, content: content, user: user, acceptedAt: next.lastActiveAt,
            acceptedBoot: context.clock.boot, firstSeq: next.lastSeq)
        var started = event(.runStarted, turn: accepted.number)
        started.seq = next.lastSeq
        started.content = content
        started.user = user
        let effects = box.machine.handle(.message(content), now: now)
        let actions = stage(effects, in: &box)
        var change = SessionChange(next)
        change.events = [started]
        change.turn = accepted
        change.sandbox = box
        change.participant = user
        change.key = key
        FaultPoint.turnAccepting()
        try await commit(change)
        FaultPoint.turnAccepted()
        armCeiling(seconds: turnCeiling(spent: 0).seconds)
        watchResources()
        await act(actions)
        FaultPoint.turnActed()
        return accepted
    }

    /// The turn that an earlier request with this key began.
    private func accepted(
        _ content: String, by key: IdempotencyKey
    ) async throws(WireError) -> TurnRecord? {
        let turn: TurnRecord?
        do throws(StoreError) {
            guard let number = try await context.store.outcome(of: key, session: id)?.turn else {
                return nil
            }
            turn = try await context.store.turn(id, number: number)
        } catch {
            throw WireError(error, "The session could not be read")
        }
        guard let turn, turn.content == content else {
            throw WireError(
                code: .idempotencyMismatch,
                message: "This Idempotency-Key was used for another message")
        }
        return turn
    }

    /// Asks for the end of the running turn. An idle session stays as it is.
    func cancel(user: WireUser) async throws(WireError) -> SessionRecord {
        guard record.phase == .active else {
            if record.phase.isLive { return record }
            _ = try transition(.messageAccepted, activity: false)
            return record
        }
        log(.info, "turn \(record.lastTurn) cancelled by \(user.name)")
        await advance(.cancel)
        return record
    }

    /// Restarts the idle clock.
    func resume(user: WireUser) async throws(WireError) -> SessionRecord {
        let (next, _) = try transition(.resumed, activity: true)
        var change = SessionChange(next)
        change.participant = user
        try await commit(change)
        return record
    }

    func turnTookTooLong() async {
        await advance(.abort(turnCeiling(spent: 0).error))
    }

    /// Gives the machine one input that did not come from init's log.
    func advance(_ input: AgentInput) async {
        guard sandbox != nil else { return }
        await step([input], logOffset: nil)
    }

    /// Gives inputs to the machine, stores what follows in one transaction, then acts.
    func step(_ inputs: [AgentInput], logOffset: UInt64?, cause: ResourceCause? = nil) async {
        guard var box = sandbox else { return }
        var next = record
        var currentTurn = turn
        var events: [WireEvent] = []
        var actions: [DriverAction] = []
        var durable = false
        for input in inputs {
            let before = box.machine.generation
            let effects = box.machine.handle(input, now: now)
            for effect in effects {
                switch effect {
                case .emit(let event):
                    store(event, &next, &currentTurn, &events)
                case .finish(let outcome):
                    terminal(cause?.explain(outcome) ?? outcome, &next, &currentTurn, &events)
                    if let time = currentTurn?.duration { box.resources?.turnsTime += time }
                    durable = true
                default: break
                }
            }
            if case .record(.exited, let generation) = input, generation == before {
                dropInput(&box)
            }
            actions += stage(effects, in: &box)
        }
        if let logOffset { box.logOffset = logOffset }
        var change = SessionChange(next)
        change.events = events
        change.turn = currentTurn
        change.sandbox = box
        change.durable = durable
        if events.contains(where: { $0.type == .messageDelta }) { FaultPoint.turnOutput() }
        do throws(WireError) {
            try await commit(change)
        } catch {
            return await storageFailed(error)
        }
        if events.contains(where: { $0.type == .messageDelta }) { FaultPoint.turnStreamed() }
        if events.contains(where: { $0.type.isTerminal }) { FaultPoint.turnEnded() }
        storageFailure = nil
        for event in events where event.type.isTerminal { logFailure(event) }
        if let logOffset { try? link?.acknowledge(logOffset) }
        if next.phase != .active { ceilingTask?.cancel() }
        await act(actions)
        if let turn, turn.outcome == nil, turn.outputBytes > context.limits.maximumTurnOutput {
            await advance(
                .abort(
                    .init(
                        code: "output_limit",
                        message:
                            "The answer is longer than \(context.limits.maximumTurnOutput) bytes")))
        }
    }

    /// The code only: a message may have what the agent said.
    private func logFailure(_ event: WireEvent) {
        guard let code = event.error?.code, let turn = event.turn else { return }
        log(.info, "turn \(turn) failed: \(code)", cause: code)
    }

    private func store(
        _ event: WireEvent, _ next: inout SessionRecord, _ turn: inout TurnRecord?,
        _ events: inout [WireEvent]
    ) {
        var event = event
        next.lastSeq += 1
        event.seq = next.lastSeq
        event.time = context.clock.wall
        if event.type != .backgroundOutput, turn?.outcome == nil {
            event.turn = turn?.number
            turn?.outputBytes += event.weight
        } else {
            event.type = .backgroundOutput
        }
        events.append(event)
    }

    private func terminal(
        _ outcome: TurnOutcome, _ next: inout SessionRecord, _ turn: inout TurnRecord?,
        _ events: inout [WireEvent]
    ) {
        guard var ending = turn, ending.outcome == nil else { return }
        let wall = context.clock.wall
        ending.outcome = outcome
        ending.endedAt = wall
        ending.duration = elapsedMilliseconds(ending)
        turn = ending
        next.lastSeq += 1
        var last = event(outcome.eventType, turn: ending.number)
        last.seq = next.lastSeq
        last.durationMs = ending.duration
        if case .failed(let error) = outcome { last.error = error }
        events.append(last)
        if outcome == .completed || ending.outputBytes > 0 { next.messages += 1 }
        if (try? next.phase.handle(.turnFinished)) != nil {
            next.lastActiveAt = wall
            next.deadline = IdleDeadline(
                since: context.clock.boot, sinceWall: wall, seconds: next.idleTimeout)
        }
    }

    private func elapsedMilliseconds(_ turn: TurnRecord) -> Int64 {
        let boot = context.clock.boot
        if boot.bootID == turn.acceptedBoot.bootID {
            let from = min(turn.acceptedBoot.nanoseconds, boot.nanoseconds)
            return Int64(clamping: (boot.nanoseconds - from) / 1_000_000)
        }
        return Int64(max(0, context.clock.wall.timeIntervalSince(turn.acceptedAt) * 1000))
    }

    func event(_ type: WireEventType, turn: Int?) -> WireEvent {
        WireEvent(type: type, turn: turn, time: context.clock.wall)
    }

    /// The disk is full or broken: the turn ends as failed as soon as that can be stored. Until
    /// then nothing is read from init, which keeps what was not acknowledged and says it again.
    func storageFailed(_ error: WireError) async {
        guard record.phase.isLive else { return }
        if record.phase == .active, let link, let machine = sandbox?.machine, machine.hasProcess {
            try? await link.signal(9, generation: machine.generation, scope: .all)
        }
        disconnect()
        if storageFailure == nil {
            storageFailure = WireEventError(code: "storage_failed", message: error.message)
        }
        retryStorageLater()
    }

    private func retryStorageLater() {
        guard !storageRetryPending else { return }
        storageRetryPending = true
        later(.storageRetry, after: context.limits.storageRetry)
    }

    /// Tries once more to store how the turn ended; when that works, goes on with what init kept.
    func retryStorage() async {
        storageRetryPending = false
        guard let failure = storageFailure, record.phase.isLive, !isStopped else { return }
        var next = record
        var ending = turn
        var events: [WireEvent] = []
        var box = sandbox
        if record.phase == .active {
            terminal(.failed(failure), &next, &ending, &events)
            _ = box?.machine.handle(.abort(failure), now: now)
        }
        var change = SessionChange(next)
        change.events = events
        change.turn = ending
        change.sandbox = box
        do throws(WireError) {
            try await commit(change)
        } catch {
            return retryStorageLater()
        }
        storageFailure = nil
        ceilingTask?.cancel()
        await reattach()
    }

    func armCeiling(seconds: Double) {
        ceilingTask?.cancel()
        let number = record.lastTurn
        ceilingTask = Task { [mailbox] in
            guard (try? await Task.sleep(for: .seconds(max(0, seconds)))) != nil else { return }
            mailbox.yield(.turnCeiling(turn: number))
        }
    }
}

extension TurnOutcome {
    var eventType: WireEventType {
        switch self {
        case .completed: .runCompleted
        case .failed: .runFailed
        case .cancelled: .runCancelled
        }
    }
}

extension WireEvent {
    /// About how many bytes the event has where it is stored.
    var weight: Int {
        let texts = (content?.utf8.count ?? 0) + (tool?.utf8.count ?? 0)
        return 128 + texts + (input?.weight ?? 0) + (output?.weight ?? 0)
    }
}

extension JSONValue {
    fileprivate var weight: Int {
        switch self {
        case .null, .bool: 5
        case .int, .double: 20
        case .string(let text): text.utf8.count + 3
        case .array(let values): values.reduce(2) { $0 + $1.weight }
        case .object(let pairs): pairs.reduce(2) { $0 + $1.key.utf8.count + 4 + $1.value.weight }
        }
    }
}
