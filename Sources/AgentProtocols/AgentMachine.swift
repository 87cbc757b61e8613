public import API
public import Sandbox
public import Settings

/// What reaches an agent's protocol machine.
public enum AgentInput: Sendable, Hashable {
    /// Something the session's init logged about the agent process of that generation.
    case record(LogRecord.Event, generation: UInt64)
    /// A user message; only between turns.
    case message(String)
    /// The user wants the running turn to stop.
    case cancel
    /// A timer that the machine set has run out.
    case timer(AgentTimer)
    /// The turn must end now, for a reason outside the agent; its processes are killed.
    case abort(WireEventError)
    /// The sandbox and every process in it are gone.
    case sandboxLost(WireEventError)
}

/// Timers a machine asks for. Setting one replaces any earlier timer of the machine.
public enum AgentTimer: String, Codable, Sendable, Hashable {
    /// The agent must be ready.
    case start
    /// A step of a cancel must have worked.
    case cancel
}

/// How a turn ended.
public enum TurnOutcome: Sendable, Hashable, Codable {
    case completed
    case failed(WireEventError)
    case cancelled
}

/// What the driver has to do, in order. `emit` and `finish` are stored before anything else is
/// done.
public enum AgentEffect: Sendable, Hashable {
    /// Start the agent process with this number; repeating one does nothing.
    case start(generation: UInt64, arguments: [String])
    /// Append to the agent's standard input.
    case write([UInt8])
    /// Close the agent's standard input after what was written.
    case closeInput
    case signal(Int32, InitLink.SignalScope, generation: UInt64)
    /// An event of the turn, or out of turn when its type is `background.output`.
    case emit(WireEvent)
    case finish(TurnOutcome)
    case setTimer(AgentTimer, seconds: Int)
    case clearTimer
    /// A note for the log.
    case note(String)
}

/// An agent's side of a session as a value: dialect, process and turn. It does no I/O, is stored
/// with every transaction, and says after a restart what has to be repeated (`resumed`).
public struct AgentMachine: Codable, Sendable, Hashable {
    /// Where the agent's process stands.
    enum Process: Codable, Hashable {
        case none
        /// Asked for; `STARTED` has not come.
        case starting
        case running
        /// Killed by us; its end has not been seen.
        case dying
    }

    /// Where the turn stands.
    enum Turn: Codable, Hashable {
        case none
        /// The message waits for a process that can take it.
        case waiting(message: String)
        case running
        /// Cancelled: 0 told by protocol, 1 interrupted, 2 killed.
        case cancelling(step: Int)
    }

    let command: [String]
    let continueCommand: [String]?
    let startTimeout: Int
    let cancelGrace: Int
    var codec: Codec
    /// Number of the newest process, from 1.
    public internal(set) var generation: UInt64 = 0
    var process = Process.none
    var turn = Turn.none
    /// Number of the newest turn, from 1.
    var turnNumber = 0
    var completedTurns = 0
    /// Bytes of output since the last turn ended.
    var backgroundBytes = 0
    var stderrTail = ByteTail(limit: 4096)
    /// Start of tools by name, milliseconds of the driver's clock.
    var openTools: [String: UInt64] = [:]

    /// The dialect's own state.
    enum Codec: Codable, Hashable {
        case native(NativeCodec)
        case exec(TextDecoder)
    }

    /// A machine for a new session. `maximumLine` bounds a protocol line, in bytes.
    public init(_ definition: AgentDefinition, maximumLine: Int) {
        command = definition.command
        continueCommand = definition.continueCommand
        startTimeout = definition.startTimeout
        cancelGrace = definition.cancelGrace
        switch definition.dialect {
        case .native: codec = .native(NativeCodec(maximumLine: maximumLine))
        case .exec: codec = .exec(TextDecoder())
        }
    }

    /// True between `message` and its `finish`.
    public var isInTurn: Bool { turn != .none }

    /// False between turns, and while a message waits for a process that can take it.
    private var isAnswering: Bool {
        switch turn {
        case .none, .waiting: false
        case .running, .cancelling: true
        }
    }

    /// True while a process of the agent may live.
    public var hasProcess: Bool { process != .none }

    /// Takes one input; `now` is milliseconds of a clock that does not jump.
    public mutating func handle(_ input: AgentInput, now: UInt64) -> [AgentEffect] {
        switch input {
        case .message(let text): return begin(text)
        case .cancel: return cancel()
        case .timer(let timer): return expired(timer)
        case .abort(let error): return abort(error)
        case .sandboxLost(let error): return lost(error)
        case .record(let event, let generation):
            return generation == self.generation
                ? current(event, now: now) : stale(event)
        }
    }

    /// What must be done again after the supervisor was restarted.
    public func resumed() -> [AgentEffect] {
        var effects: [AgentEffect] = []
        if process == .starting {
            effects.append(.start(generation: generation, arguments: arguments))
        }
        switch turn {
        case .none, .running: break
        case .waiting: effects.append(.setTimer(.start, seconds: startTimeout))
        case .cancelling(let step):
            if step == 1 { effects.append(.signal(2, .group, generation: generation)) }
            if step < 2 { effects.append(.setTimer(.cancel, seconds: cancelGrace)) }
        }
        if process == .dying { effects.append(.signal(9, .all, generation: generation)) }
        return effects
    }

