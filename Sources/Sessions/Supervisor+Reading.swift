public import API
internal import AgentProtocols
internal import Foundation
internal import Sandbox
internal import Settings

// What only reads: finding, listing, showing.

extension Supervisor {
    /// Finds the session that an id or a prefix means. Short prefixes find the caller's own
    /// sessions; anybody else's needs at least 12 digits (spec row 13).
    public func resolve(_ text: String, caller: Caller) async throws(WireError) -> SessionID {
        guard let prefix = SessionID.normalise(prefix: text) else { throw .notFound(text) }
        let own = try await matches(prefix, participant: caller.user.uid)
        if own.count == 1 { return own[0] }
        if own.count > 1 { throw ambiguous(text, own) }
        guard prefix.utf8.count >= 12 || caller.isOperator else { throw .notFound(text) }
        let all = try await matches(prefix, participant: nil)
        if all.count == 1 { return all[0] }
        throw all.isEmpty ? .notFound(text) : ambiguous(text, all)
    }

    private func matches(_ prefix: String, participant: UInt32?) async throws(WireError)
        -> [SessionID]
    {
        do throws(StoreError) {
            return try await context.store.matches(
                prefix: prefix, participant: participant, limit: 10)
        } catch {
            throw WireError(error, "The sessions could not be read")
        }
    }

    private func ambiguous(_ text: String, _ ids: [SessionID]) -> WireError {
        let shorts = ids.map(\.short)
        let typed = TerminalText.neutralised(String(text.prefix(80)))
        return WireError(
            code: .sessionAmbiguous,
            message: "Ambiguous ID '\(typed)' — matches: \(shorts.joined(separator: ", "))",
            hint: "Use more characters of the ID", matches: shorts)
    }

    /// A session's row.
    public func record(_ id: SessionID) async throws(WireError) -> SessionRecord {
        do throws(StoreError) {
            if let record = try await context.store.session(id) { return record }
        } catch {
            throw WireError(error, "The session could not be read")
        }
        throw .notFound(id.short)
    }

    /// A session with everything that is known of it.
    public func show(_ id: SessionID) async throws(WireError) -> WireSession {
        let record = try await record(id)
        var session = try await show(record)
        do throws(StoreError) {
            session.budget = try await budget(record)
            let sandbox = try await context.store.sandbox(id)
            if let resources = sandbox?.resources {
                var usage = SandboxUsage()
                if sandbox?.process != nil, record.phase.isLive {
                    usage = (try? await context.host.usage(session: id.hex)) ?? usage
                }
                session.limits = resources.wire(usage, context.limits.enforcement)
            }
            if let isolation = sandbox?.isolation {
                session.isolation = WireIsolation(
                    inForce: isolation.names(inForce: true),
                    missing: isolation.names(inForce: false),
                    landlock: Int(clamping: isolation.landlock))
            }
        } catch {
            throw WireError(error, "The session could not be read")
        }
        return session
    }

    /// A session as the API shows it.
    public func show(_ record: SessionRecord) async throws(WireError) -> WireSession {
        do throws(StoreError) {
            let participants = try await context.store.participants(record.id)
            var turn: WireTurn?
            if record.phase == .active,
                let row = try await context.store.turn(record.id, number: record.lastTurn)
            {
                turn = WireTurn(number: row.number, firstSeq: row.firstSeq, user: row.user)
            }
            return wire(record, participants: participants, turn: turn)
        } catch {
            throw WireError(error, "The session could not be read")
        }
    }

    private func wire(_ record: SessionRecord, participants: [WireUser], turn: WireTurn?)
        -> WireSession
    {
        let left = record.deadline?.remaining(context.clock.boot, wall: context.clock.wall)
        return WireSession(
            id: record.id.description, shortId: record.id.short,
            agent: .init(id: record.agentID, name: record.agentName, version: record.agentVersion),
            status: record.phase.status, reason: record.reason?.rawValue, title: record.title,
            messages: record.messages, createdAt: record.createdAt,
            lastActiveAt: record.lastActiveAt,
            endedAt: record.endedAt, idleTimeoutSeconds: record.idleTimeout,
            expiresAt: left.map { context.clock.wall.addingTimeInterval($0) },
            lastSeq: record.lastSeq,
            creator: record.creator,
            participants: [record.creator] + participants.filter { $0.uid != record.creator.uid },
            turn: turn)
    }

