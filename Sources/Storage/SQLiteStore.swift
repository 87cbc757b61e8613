internal import API
internal import AgentProtocols
public import Foundation
internal import GRDB
internal import Sandbox
public import Sessions
internal import Settings

/// The session store in one SQLite file (WAL). Lifecycle changes are flushed to the disk before a
/// call returns; streamed events survive a crash of the process, not a power cut (`PRAGMA
/// synchronous`).
public final class SQLiteStore: SessionStore {
    let pool: DatabasePool
    private let group: GroupCommit

    /// Opens or creates the database at `path` and brings its schema up to date.
    public init(path: String) throws(StoreError) {
        var configuration = Configuration()
        configuration.busyMode = .timeout(10)
        configuration.maximumReaderCount = 8
        configuration.prepareDatabase { db in
            try db.execute(sql: "PRAGMA synchronous = NORMAL")
            try db.execute(sql: "PRAGMA foreign_keys = ON")
            try db.execute(sql: "PRAGMA journal_size_limit = 67108864")
            // What is deleted is gone from the file as well.
            try db.execute(sql: "PRAGMA secure_delete = ON")
        }
        do {
            pool = try DatabasePool(path: path, configuration: configuration)
            let migrator = Schema.migrator
            if try pool.read({ try migrator.hasBeenSuperseded($0) }) {
                throw StoreError(
                    .newerVersion,
                    "\(path) was written by a newer version of superserve; use that version")
            }
            try migrator.migrate(pool)
            group = GroupCommit(pool)
        } catch let error as StoreError {
            throw error
        } catch {
            throw Self.error(error, "\(path)")
        }
    }

    /// Closes the file; later calls fail.
    public func close() { try? pool.close() }

    /// Writes what the log has into the file and empties the log.
    public func checkpoint() async throws(StoreError) {
        do {
            _ = try await pool.writeWithoutTransaction { try $0.checkpoint(.truncate) }
        } catch {
            throw Self.error(error, "database")
        }
    }

    static func error(_ error: any Error, _ what: String) -> StoreError {
        if let error = error as? StoreError { return error }
        guard let database = error as? DatabaseError else {
            return StoreError(.other, "\(what): \(error)")
        }
        switch database.resultCode.primaryResultCode {
        case .SQLITE_FULL: return StoreError(.storage, "\(what): the disk is full")
        case .SQLITE_IOERR, .SQLITE_READONLY, .SQLITE_CANTOPEN, .SQLITE_CORRUPT, .SQLITE_NOTADB:
            return StoreError(.storage, "\(what): \(database.message ?? "input/output error")")
        // Not the statement: it would tell clients about the schema.
        default:
            let code = database.extendedResultCode
            return StoreError(.other, "\(what): \(database.message ?? "error") (\(code))")
        }
    }

    func read<T: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> T
    ) async throws(StoreError) -> T {
        do {
            return try await pool.read(body)
        } catch {
            throw Self.error(error, "database")
        }
    }

    /// One transaction; `durable` ones are on the disk when this returns.
    func write<T: Sendable>(
        durable: Bool = true, _ body: @escaping @Sendable (Database) throws -> T
    ) async throws(StoreError) -> T {
        do {
            return try await pool.writeWithoutTransaction { db in
                if durable { try db.execute(sql: "PRAGMA synchronous = FULL") }
                defer { if durable { try? db.execute(sql: "PRAGMA synchronous = NORMAL") } }
                var result: T?
                try db.inTransaction(.immediate) {
                    result = try body(db)
                    return .commit
                }
                guard let result else { throw StoreError(.other, "the transaction had no result") }
                return result
            }
        } catch {
            throw Self.error(error, "database")
        }
    }

    // MARK: - Sessions

    public func create(
        _ session: SessionRecord, sandbox: SandboxRecord, blocks: Int, key: IdempotencyKey?
    ) async throws(StoreError) -> SandboxRecord {
        try await write { db in
            let block = try Int.fetchOne(
                db,
                sql: """
                    SELECT CASE WHEN NOT EXISTS (SELECT 1 FROM sandbox WHERE block = 0) THEN 0
                    ELSE (SELECT min(block) + 1 FROM sandbox s
                          WHERE NOT EXISTS (SELECT 1 FROM sandbox t WHERE t.block = s.block + 1)) END
                    """)
            guard let block, block < blocks else {
                throw StoreError(.noBlock, "all \(blocks) id blocks are in use")
            }
            var sandbox = sandbox
            sandbox.block = block
            try Rows.upsert(session, db)
            try Rows.upsert(sandbox, session: session.id, db)
            try Rows.addParticipant(session.creator, session: session.id, db)
            if let key { try Rows.insert(key, session: session.id, turn: nil, db) }
            return sandbox
        }
    }

    public func commit(_ change: SessionChange) async throws(StoreError) {
        try await group.commit(change)
    }

    public func remove(_ id: SessionID) async throws(StoreError) {
        try await write { db in
            try db.execute(sql: "DELETE FROM sandbox WHERE session_id = ?", arguments: [id.hex])
            try db.execute(sql: "DELETE FROM session WHERE id = ?", arguments: [id.hex])
        }
    }

    public func outcome(
        of key: IdempotencyKey, session: SessionID?
    ) async throws(StoreError) -> IdempotencyKey.Outcome? {
        try await read { db in
            try Row.fetchOne(
                db,
                sql: """
                    SELECT request, session_id, turn FROM idempotency
                    WHERE uid = ? AND scope = ? AND key = ?
                    """, arguments: [Int64(key.uid), session?.hex ?? "create", key.key]
            ).flatMap { row in
                SessionID(hex: row["session_id"]).map {
                    IdempotencyKey.Outcome(request: row["request"], session: $0, turn: row["turn"])
                }
            }
        }
    }

    public func purgeKeys(before date: Date) async throws(StoreError) {
        try await write { db in
            try db.execute(
                sql: "DELETE FROM idempotency WHERE created_at < ?",
                arguments: [date.timeIntervalSince1970])
        }
    }

    public func purgeArchives(before date: Date) async throws(StoreError) {
        let limit = date.timeIntervalSince1970
        try await write { db in
            for table in ["event", "turn"] {
                try db.execute(
                    sql: """
                        DELETE FROM \(table) WHERE session_id IN
                            (SELECT id FROM session WHERE phase = 'timeout' AND ended_at < ?)
                        """, arguments: [limit])
            }
        }
    }
}
