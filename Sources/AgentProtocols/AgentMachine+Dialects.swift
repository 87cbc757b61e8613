internal import API
internal import Sandbox

// What differs between the dialects: when a process can take a message, how the message is
// delivered, and what its output means.

extension AgentMachine {
    var isReady: Bool {
        switch codec {
        case .native(let codec): codec.isReady
        case .exec: false
        }
    }

    mutating func resetCodec() {
        switch codec {
        case .native(let old): codec = .native(NativeCodec(maximumLine: old.maximumLine))
        case .exec: codec = .exec(TextDecoder())
        }
    }

    /// The command for the waiting message.
    var arguments: [String] {
        guard case .exec = codec else { return command }
        guard case .waiting(let message) = turn else { return template }
        return template.map { $0.replacing("{message}", with: message) }
    }

    private var template: [String] {
        completedTurns > 0 ? continueCommand ?? command : command
    }

    private var takesMessageAsArgument: Bool {
        guard case .exec = codec else { return false }
        return template.contains { $0.contains("{message}") }
    }

    /// Bytes that the next message may have because it becomes an argument (execve(2) takes 128 KiB
    /// for each, and the rest of the command needs its part); nil where there is no such bound.
    public var maximumMessage: Int? {
        guard takesMessageAsArgument else { return nil }
        let fixed = template.map(\.utf8.count).max() ?? 0
        return max(0, (96 << 10) - fixed)
    }

    /// Gives the waiting message to the running process.
    mutating func deliver() -> [AgentEffect] {
        guard case .waiting(let message) = turn else { return [] }
        let asArgument = takesMessageAsArgument
        turn = .running
        switch codec {
        case .native:
            return [.clearTimer, .write(NativeCodec.messageLine(message, turn: turnNumber))]
        case .exec:
            return asArgument
                ? [.clearTimer, .closeInput]
                : [.clearTimer, .write(Array(message.utf8)), .closeInput]
        }
    }

    private static let maximumOpenTools = 256

    mutating func output(_ bytes: [UInt8], now: UInt64) -> [AgentEffect] {
        switch codec {
        case .exec(var decoder):
            let text = decoder.decode(bytes)
            codec = .exec(decoder)
            return said(text)
        case .native(var native):
            let lines = native.lines(bytes)
            codec = .native(native)
            return lines.flatMap { line($0, now: now) }
        }
    }

    /// What was held back for want of an end: half a character, half a line.
    mutating func lastOutput(now: UInt64) -> [AgentEffect] {
        switch codec {
        case .exec(var decoder):
            let text = decoder.finish()
            codec = .exec(decoder)
            return said(text)
        case .native(var native):
            let rest = native.finish()
            codec = .native(native)
            return rest.flatMap { line($0, now: now) }
        }
    }

    /// Bytes of output that are kept between two turns.
    static let maximumBackground = 1 << 20

    /// Output that belongs to no answer; after `maximumBackground` bytes the rest is dropped, which
    /// is said once.
    mutating func background(_ text: String) -> [AgentEffect] {
        let room = Self.maximumBackground - backgroundBytes
        guard room > 0 else { return [] }
        // Each piece has a row of its own.
        backgroundBytes += text.utf8.count + 128
        var event = WireEvent(type: .backgroundOutput)
        event.content = text
        guard backgroundBytes >= Self.maximumBackground else { return [.emit(event)] }
        event.content = text + "\n[further output before the next message is dropped]\n"
        return [.emit(event)]
    }

    private mutating func said(_ text: String) -> [AgentEffect] {
        guard !text.isEmpty else { return [] }
        guard isInTurn else { return background(text) }
        var event = WireEvent(type: .messageDelta)
        event.content = text
        return [.emit(event)]
    }

    private mutating func line(_ line: NativeCodec.Line, now: UInt64) -> [AgentEffect] {
        switch line {
        case .note(let text): return [.note(text)]
        case .ready:
            guard case .native(var native) = codec else { return [] }
            native.isReady = true
            codec = .native(native)
            return deliver()
        case .text(let text):
            expectDone(false)
            return said(text)
        case .status(let text):
            var event = WireEvent(type: .status)
            event.content = text
            return isInTurn ? [.emit(event)] : []
        case .toolStart(let tool, let input):
            expectDone(false)
            if openTools.count < Self.maximumOpenTools { openTools[tool] = now }
            var event = WireEvent(type: .toolStart)
            event.tool = tool
            event.input = input
            return isInTurn ? [.emit(event)] : []
        case .toolEnd(let end):
            let began = openTools.removeValue(forKey: end.tool)
            var event = WireEvent(type: .toolEnd)
            event.tool = end.tool
            event.output = end.output
            event.success = end.success
            event.durationMs =
                end.durationMs ?? began.map { Int64(clamping: now - min($0, now)) } ?? 0
            return isInTurn ? [.emit(event)] : []
        case .error(let message):
            guard case .running = turn else { return [.note("agent error: \(message)")] }
            expectDone(true)
            return finish(.failed(.init(code: "agent_error", message: message)))
        case .turnDone(let number): return turnDone(number)
        }
    }

    private mutating func turnDone(_ number: Int?) -> [AgentEffect] {
        guard case .native(var native) = codec else { return [] }
        // An agent may answer a cancel that reached it after its turn was over.
        if let number, number != turnNumber { return [.note("turn_done of turn \(number)")] }
        if native.doneBelongsToFailedTurn {
            native.doneBelongsToFailedTurn = false
            codec = .native(native)
            return []
        }
        switch turn {
        case .running: return finish(.completed)
        case .cancelling: return finish(.cancelled)
        case .none, .waiting: return [.note("turn_done outside of a turn")]
        }
    }

    /// After `error` a turn is over; an agent that sends `turn_done` as well means the same turn.
    private mutating func expectDone(_ expected: Bool) {
        guard case .native(var native) = codec else { return }
        native.doneBelongsToFailedTurn = expected
        codec = .native(native)
    }
}
