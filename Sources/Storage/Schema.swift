internal import GRDB
internal import Sessions

/// The database's tables, as named migrations that are never changed once released. Catalogue
/// tables (agents, sessions, turns, events, participants) and the node-local one (sandboxes) refer
/// to each other only by session id.
enum Schema {
    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1-sessions") { db in
            try agents(db)
            try sessions(db)
            try turnsAndEvents(db)
            try sandboxes(db)
        }
        migrator.registerMigration("2-boots-and-keys") { db in
            try bootsAndKeys(db)
            FaultPoint.migration()
        }
        migrator.registerMigration("3-network") { db in
            try db.execute(
                sql: """
                    ALTER TABLE session ADD COLUMN network_edits BLOB;
                    ALTER TABLE sandbox ADD COLUMN egress_ports BLOB;
                    """)
        }
        migrator.registerMigration("4-secrets") { db in try secrets(db) }
        migrator.registerMigration("5-network-usage") { db in try networkUsage(db) }
        migrator.registerMigration("6-limits") { db in try limits(db) }
        return migrator
    }

    /// Keys of agents, sealed.
    private static func secrets(_ db: Database) throws {
        try db.execute(
            sql: """
                CREATE TABLE secret (
                    agent_id TEXT NOT NULL CHECK (length(agent_id) = 20),
                    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
                    binding TEXT NOT NULL,
                    sealed BLOB NOT NULL,
                    changed_at REAL NOT NULL,
                    changed_uid INTEGER NOT NULL,
                    changed_name TEXT NOT NULL,
                    PRIMARY KEY (agent_id, name)
                ) STRICT, WITHOUT ROWID;
                """)
    }

    private static func agents(_ db: Database) throws {
        try db.execute(
            sql: """
                CREATE TABLE agent_version (
                    agent_id TEXT NOT NULL CHECK (length(agent_id) = 20),
                    version INTEGER NOT NULL CHECK (version >= 1),
                    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
                    origin TEXT NOT NULL CHECK (origin IN ('shipped', 'operator', 'deployed')),
                    trusted INTEGER NOT NULL CHECK (trusted IN (0, 1)),
                    definition BLOB NOT NULL,
                    source_path TEXT,
                    fingerprint TEXT NOT NULL,
                    created_at REAL NOT NULL,
                    first_created_at REAL NOT NULL,
                    deployed_uid INTEGER,
                    deployed_name TEXT,
                    deleted INTEGER NOT NULL DEFAULT 0 CHECK (deleted IN (0, 1)),
                    CHECK ((origin = 'deployed') = (deployed_uid IS NOT NULL)),
                    CHECK ((deployed_uid IS NULL) = (deployed_name IS NULL)),
                    PRIMARY KEY (agent_id, version)
                ) STRICT;
                CREATE INDEX agent_version_by_name ON agent_version (name, version);
                """)
    }

    private static func sessions(_ db: Database) throws {
        try db.execute(
            sql: """
                CREATE TABLE session (
                    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 32),
                    agent_id TEXT NOT NULL,
                    agent_name TEXT NOT NULL,
                    agent_version INTEGER NOT NULL,
                    phase TEXT NOT NULL CHECK (phase IN ('creating', 'idle', 'active', 'ended', 'timeout')),
                    reason TEXT,
                    title TEXT CHECK (length(title) <= 200),
                    messages INTEGER NOT NULL CHECK (messages >= 0),
                    created_at REAL NOT NULL,
                    last_active_at REAL NOT NULL,
                    ended_at REAL,
                    idle_timeout INTEGER NOT NULL CHECK (idle_timeout > 0),
                    deadline BLOB,
                    creator_uid INTEGER NOT NULL,
                    creator_name TEXT NOT NULL,
                    last_seq INTEGER NOT NULL CHECK (last_seq >= 0),
                    last_turn INTEGER NOT NULL CHECK (last_turn >= 0),
                    CHECK ((phase IN ('ended', 'timeout')) = (ended_at IS NOT NULL)),
                    CHECK ((phase = 'idle') = (deadline IS NOT NULL)),
                    FOREIGN KEY (agent_id, agent_version) REFERENCES agent_version (agent_id, version)
                ) STRICT;
                CREATE INDEX session_by_activity ON session (last_active_at DESC);
                CREATE TABLE participant (
                    session_id TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
                    uid INTEGER NOT NULL,
                    name TEXT NOT NULL,
                    first_at INTEGER NOT NULL,
                    PRIMARY KEY (session_id, uid)
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX participant_by_uid ON participant (uid, session_id);
                """)
    }

    private static func turnsAndEvents(_ db: Database) throws {
        try db.execute(
            sql: """
                CREATE TABLE turn (
                    session_id TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
                    number INTEGER NOT NULL CHECK (number >= 1),
                    content TEXT NOT NULL,
                    user_uid INTEGER NOT NULL,
                    user_name TEXT NOT NULL,
                    accepted_at REAL NOT NULL,
                    accepted_boot BLOB NOT NULL,
                    first_seq INTEGER NOT NULL,
                    outcome BLOB,
                    ended_at REAL,
                    duration_ms INTEGER,
                    output_bytes INTEGER NOT NULL,
                    CHECK ((outcome IS NULL) = (ended_at IS NULL)),
                    PRIMARY KEY (session_id, number)
                ) STRICT;
                CREATE UNIQUE INDEX turn_running ON turn (session_id) WHERE outcome IS NULL;
                CREATE TABLE event (
                    session_id TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
                    seq INTEGER NOT NULL CHECK (seq >= 1),
                    turn INTEGER,
                    type TEXT NOT NULL,
                    data BLOB NOT NULL,
                    PRIMARY KEY (session_id, seq)
                ) STRICT, WITHOUT ROWID;
                CREATE UNIQUE INDEX event_terminal ON event (session_id, turn)
                    WHERE type IN ('run.completed', 'run.failed', 'run.cancelled');
                """)
    }

    /// The boot that a process belongs to, what protects a session; counts of the agent's machine;
    /// requests that clients may repeat.
    private static func bootsAndKeys(_ db: Database) throws {
        try db.execute(
            sql: """
                ALTER TABLE sandbox ADD COLUMN boot_id TEXT;
                ALTER TABLE sandbox ADD COLUMN isolation BLOB;
                UPDATE sandbox SET machine = CAST(json_set(
                    CAST(machine AS TEXT), '$.turnNumber', 0, '$.backgroundBytes', 0) AS BLOB);
                CREATE TABLE idempotency (
                    uid INTEGER NOT NULL,
                    scope TEXT NOT NULL,
                    key TEXT NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
                    request TEXT NOT NULL CHECK (length(request) <= 4096),
                    session_id TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
                    turn INTEGER,
                    created_at REAL NOT NULL,
                    CHECK ((scope = 'create') = (turn IS NULL)),
                    PRIMARY KEY (uid, scope, key)
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX idempotency_by_age ON idempotency (created_at);
                CREATE INDEX idempotency_by_session ON idempotency (session_id);
                """)
    }

    /// What sessions have used of the network, and what was changed in their budgets.
    private static func networkUsage(_ db: Database) throws {
        try db.execute(
            sql: """
                ALTER TABLE session ADD COLUMN budget_edits BLOB;
                CREATE TABLE network_usage (
                    session_id TEXT NOT NULL PRIMARY KEY REFERENCES session (id) ON DELETE CASCADE,
                    usage BLOB NOT NULL
                ) STRICT, WITHOUT ROWID;
                """)
    }

    /// What a session may use, and has used.
    private static func limits(_ db: Database) throws {
        try db.execute(sql: "ALTER TABLE sandbox ADD COLUMN resources BLOB")
    }

    private static func sandboxes(_ db: Database) throws {
        try db.execute(
            sql: """
                CREATE TABLE sandbox (
                    session_id TEXT NOT NULL PRIMARY KEY,
                    block INTEGER NOT NULL UNIQUE CHECK (block >= 0),
                    pid INTEGER,
                    start_time INTEGER,
                    nonce BLOB NOT NULL,
                    log_offset INTEGER NOT NULL,
                    input_base INTEGER NOT NULL,
                    pending_input BLOB NOT NULL,
                    input_end INTEGER,
                    machine BLOB NOT NULL,
                    CHECK ((pid IS NULL) = (start_time IS NULL))
                ) STRICT;
                """)
    }
}
