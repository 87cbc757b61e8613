internal import API
internal import AgentProtocols
internal import Foundation
internal import GRDB
internal import Sandbox
internal import Sessions
internal import Settings

/// Records to rows and back.
enum Rows {
    private static let coder = JSONCoder()

    private struct JSONCoder: Sendable {
        func encode(_ value: some Encodable) throws -> Data { try JSONEncoder().encode(value) }
        func decode<T: Decodable>(_ type: T.Type, _ data: Data) throws -> T {
            try JSONDecoder().decode(type, from: data)
        }
    }

    static func encode(_ value: some Encodable) throws -> Data { try coder.encode(value) }

    static func decode<T: Decodable>(_ type: T.Type, _ data: Data) throws -> T {
        try coder.decode(type, data)
    }

    // MARK: - Writing

    /// Everything that changes together, within a transaction.
    static func apply(_ change: SessionChange, _ db: Database) throws {
        let id = change.session.id
        let stored = try Int64.fetchOne(
            db, sql: "SELECT last_seq FROM session WHERE id = ?", arguments: [id.hex])
        guard let stored else {
            throw StoreError(.other, "session \(id.short) is not in the store")
        }
        for (index, event) in change.events.enumerated() {
            guard event.seq == stored + Int64(index) + 1 else {
                throw StoreError(.other, "event \(event.seq ?? 0) does not follow \(stored)")
            }
            try insert(event, session: id, db)
        }
        if change.deleteHistory {
            try db.execute(sql: "DELETE FROM event WHERE session_id = ?", arguments: [id.hex])
            try db.execute(sql: "DELETE FROM turn WHERE session_id = ?", arguments: [id.hex])
        } else if let turn = change.turn {
            try upsert(turn, session: id, db)
        }
        try upsert(change.session, db)
        if change.removeSandbox {
            try db.execute(sql: "DELETE FROM sandbox WHERE session_id = ?", arguments: [id.hex])
        } else if let sandbox = change.sandbox {
            try upsert(sandbox, session: id, db)
        }
        if let usage = change.networkUsage { try upsert(usage, session: id, db) }
        if let user = change.participant { try addParticipant(user, session: id, db) }
        if let key = change.key {
            try insert(key, session: id, turn: change.session.lastTurn, db)
        }
    }

    static func upsert(_ session: SessionRecord, _ db: Database) throws {
        try db.execute(
            sql: """
                INSERT INTO session (id, agent_id, agent_name, agent_version, phase, reason, title,
                    messages, created_at, last_active_at, ended_at, idle_timeout, deadline, creator_uid,
                    creator_name, last_seq, last_turn, network_edits, budget_edits)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (id) DO UPDATE SET phase = excluded.phase, reason = excluded.reason,
                    title = excluded.title, messages = excluded.messages,
                    last_active_at = excluded.last_active_at, ended_at = excluded.ended_at,
                    deadline = excluded.deadline, last_seq = excluded.last_seq,
                    last_turn = excluded.last_turn, network_edits = excluded.network_edits,
                    budget_edits = excluded.budget_edits
                """,
            arguments: [
                session.id.hex, session.agentID, session.agentName, session.agentVersion,
                session.phase.rawValue, session.reason?.rawValue, session.title, session.messages,
                session.createdAt.timeIntervalSince1970, session.lastActiveAt.timeIntervalSince1970,
                session.endedAt?.timeIntervalSince1970, session.idleTimeout,
                try session.deadline.map(encode), Int64(session.creator.uid), session.creator.name,
                session.lastSeq, session.lastTurn,
                session.networkEdits.isEmpty ? nil : try encode(session.networkEdits),
                session.budgetEdits.isEmpty ? nil : try encode(session.budgetEdits),
            ])
    }

    /// Nothing for a session that is gone.
    static func upsert(_ usage: NetworkUsage, session: SessionID, _ db: Database) throws {
        try db.execute(
            sql: """
                INSERT INTO network_usage (session_id, usage)
                SELECT id, ? FROM session WHERE id = ?
                ON CONFLICT (session_id) DO UPDATE SET usage = excluded.usage
                """, arguments: [try encode(usage), session.hex])
    }

    static func upsert(_ turn: TurnRecord, session: SessionID, _ db: Database) throws {
        try db.execute(
            sql: """
                INSERT INTO turn (session_id, number, content, user_uid, user_name, accepted_at,
                    accepted_boot, first_seq, outcome, ended_at, duration_ms, output_bytes)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (session_id, number) DO UPDATE SET outcome = excluded.outcome,
                    ended_at = excluded.ended_at, duration_ms = excluded.duration_ms,
                    output_bytes = excluded.output_bytes
                """,
            arguments: [
                session.hex, turn.number, turn.content, Int64(turn.user.uid), turn.user.name,
                turn.acceptedAt.timeIntervalSince1970, try encode(turn.acceptedBoot), turn.firstSeq,
                try turn.outcome.map(encode), turn.endedAt?.timeIntervalSince1970, turn.duration,
                turn.outputBytes,
            ])
    }

