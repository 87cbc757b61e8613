internal import API
internal import Client
internal import Foundation

/// What `run` and `sessions resume` have in common: talk with a session, then leave it.
struct SessionRun: Sendable {
    let console: Console
    let connector: Connector
    let client: APIClient
    let session: WireSession
    /// One event a line.
    var json = false
    /// This command made the session: without any message it is removed again.
    var isNew = false
    /// End the session on leaving.
    var endsSession = false

    private var delivery: MessageDelivery {
        MessageDelivery(connector: connector, client: client, sessionID: session.id)
    }

    /// Copies files into the new session, before its first message.
    func upload(_ uploads: [UploadOption]) async throws {
        let transfer = FileTransfer(client: client)
        do {
            for upload in uploads {
                let report = try await transfer.upload(
                    upload.path, to: session.id, upload.destination)
                for note in report.notes { await console.err(TextSanitizer.line(note) + "\n") }
            }
        } catch {
            await discard()
            throw error
        }
    }

    /// Sends one message and prints the answer.
    func answer(_ message: String) async throws {
        try await leaving {
            try await single.follow {
                let accepted = try await delivery.deliver(message)
                return (accepted.turn, accepted.firstSeq)
            }
        }
    }

    /// Follows the turn that is running already.
    func attach(_ turn: WireTurn) async throws {
        try await leaving { try await single.follow { (turn.number, turn.firstSeq) } }
    }

    /// Sends one message and does not wait for the answer.
    func detach(_ message: String) async throws {
        let accepted: WireAccepted
        do {
            accepted = try await delivery.deliver(message)
        } catch {
            await discard()
            throw error
        }
        if json {
            let text = String(decoding: try WireJSON.encode(accepted), as: UTF8.self)
            try await console.out(text + "\n")
        } else {
            try await console.out(session.shortId + "\n")
        }
    }

    /// Holds a conversation until the person leaves.
    func converse(_ start: Conversation.Start) async throws {
        let history = PromptHistory(
            directory: SupervisorDirectories.personalState(
                environment: ProcessInfo.processInfo.environment, home: Account.home))
        let runner = ConversationRunner(
            console: console, delivery: delivery, session: session, history: history)
        let outcome = try await runner.run(start)
        try await leave(outcome)
    }

    private var single: SingleAnswer {
        SingleAnswer(console: console, client: client, session: session, json: json)
    }

    /// Runs a single answer; with `--rm` the session ends afterwards, whatever came of it.
    private func leaving(_ body: () async throws -> Void) async throws {
        do {
            try await body()
        } catch {
            if endsSession {
                await endQuietly()
            } else if isNew {
                // Removes it where the message never arrived; the supervisor refuses otherwise.
                await discard()
            }
            throw error
        }
        if endsSession { try await end() }
    }

    private func leave(_ outcome: ConversationRunner.Outcome) async throws {
        switch outcome.departure {
        case .left, .atOnce:
            let isUnused = isNew && !outcome.isUsed
            if endsSession {
                try await end()
            } else if isUnused, await discard() {
                // Nothing is left that could be resumed.
            } else {
                await console.err(saved)
            }
            if outcome.departure == .atOnce { throw CLIError.cancelled }
        case .ended:
            await console.err(EndCommand.confirmation(session.shortId, .ended))
        case .over(let status, let reason):
            await console.err(over(status, reason))
        case .failed(let error):
            await console.err(saved)
            throw error
        case .hangup:
            if isNew, !outcome.isUsed { await discard() }
            throw CLIError.outputClosed
        case .terminated(let signal):
            if isNew, !outcome.isUsed { await discard() }
            ProcessSignals.current?.die(by: signal)
        }
    }

    private var saved: String {
        "Session \(session.shortId) saved. "
            + "Resume with: superserve sessions resume \(session.shortId)\n"
    }

    private func over(_ status: SessionStatus?, _ reason: String?) -> String {
        guard status == .timeout else {
            return "Session \(session.shortId) has ended.\n"
        }
        return "Session \(session.shortId) has timed out. "
            + "Read it with: superserve sessions history \(session.shortId)\n"
    }

    private func end() async throws {
        let ended = try await client.end(session.id).value
        await console.err(EndCommand.confirmation(ended.shortId, ended.status))
    }

    private func endQuietly() async {
        _ = await Deadline.run(seconds: 10) { try await client.end(session.id) }
    }

    /// Removes a session that got no message.
    ///
    /// - Returns: false where it is still there.
    @discardableResult
    private func discard() async -> Bool {
        await Deadline.run(seconds: 2) { try await client.discardSession(session.id) } != nil
    }
}
