internal import API
internal import Foundation
internal import GRDB
public import Sessions
internal import Settings

extension SQLiteStore {
    private static func version(_ row: Row) throws -> AgentVersion {
        guard let origin = AgentVersion.Origin(rawValue: row["origin"]) else {
            throw StoreError(.other, "an agent row is not valid")
        }
        var version = AgentVersion(
            agentID: row["agent_id"], version: row["version"],
            definition: try Rows.decode(AgentDefinition.self, row["definition"]), origin: origin,
            sourcePath: row["source_path"], fingerprint: row["fingerprint"],
            trusted: row["trusted"],
            createdAt: Rows.date(row["created_at"]),
            firstCreatedAt: Rows.date(row["first_created_at"]))
        if origin == .deployed { version.deployedBy = Rows.user(row, "deployed") }
        return version
    }

    public func newestAgent(
        name: String, origin: AgentVersion.Origin
    ) async throws(StoreError) -> AgentVersion? {
        try await read { db in
            try Row.fetchOne(
                db,
                sql: """
                    SELECT * FROM agent_version WHERE name = ? AND origin = ? AND deleted = 0
                    ORDER BY version DESC LIMIT 1
                    """, arguments: [name, origin.rawValue]
            ).map(Self.version)
        }
    }

    public func agentVersion(id: String, version: Int) async throws(StoreError) -> AgentVersion? {
        try await read { db in
            try Row.fetchOne(
                db, sql: "SELECT * FROM agent_version WHERE agent_id = ? AND version = ?",
                arguments: [id, version]
            ).map(Self.version)
        }
    }

    public func agents(origin: AgentVersion.Origin) async throws(StoreError) -> [AgentVersion] {
        try await read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT * FROM agent_version v WHERE deleted = 0 AND origin = ? AND version =
                        (SELECT max(version) FROM agent_version w WHERE w.agent_id = v.agent_id)
                    ORDER BY name
                    """, arguments: [origin.rawValue]
            ).map(Self.version)
        }
    }

    public func sourcePaths() async throws(StoreError) -> Set<String> {
        try await read { db in
            try String.fetchSet(
                db, sql: "SELECT source_path FROM agent_version WHERE source_path IS NOT NULL")
        }
    }

    public func insert(_ agent: AgentVersion) async throws(StoreError) {
        try await write { db in
            try db.execute(
                sql: """
                    INSERT INTO agent_version (agent_id, version, name, origin, trusted, definition,
                        source_path, fingerprint, created_at, first_created_at, deployed_uid,
                        deployed_name)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    agent.agentID, agent.version, agent.definition.name, agent.origin.rawValue,
                    agent.trusted, try Rows.encode(agent.definition), agent.sourcePath,
                    agent.fingerprint, agent.createdAt.timeIntervalSince1970,
                    agent.firstCreatedAt.timeIntervalSince1970,
                    agent.deployedBy.map { Int64($0.uid) }, agent.deployedBy?.name,
                ])
        }
    }

    public func deleteAgent(name: String) async throws(StoreError) {
        try await write { db in
            try db.execute(
                sql: """
                    DELETE FROM secret WHERE agent_id IN
                        (SELECT agent_id FROM agent_version
                         WHERE name = ? AND origin = 'deployed' AND deleted = 0)
                    """, arguments: [name])
            try db.execute(
                sql: "UPDATE agent_version SET deleted = 1 WHERE name = ? AND origin = 'deployed'",
                arguments: [name])
        }
    }

    public func liveSessions(agentID: String) async throws(StoreError) -> Int {
        try await read { db in
            try Int.fetchOne(
                db,
                sql: """
                    SELECT count(*) FROM session WHERE agent_id = ?
                    AND phase IN ('creating', 'idle', 'active')
                    """, arguments: [agentID]) ?? 0
        }
    }

    /// A version row stays as long as any session names it; its source copy only while one is live.
    public func dropUnusedVersions() async throws(StoreError) -> [AgentVersion] {
        try await write { db in
            let unused = try Row.fetchAll(
                db,
                sql: """
                    SELECT * FROM agent_version v
                    WHERE (deleted = 1 OR version < (SELECT max(version) FROM agent_version w
                                                     WHERE w.agent_id = v.agent_id))
                    AND NOT EXISTS (SELECT 1 FROM session s WHERE s.agent_id = v.agent_id
                        AND s.agent_version = v.version AND s.phase IN ('creating', 'idle', 'active'))
                    AND (source_path IS NOT NULL OR NOT EXISTS (SELECT 1 FROM session s
                        WHERE s.agent_id = v.agent_id AND s.agent_version = v.version))
                    """
            ).map(Self.version)
            for version in unused {
                let key: StatementArguments = [version.agentID, version.version]
                try db.execute(
                    sql:
                        "UPDATE agent_version SET source_path = NULL WHERE agent_id = ? AND version = ?",
                    arguments: key)
                try db.execute(
                    sql: """
                        DELETE FROM agent_version WHERE agent_id = ?1 AND version = ?2 AND NOT EXISTS
                        (SELECT 1 FROM session WHERE agent_id = ?1 AND agent_version = ?2)
                        """, arguments: key)
            }
            return unused
        }
    }
}