    // MARK: - Turns

    private mutating func begin(_ message: String) -> [AgentEffect] {
        turn = .waiting(message: message)
        turnNumber += 1
        backgroundBytes = 0
        openTools = [:]
        switch process {
        case .none: return launch()
        case .starting: return [.setTimer(.start, seconds: startTimeout)]
        case .dying: return []
        case .running: return isReady ? deliver() : [.setTimer(.start, seconds: startTimeout)]
        }
    }

    /// Starts a process for the waiting message.
    mutating func launch() -> [AgentEffect] {
        generation += 1
        process = .starting
        stderrTail = ByteTail(limit: 4096)
        resetCodec()
        return [
            .start(generation: generation, arguments: arguments),
            .setTimer(.start, seconds: startTimeout),
        ]
    }

    /// Ends the turn.
    mutating func finish(_ outcome: TurnOutcome) -> [AgentEffect] {
        guard turn != .none else { return [] }
        if case .completed = outcome { completedTurns += 1 }
        turn = .none
        return [.clearTimer, .finish(outcome)]
    }

    private mutating func cancel() -> [AgentEffect] {
        switch turn {
        case .none, .cancelling: return []
        case .waiting:
            let effects = finish(.cancelled)
            return process == .none ? effects : effects + kill()
        case .running:
            if case .native = codec {
                turn = .cancelling(step: 0)
                return [
                    .write(NativeCodec.cancelLine(turn: turnNumber)),
                    .setTimer(.cancel, seconds: cancelGrace),
                ]
            }
            turn = .cancelling(step: 1)
            return [
                .signal(2, .group, generation: generation),
                .setTimer(.cancel, seconds: cancelGrace),
            ]
        }
    }

    private mutating func expired(_ timer: AgentTimer) -> [AgentEffect] {
        switch (timer, turn) {
        case (.start, .waiting) where process != .dying:
            let error = WireEventError(
                code: "agent_start_timeout",
                message: "The agent was not ready within \(startTimeout) s" + stderrSuffix)
            return finish(.failed(error)) + kill()
        case (.cancel, .cancelling(0)):
            turn = .cancelling(step: 1)
            return [
                .signal(2, .group, generation: generation),
                .setTimer(.cancel, seconds: cancelGrace),
            ]
        case (.cancel, .cancelling(1)):
            turn = .cancelling(step: 2)
            return kill()
        default: return []
        }
    }

    private mutating func abort(_ error: WireEventError) -> [AgentEffect] {
        let effects = finish(.failed(error))
        return process == .none ? effects : effects + kill()
    }

    private mutating func kill() -> [AgentEffect] {
        process = .dying
        return [.signal(9, .all, generation: generation)]
    }

    private mutating func lost(_ error: WireEventError) -> [AgentEffect] {
        process = .none
        resetCodec()
        switch turn {
        case .none: return []
        case .cancelling: return finish(.cancelled)
        case .waiting, .running: return finish(.failed(error))
        }
    }

    // MARK: - Processes

    private mutating func current(_ event: LogRecord.Event, now: UInt64) -> [AgentEffect] {
        switch event {
        case .started:
            guard process == .starting else { return [] }
            process = .running
            if case .exec = codec, case .waiting = turn { return deliver() }
            return []
        case .startFailed(let stage, let errno, let detail):
            let killed = process == .dying
            process = .none
            if killed, case .waiting = turn { return launch() }
            let cause = SandboxError(.refused, stage: stage, errno: errno, detail: detail)
            return finish(
                .failed(
                    .init(
                        code: "agent_start_failed",
                        message: "The agent could not be started: \(cause)"))
            )
        case .stdout where process == .dying && !isAnswering:
            return []  // what a killed process still had in its pipe belongs to no answer
        case .stdout(let bytes): return output(bytes, now: now)
        case .stderr(let bytes):
            stderrTail.append(bytes)
            return []
        case .exited(let exit): return exited(exit, now: now)
        case .stdoutEnd, .stderrEnd: return []
        }
    }

    /// Output of a process that a newer one has replaced.
    private mutating func stale(_ event: LogRecord.Event) -> [AgentEffect] {
        guard case .stdout(let bytes) = event else { return [] }
        return background(String(decoding: bytes, as: UTF8.self))
    }

    private mutating func exited(_ exit: AgentExit, now: UInt64) -> [AgentEffect] {
        let killed = process == .dying
        process = .none
        var effects = killed && !isAnswering ? [] : lastOutput(now: now)
        switch turn {
        case .none: break
        case .cancelling: effects += finish(.cancelled)
        case .waiting where killed: return effects + launch()
        case .waiting, .running: effects += finish(outcome(of: exit))
        }
        resetCodec()
        return effects
    }

    private func outcome(of exit: AgentExit) -> TurnOutcome {
        if case .exec = codec, exit.signal == 0, exit.status == 0 { return .completed }
        let how =
            exit.signal != 0
            ? "was ended by signal \(exit.signal)" : "exited with status \(exit.status)"
        return .failed(
            .init(
                code: "agent_exited",
                message: "The agent \(how) before its answer was complete" + stderrSuffix))
    }

    var stderrSuffix: String {
        let text = stderrTail.text
        return text.isEmpty ? "" : ": \(text)"
    }
}
