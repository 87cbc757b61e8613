internal import API
internal import Client
internal import Foundation

/// Holds a conversation on this terminal: connects keys, signals, events and calls with
/// `Conversation`.
struct ConversationRunner: Sendable {
    let console: Console
    let delivery: MessageDelivery
    let session: WireSession
    let history: PromptHistory

    /// What came of it.
    struct Outcome: Sendable {
        var departure: Conversation.Departure
        /// The session has got a message.
        var isUsed: Bool
    }

    /// Returns when the person leaves or the session is over; the terminal is as before then.
    func run(_ start: Conversation.Start) async throws -> Outcome {
        let output = console.errIsTerminal ? STDERR_FILENO : STDOUT_FILENO
        let modes = TerminalModes(output: output)
        let mailbox = Mailbox<Conversation.Input>()
        let signals = ProcessSignals.current
        signals?.setCleanup { modes.restore() }
        modes.enter()
        let pending = Counter()
        signals?.setHandler { Self.signal($0, mailbox, modes, pending) }
        let keyboard = try Keyboard { bytes in
            mailbox.post(bytes.map(Conversation.Input.keys) ?? .hangup)
        }
        defer {
            signals?.setHandler(nil)
            keyboard.stop()
            modes.restore()
            signals?.setCleanup(nil)
        }
        var conversation = Conversation(
            session: session, uid: getuid(), history: history.load(), size: modes.size,
            palette: console.errPalette)
        let departure = try await withThrowingTaskGroup(of: Void.self) { group in
            defer {
                mailbox.close()
                group.cancelAll()
            }
            var effects = conversation.start(start)
            while true {
                for effect in effects {
                    if case .leave(let departure) = effect { return departure }
                    try await perform(effect, mailbox, &group)
                }
                let input = await mailbox.next()
                if case .interrupt = input { pending.reset() }
                effects = conversation.handle(input)
            }
        }
        return Outcome(departure: departure, isUsed: conversation.isUsed)
    }

    /// Runs on the signal thread.
    private static func signal(
        _ number: CInt, _ mailbox: Mailbox<Conversation.Input>, _ modes: TerminalModes,
        _ pending: Counter
    ) -> Bool {
        switch number {
        case SIGINT:
            // Nobody took the first two: the program hangs, and must be left all the same.
            if pending.next() > 2 {
                modes.restore()
                _exit(130)
            }
            mailbox.post(.interrupt)
        case SIGWINCH:
            mailbox.post(.resized(modes.size))
        case SIGCONT:
            modes.enter()
            mailbox.post(.continued(modes.size))
        case SIGTERM, SIGHUP:
            modes.restore()
            guard pending.next() <= 2 else { return false }
            mailbox.post(.terminate(number))
        default:
            return false
        }
        return true
    }

    private func perform(
        _ effect: Conversation.Effect, _ mailbox: Mailbox<Conversation.Input>,
        _ group: inout ThrowingTaskGroup<Void, any Error>
    ) async throws {
        switch effect {
        case .write(let piece):
            try await console.write(piece.text, to: piece.stream)
        case .draw(let text):
            try await console.write(text, to: console.errIsTerminal ? .err : .out)
        case .remember(let line):
            history.append(line)
        case .send(let message):
            group.addTask {
                let result = await Self.attempt {
                    try await delivery.deliver(message)
                }
                mailbox.post(.sent(result))
            }
        case .cancel:
            group.addTask {
                let result = await Self.attempt { try await delivery.client.cancel(session.id) }
                if case .failure(let error) = result { mailbox.post(.cancelFailed(error)) }
            }
        case .end:
            group.addTask {
                let result = await Self.attempt {
                    try await delivery.client.end(session.id).value
                }
                mailbox.post(.ended(result))
            }
        case .followEvents(let after):
            group.addTask { await follow(after: after, mailbox) }
        case .leave:
            break
        }
    }

    private func follow(after: Int64, _ mailbox: Mailbox<Conversation.Input>) async {
        var stream = EventStream(client: delivery.client, sessionID: session.id, after: after)
        do {
            try await stream.follow { received in
                await mailbox.send(.event(received.event))
                return .proceed
            }
        } catch is CancellationError {
            return
        } catch {
            if !Task.isCancelled { mailbox.post(.streamFailed(CLIError(error))) }
        }
    }

    private static func attempt<Value: Sendable>(
        _ body: () async throws -> Value
    ) async -> Result<Value, CLIError> {
        do {
            return .success(try await body())
        } catch {
            return .failure(CLIError(error))
        }
    }
}
