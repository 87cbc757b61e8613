internal import API
internal import Foundation
internal import GRDB
public import Sessions

extension SQLiteStore: SecretStore {
    private static func secret(_ row: Row) -> SecretRecord {
        SecretRecord(
            agentID: row["agent_id"], name: row["name"], binding: row["binding"],
            sealed: row["sealed"], changedAt: Rows.date(row["changed_at"]),
            changedBy: Rows.user(row, "changed"))
    }

    public func secrets(of agentID: String) async throws(StoreError) -> [SecretRecord] {
        try await read { db in
            try Row.fetchAll(
                db, sql: "SELECT * FROM secret WHERE agent_id = ? ORDER BY name",
                arguments: [agentID]
            ).map(Self.secret)
        }
    }

    public func secret(
        _ name: String, of agentID: String
    ) async throws(StoreError) -> SecretRecord? {
        try await read { db in
            try Row.fetchOne(
                db, sql: "SELECT * FROM secret WHERE agent_id = ? AND name = ?",
                arguments: [agentID, name]
            ).map(Self.secret)
        }
    }

    public func put(_ secret: SecretRecord) async throws(StoreError) {
        try await write { db in
            try db.execute(
                sql: """
                    INSERT OR REPLACE INTO secret
                        (agent_id, name, binding, sealed, changed_at, changed_uid, changed_name)
                    VALUES (?, ?, ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    secret.agentID, secret.name, secret.binding, secret.sealed,
                    secret.changedAt.timeIntervalSince1970, Int64(secret.changedBy.uid),
                    secret.changedBy.name,
                ])
        }
    }

    public func removeSecret(_ name: String, of agentID: String) async throws(StoreError) -> Bool {
        try await write { db in
            try db.execute(
                sql: "DELETE FROM secret WHERE agent_id = ? AND name = ?",
                arguments: [agentID, name])
            return db.changesCount > 0
        }
    }
}
