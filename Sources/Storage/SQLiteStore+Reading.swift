public import API
internal import Foundation
internal import GRDB
public import Sessions
public import Settings

extension SQLiteStore {
    public func session(_ id: SessionID) async throws(StoreError) -> SessionRecord? {
        try await read { db in
            try Row.fetchOne(db, sql: "SELECT * FROM session WHERE id = ?", arguments: [id.hex])
                .map(Rows.session)
        }
    }

    public func sandbox(_ id: SessionID) async throws(StoreError) -> SandboxRecord? {
        try await read { db in
            try Row.fetchOne(
                db, sql: "SELECT * FROM sandbox WHERE session_id = ?", arguments: [id.hex]
            )
            .map(Rows.sandbox)
        }
    }

    public func networkUsage(_ id: SessionID) async throws(StoreError) -> NetworkUsage? {
        try await read { db in
            try Data.fetchOne(
                db, sql: "SELECT usage FROM network_usage WHERE session_id = ?", arguments: [id.hex]
            ).map { try Rows.decode(NetworkUsage.self, $0) }
        }
    }

    public func save(_ usage: [SessionID: NetworkUsage]) async throws(StoreError) {
        try await write(durable: false) { db in
            for (id, usage) in usage { try Rows.upsert(usage, session: id, db) }
        }
    }

    public func turn(_ id: SessionID, number: Int) async throws(StoreError) -> TurnRecord? {
        try await read { db in
            try Row.fetchOne(
                db, sql: "SELECT * FROM turn WHERE session_id = ? AND number = ?",
                arguments: [id.hex, number]
            ).map(Rows.turn)
        }
    }

    public func turns(_ id: SessionID, after: Int, limit: Int) async throws(StoreError)
        -> [TurnRecord]
    {
        try await read { db in
            try Row.fetchAll(
                db,
                sql:
                    """
                    SELECT * FROM turn WHERE session_id = ? AND number > ? ORDER BY number LIMIT ?
                    """,
                arguments: [id.hex, after, limit]
            ).map(Rows.turn)
        }
    }

    public func participants(_ id: SessionID) async throws(StoreError) -> [WireUser] {
        try await read { db in
            try Row.fetchAll(
                db,
                sql:
                    "SELECT uid, name FROM participant WHERE session_id = ? ORDER BY first_at LIMIT 1000",
                arguments: [id.hex]
            ).map { WireUser(uid: UInt32($0["uid"] as Int64), name: $0["name"]) }
        }
    }

    /// Bytes of events after which a page ends.
    private static let pageBytes = 256 << 10

    public func events(_ id: SessionID, after: Int64, limit: Int) async throws(StoreError)
        -> [WireEvent]
    {
        try await read { db in
            let decoder = WireCoding.decoder()
            let rows = try Data.fetchCursor(
                db,
                sql: "SELECT data FROM event WHERE session_id = ? AND seq > ? ORDER BY seq LIMIT ?",
                arguments: [id.hex, after, limit])
            var events: [WireEvent] = []
            var room = Self.pageBytes
            while room > 0, let data = try rows.next() {
                events.append(try decoder.decode(WireEvent.self, from: data))
                room -= data.count
            }
            return events
        }
    }

    public func answer(_ id: SessionID, turn: Int, limit: Int) async throws(StoreError) -> String {
        try await read { db in
            let decoder = WireCoding.decoder()
            let rows = try Data.fetchCursor(
                db,
                sql: """
                    SELECT data FROM event WHERE session_id = ? AND type = 'message.delta' AND turn = ?
                    AND seq >= (SELECT first_seq FROM turn WHERE session_id = ? AND number = ?)
                    ORDER BY seq
                    """, arguments: [id.hex, turn, id.hex, turn])
            var text = ""
            while text.utf8.count < limit, let data = try rows.next() {
                text += try decoder.decode(WireEvent.self, from: data).content ?? ""
            }
            return text
        }
    }

    public func list(
        _ query: SessionQuery
    ) async throws(StoreError) -> (sessions: [SessionRecord], total: Int) {
        // A session that is being made is nobody's yet.
        var conditions = ["phase != 'creating'"]
        var values: [(any DatabaseValueConvertible)?] = []
        if let uid = query.participant {
            conditions.append("id IN (SELECT session_id FROM participant WHERE uid = ?)")
            values.append(Int64(uid))
        }
        if let agent = query.agent {
            conditions.append("agent_name = ?")
            values.append(agent)
        }
        switch query.status {
        case let status?:
            conditions.append("phase = ?")
            values.append(status.rawValue)
        case nil: break
        }
        let filter = "WHERE " + conditions.joined(separator: " AND ")
        let arguments = StatementArguments(values)
        let limit = query.limit
        return try await read { db in
            let rows = try Row.fetchAll(
                db,
                sql:
                    "SELECT * FROM session \(filter) ORDER BY last_active_at DESC, id LIMIT \(limit)",
                arguments: arguments)
            let total = try Int.fetchOne(
                db, sql: "SELECT count(*) FROM session \(filter)", arguments: arguments)
            return (try rows.map(Rows.session), total ?? 0)
        }
    }

    public func matches(
        prefix: String, participant: UInt32?, limit: Int
    ) async throws(StoreError) -> [SessionID] {
        let own =
            participant == nil
            ? "" : "AND id IN (SELECT session_id FROM participant WHERE uid = ?3)"
        return try await read { db in
            var arguments: StatementArguments = [prefix, prefix + "g"]
            if let participant { arguments += [Int64(participant)] }
            return try String.fetchAll(
                db,
                sql:
                    """
                    SELECT id FROM session WHERE id >= ?1 AND id < ?2 AND phase != 'creating' \(own)
                    ORDER BY id LIMIT \(limit)
                    """,
                arguments: arguments
            ).compactMap(SessionID.init(hex:))
        }
    }

    public func withSandbox() async throws(StoreError) -> [SessionID] {
        try await read { db in
            try String.fetchAll(db, sql: "SELECT session_id FROM sandbox").compactMap(
                SessionID.init(hex:))
        }
    }
}