    /// Sessions, newest activity first. Everybody's only for operators.
    public func list(
        agent: String?, status: SessionStatus?, limit: Int, everybody: Bool, caller: Caller
    ) async throws(WireError) -> WireSessionList {
        guard !everybody || caller.isOperator else {
            throw WireError(
                code: .forbidden, message: "Only operators may list everybody's sessions")
        }
        let query = SessionQuery(
            participant: everybody ? nil : caller.user.uid, agent: agent, status: status,
            limit: min(max(limit, 1), 10_000))
        let found: (sessions: [SessionRecord], total: Int)
        do throws(StoreError) {
            found = try await context.store.list(query)
        } catch {
            throw WireError(error, "The sessions could not be read")
        }
        var sessions: [WireSession] = []
        for record in found.sessions { sessions.append(try await show(record)) }
        return WireSessionList(sessions: sessions, total: found.total)
    }

    /// Bytes of text after which a page of history ends.
    private static let historyPage = 8 << 20
    /// Bytes of one answer that the history shows.
    private static let historyAnswer = 8 << 20

    /// The conversation after turn `after`, at most `limit` turns and about 8 MiB at a time.
    /// Refused for an ended session, whose history is gone.
    public func history(
        _ text: String, after: Int = 0, limit: Int = 1000, caller: Caller
    ) async throws(WireError) -> WireHistory {
        let id = try await resolve(text, caller: caller)
        let record = try await record(id)
        guard record.phase != .ended else {
            throw WireError(
                code: .sessionNotResumable,
                message: "Session '\(id.short)' has status 'ended': its history was deleted")
        }
        var history = WireHistory(session: try await show(record), messages: [], nextAfter: nil)
        do throws(StoreError) {
            let turns = try await context.store.turns(id, after: after, limit: limit)
            var room = Self.historyPage
            for turn in turns {
                history.messages.append(
                    WireMessage(
                        role: "user", turn: turn.number, content: turn.content,
                        createdAt: turn.acceptedAt, user: turn.user, status: nil, durationMs: nil,
                        error: nil))
                let text = try await context.store.answer(
                    id, turn: turn.number, limit: Self.historyAnswer)
                history.messages.append(answer(turn, text))
                room -= turn.content.utf8.count + text.utf8.count
                let isLast = turn.number == record.lastTurn
                if !isLast, room <= 0 || turn.number == turns.last?.number {
                    history.nextAfter = turn.number
                    break
                }
            }
        } catch {
            throw WireError(error, "The history could not be read")
        }
        return history
    }

    private func answer(_ turn: TurnRecord, _ text: String) -> WireMessage {
        var message = WireMessage(
            role: "agent", turn: turn.number, content: text,
            createdAt: turn.endedAt ?? turn.acceptedAt,
            user: nil, status: "streaming", durationMs: turn.duration, error: nil)
        if text.utf8.count >= Self.historyAnswer { message.truncated = true }
        switch turn.outcome {
        case .completed: message.status = "completed"
        case .cancelled: message.status = "cancelled"
        case .failed(let error):
            message.status = "failed"
            message.error = error
        case nil: break
        }
        return message
    }

    /// Events after number `after`; `turn` ends the stream with that turn.
    public nonisolated func events(_ id: SessionID, after: Int64, turn: Int?, follow: Bool)
        -> EventReader
    {
        EventReader(
            id: id, after: after, turn: turn, follow: follow, store: context.store, hub: context.hub
        )
    }

    /// An agent as the API shows it.
    public func show(_ version: AgentVersion) async throws(WireError) -> WireAgent {
        let live: Int
        do throws(StoreError) {
            live = try await context.store.liveSessions(agentID: version.agentID)
        } catch {
            throw WireError(error, "The agent could not be read")
        }
        let definition = version.definition
        return WireAgent(
            id: version.agentID, name: definition.name, version: version.version,
            protocol: definition.dialect.rawValue, command: definition.command,
            origin: version.origin.rawValue, createdAt: version.firstCreatedAt,
            updatedAt: version.createdAt,
            idleTimeoutSeconds: definition.idleTimeout ?? context.limits.idleTimeout,
            turnTimeoutSeconds: definition.turnTimeout, liveSessions: live)
    }

    /// Sessions that are active or idle.
    public func liveSessions() async throws(WireError) -> Int {
        do throws(StoreError) {
            return try await context.store.withSandbox().count
        } catch {
            throw WireError(error, "The sessions could not be read")
        }
    }
}
