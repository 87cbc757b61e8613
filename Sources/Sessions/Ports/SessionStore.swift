public import API
public import Foundation
public import Settings

/// One transaction of a session: its row and everything that changes with it.
public struct SessionChange: Sendable {
    public var session: SessionRecord
    /// Numbered without a gap after the events already stored; `session.lastSeq` is the last one's
    /// number.
    public var events: [WireEvent] = []
    /// The turn to insert or update.
    public var turn: TurnRecord?
    /// The sandbox row to insert or update.
    public var sandbox: SandboxRecord?
    /// The sandbox is gone: its row, and with it the id block, is free.
    public var removeSandbox = false
    /// Delete every event and turn.
    public var deleteHistory = false
    /// What it has used of the network, where that belongs to the events.
    public var networkUsage: NetworkUsage?
    /// Somebody who wrote or resumed.
    public var participant: WireUser?
    /// The request that this turn answers.
    public var key: IdempotencyKey?
    /// Flushed to the disk before the call returns; otherwise it survives a crash of the process
    /// only.
    public var durable = true

    public init(_ session: SessionRecord) { self.session = session }
}

/// What `GET /v1/sessions` selects.
public struct SessionQuery: Sendable {
    /// Only sessions this user takes part in; nil: everybody's.
    public var participant: UInt32?
    public var agent: String?
    public var status: SessionStatus?
    public var limit: Int

    public init(participant: UInt32?, agent: String?, status: SessionStatus?, limit: Int) {
        self.participant = participant
        self.agent = agent
        self.status = status
        self.limit = limit
    }
}

/// Why the store could not do what was asked.
public struct StoreError: Error, Sendable, CustomStringConvertible {
    /// Kinds that a caller can act on.
    public enum Code: Sendable {
        /// The disk is full, or a write failed.
        case storage
        /// Every id block is taken.
        case noBlock
        /// The file is of a newer version.
        case newerVersion
        /// Anything else.
        case other
    }

    public var code: Code
    public var description: String

    public init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }
}

/// The store of sessions, turns, events and agents.
public protocol SessionStore: Sendable {
    /// Inserts a new session and gives it the lowest free id block below `blocks`.
    func create(
        _ session: SessionRecord, sandbox: SandboxRecord, blocks: Int, key: IdempotencyKey?
    ) async throws(StoreError) -> SandboxRecord
    /// What became of the request with this key; `session` is nil for the creation of one.
    func outcome(
        of key: IdempotencyKey, session: SessionID?
    ) async throws(StoreError) -> IdempotencyKey.Outcome?
    func commit(_ change: SessionChange) async throws(StoreError)
    /// Removes a session that never was used.
    func remove(_ id: SessionID) async throws(StoreError)

    func session(_ id: SessionID) async throws(StoreError) -> SessionRecord?
    func sandbox(_ id: SessionID) async throws(StoreError) -> SandboxRecord?
    func networkUsage(_ id: SessionID) async throws(StoreError) -> NetworkUsage?
    /// Writes down what sessions have used; those that are gone are left out.
    func save(_ usage: [SessionID: NetworkUsage]) async throws(StoreError)
    func turn(_ id: SessionID, number: Int) async throws(StoreError) -> TurnRecord?
    func turns(_ id: SessionID, after: Int, limit: Int) async throws(StoreError) -> [TurnRecord]
    func participants(_ id: SessionID) async throws(StoreError) -> [WireUser]
    /// Events after a number, in order: at most `limit`, fewer where they are large, none only when
    /// there are none.
    func events(_ id: SessionID, after: Int64, limit: Int) async throws(StoreError) -> [WireEvent]
    /// The agent's text in a turn: its `message.delta` events joined, at most `limit` bytes.
    func answer(_ id: SessionID, turn: Int, limit: Int) async throws(StoreError) -> String
    func list(_ query: SessionQuery) async throws(StoreError) -> (
        sessions: [SessionRecord], total: Int
    )
    /// Sessions whose hex id begins with `prefix`, at most `limit`.
    func matches(prefix: String, participant: UInt32?, limit: Int) async throws(StoreError)
        -> [SessionID]
    /// Sessions that have a sandbox row.
    func withSandbox() async throws(StoreError) -> [SessionID]
    /// Ended or timed out before `date`: deletes their history.
    func purgeArchives(before date: Date) async throws(StoreError)
    /// Forgets keys of requests that came before `date`.
    func purgeKeys(before date: Date) async throws(StoreError)

    func newestAgent(name: String, origin: AgentVersion.Origin) async throws(StoreError)
        -> AgentVersion?
    func agentVersion(id: String, version: Int) async throws(StoreError) -> AgentVersion?
    func agents(origin: AgentVersion.Origin) async throws(StoreError) -> [AgentVersion]
    /// The source copies that versions refer to.
    func sourcePaths() async throws(StoreError) -> Set<String>
    func insert(_ agent: AgentVersion) async throws(StoreError)
    /// The deployed agent's name no longer resolves, its secrets are gone; versions that live
    /// sessions pin stay readable.
    func deleteAgent(name: String) async throws(StoreError)
    func liveSessions(agentID: String) async throws(StoreError) -> Int
    /// Versions that no live session and no name refers to any more; forgets them.
    func dropUnusedVersions() async throws(StoreError) -> [AgentVersion]
}