    static func upsert(_ box: SandboxRecord, session: SessionID, _ db: Database) throws {
        try db.execute(
            sql: """
                INSERT INTO sandbox (session_id, block, pid, start_time, nonce, log_offset, input_base,
                    pending_input, input_end, machine, boot_id, isolation, egress_ports, resources)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (session_id) DO UPDATE SET pid = excluded.pid,
                    boot_id = excluded.boot_id, isolation = excluded.isolation,
                    start_time = excluded.start_time, nonce = excluded.nonce,
                    log_offset = excluded.log_offset, input_base = excluded.input_base,
                    pending_input = excluded.pending_input, input_end = excluded.input_end,
                    machine = excluded.machine, egress_ports = excluded.egress_ports,
                    resources = excluded.resources
                """,
            arguments: [
                session.hex, box.block, box.process?.pid,
                box.process.map { Int64(bitPattern: $0.startTime) }, Data(box.nonce),
                Int64(bitPattern: box.logOffset), Int64(bitPattern: box.inputBase),
                Data(box.pendingInput), box.inputEnd.map { Int64(bitPattern: $0) },
                try encode(box.machine), box.bootID, try box.isolation.map(encode),
                try box.egressPorts.map(encode), try box.resources.map(encode),
            ])
    }

    static func insert(_ event: WireEvent, session: SessionID, _ db: Database) throws {
        try db.execute(
            sql: "INSERT INTO event (session_id, seq, turn, type, data) VALUES (?, ?, ?, ?, ?)",
            arguments: [
                session.hex, event.seq, event.turn, event.type.rawValue,
                try WireCoding.encoder().encode(event),
            ])
    }

    static func addParticipant(_ user: WireUser, session: SessionID, _ db: Database) throws {
        try db.execute(
            sql: """
                INSERT INTO participant (session_id, uid, name, first_at)
                VALUES (?, ?, ?, (SELECT coalesce(max(first_at), 0) + 1 FROM participant WHERE session_id = ?))
                ON CONFLICT (session_id, uid) DO NOTHING
                """,
            arguments: [session.hex, Int64(user.uid), user.name, session.hex])
    }

    /// `turn` is nil for the creation of the session.
    static func insert(
        _ key: IdempotencyKey, session: SessionID, turn: Int?, _ db: Database
    ) throws {
        try db.execute(
            sql: """
                INSERT INTO idempotency (uid, scope, key, request, session_id, turn, created_at)
                VALUES (?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                Int64(key.uid), turn == nil ? "create" : session.hex, key.key, key.request,
                session.hex, turn, Date().timeIntervalSince1970,
            ])
    }

    // MARK: - Reading

    static func session(_ row: Row) throws -> SessionRecord {
        guard let id = SessionID(hex: row["id"]), let phase = SessionPhase(rawValue: row["phase"])
        else {
            throw StoreError(.other, "a session row is not valid")
        }
        var record = SessionRecord(
            id: id, agentID: row["agent_id"], agentName: row["agent_name"],
            agentVersion: row["agent_version"], idleTimeout: row["idle_timeout"],
            creator: user(row, "creator"), createdAt: date(row["created_at"]))
        record.phase = phase
        record.reason = (row["reason"] as String?).flatMap(EndReason.init(rawValue:))
        record.title = row["title"]
        record.messages = row["messages"]
        record.lastActiveAt = date(row["last_active_at"])
        record.endedAt = (row["ended_at"] as Double?).map(date)
        record.deadline = try (row["deadline"] as Data?).map { try decode(IdleDeadline.self, $0) }
        record.lastSeq = row["last_seq"]
        record.lastTurn = row["last_turn"]
        if let edits = row["network_edits"] as Data? {
            record.networkEdits = try decode(NetworkEdits.self, edits)
        }
        if let edits = row["budget_edits"] as Data? {
            record.budgetEdits = try decode(NetworkBudget.self, edits)
        }
        return record
    }

    static func turn(_ row: Row) throws -> TurnRecord {
        var turn = TurnRecord(
            number: row["number"], content: row["content"], user: user(row, "user"),
            acceptedAt: date(row["accepted_at"]),
            acceptedBoot: try decode(BootInstant.self, row["accepted_boot"]),
            firstSeq: row["first_seq"])
        turn.outcome = try (row["outcome"] as Data?).map { try decode(TurnOutcome.self, $0) }
        turn.endedAt = (row["ended_at"] as Double?).map(date)
        turn.duration = row["duration_ms"]
        turn.outputBytes = row["output_bytes"]
        return turn
    }

    static func sandbox(_ row: Row) throws -> SandboxRecord {
        var box = SandboxRecord(
            block: row["block"], machine: try decode(AgentMachine.self, row["machine"]))
        if let pid = row["pid"] as Int32?, let start = row["start_time"] as Int64? {
            box.process = ProcessIdentity(pid: pid, startTime: UInt64(bitPattern: start))
        }
        box.bootID = row["boot_id"]
        box.isolation = try (row["isolation"] as Data?).map { try decode(Isolation.self, $0) }
        box.egressPorts = try (row["egress_ports"] as Data?).map { try decode([UInt16].self, $0) }
        box.resources = try (row["resources"] as Data?).map { try decode(ResourceState.self, $0) }
        box.nonce = [UInt8](row["nonce"] as Data)
        box.logOffset = UInt64(bitPattern: row["log_offset"] as Int64)
        box.inputBase = UInt64(bitPattern: row["input_base"] as Int64)
        box.pendingInput = [UInt8](row["pending_input"] as Data)
        box.inputEnd = (row["input_end"] as Int64?).map { UInt64(bitPattern: $0) }
        return box
    }

    static func user(_ row: Row, _ prefix: String) -> WireUser {
        WireUser(uid: UInt32(row["\(prefix)_uid"] as Int64), name: row["\(prefix)_name"])
    }

    static func date(_ seconds: Double) -> Date { Date(timeIntervalSince1970: seconds) }
}
