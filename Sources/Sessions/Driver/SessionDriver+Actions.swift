internal import API
internal import AgentProtocols
internal import Logging
internal import Sandbox
internal import Settings

/// What the driver does after a commit.
enum DriverAction: Sendable {
    case start(generation: UInt64, arguments: [String])
    case pump
    case signal(Int32, InitLink.SignalScope, generation: UInt64)
    case setTimer(AgentTimer, seconds: Int)
    case clearTimer
    case note(String)
}

extension SessionDriver {
    /// Moves what must be stored (input) into the sandbox row and returns what is done afterwards.
    func stage(_ effects: [AgentEffect], in box: inout SandboxRecord) -> [DriverAction] {
        effects.compactMap { effect in
            switch effect {
            case .start(let generation, let arguments):
                return .start(generation: generation, arguments: arguments)
            case .write(let bytes):
                box.pendingInput += bytes
                return .pump
            case .closeInput:
                box.inputEnd = box.inputBase + UInt64(box.pendingInput.count)
                return .pump
            case .signal(let number, let scope, let generation):
                return .signal(number, scope, generation: generation)
            case .setTimer(let timer, let seconds): return .setTimer(timer, seconds: seconds)
            case .clearTimer: return .clearTimer
            case .note(let text): return .note(text)
            case .emit, .finish: return nil
            }
        }
    }

    func act(_ actions: [DriverAction]) async {
        for action in actions {
            do throws(SandboxError) {
                try await act(action)
            } catch {
                log(.warning, "\(error)")
                if case .start(let generation, _) = action, error.code == .refused {
                    // There is no process whose end could be waited for.
                    let failed = LogRecord.Event.startFailed(
                        stage: error.stage, errno: error.errno, detail: error.detail)
                    await advance(.record(failed, generation: generation))
                }
            }
        }
    }

    private func act(_ action: DriverAction) async throws(SandboxError) {
        switch action {
        case .start(let generation, let arguments):
            try await link?.start(
                generation: generation, arguments: arguments,
                environment: try await environment())
        case .pump: try pumpInput()
        case .signal(let number, let scope, let generation):
            try await link?.signal(number, generation: generation, scope: scope)
        case .setTimer(let timer, let seconds): setTimer(timer, seconds: seconds)
        case .clearTimer: timerToken += 1
        case .note(let text): log(.debug, text)
        }
    }

    /// What the agent finds in its environment.
    func environment() async throws(SandboxError) -> [String: String] {
        var values = [
            "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/agent", "USER": "agent",
            "LOGNAME": "agent", "SHELL": "/bin/sh", "LANG": "C.UTF-8", "TERM": "dumb",
        ]
        if hasNetwork { values.merge(Self.proxyVariables) { _, new in new } }
        values.merge(try await secretVariables()) { _, new in new }
        values.merge(agent.definition.environment) { _, own in own }
        values["HOME"] = "/home/agent"
        values["PWD"] = "/workspace"
        values["SUPERSERVE"] = "1"
        values["SUPERSERVE_SESSION_ID"] = id.description
        values["SUPERSERVE_AGENT"] = agent.definition.name
        return values
    }

    private func setTimer(_ timer: AgentTimer, seconds: Int) {
        timerToken += 1
        timerTask?.cancel()
        timerTask = Task { [mailbox, timerToken] in
            guard (try? await Task.sleep(for: .seconds(seconds))) != nil else { return }
            mailbox.yield(.timer(token: timerToken, timer))
        }
    }

    /// Sends stored input as far as init's window allows.
    func pumpInput() throws(SandboxError) {
        guard let box = sandbox, let link else { return }
        let end = box.inputBase + UInt64(box.pendingInput.count)
        let limit = min(end, inputAccepted + InitLink.inputWindow)
        if inputSent < limit {
            let from = Int(inputSent - box.inputBase)
            let to = Int(limit - box.inputBase)
            try link.input(box.pendingInput[from..<to], offset: inputSent)
            inputSent = limit
        }
        if let close = box.inputEnd, inputSent >= close, !inputEndSent {
            try link.closeInput(offset: close)
            inputEndSent = true
        }
    }

    /// Init has taken input: it need not be kept. The row follows with the next transaction.
    func inputProgress(_ offset: UInt64) throws(SandboxError) {
        inputAccepted = max(inputAccepted, offset)
        if var box = sandbox, offset > box.inputBase {
            let taken = Int(min(offset - box.inputBase, UInt64(box.pendingInput.count)))
            box.pendingInput.removeFirst(taken)
            box.inputBase += UInt64(taken)
            sandbox = box
        }
        try pumpInput()
    }

    /// The agent is gone: input it did not get is void, and init counts what was sent as taken.
    func dropInput(_ box: inout SandboxRecord) {
        box.pendingInput = []
        box.inputBase = max(inputSent, inputAccepted)
        box.inputEnd = nil
        inputSent = box.inputBase
        inputEndSent = false
    }
}
