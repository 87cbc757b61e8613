import API
import Foundation
import Sessions
import Settings
import Synchronization

/// A store whose disk is full for a while: commits that a test has asked to fail do.
final class FailingStore: SessionStore {
    private struct State {
        var failures = 0
        var until = 0
        var refused = 0
    }

    private let base: any SessionStore
    private let state = Mutex(State())

    init(_ base: any SessionStore) { self.base = base }

    /// The next `count` commits fail.
    func failNext(_ count: Int) { state.withLock { $0.failures = count } }

    /// The commit after `skipped` others fails.
    func fail(after skipped: Int) {
        state.withLock { state in
            state.until = skipped
            state.failures = 1
        }
    }

    /// Commits that have failed.
    var refused: Int { state.withLock { $0.refused } }

    func commit(_ change: SessionChange) async throws(StoreError) {
        let fails = state.withLock { state -> Bool in
            guard state.failures > 0 else { return false }
            if state.until > 0 {
                state.until -= 1
                return false
            }
            state.failures -= 1
            state.refused += 1
            return true
        }
        if fails { throw StoreError(.storage, "the disk is full") }
        try await base.commit(change)
    }

    func create(
        _ session: SessionRecord, sandbox: SandboxRecord, blocks: Int, key: IdempotencyKey?
    ) async throws(StoreError) -> SandboxRecord {
        try await base.create(session, sandbox: sandbox, blocks: blocks, key: key)
    }
    func outcome(
        of key: IdempotencyKey, session: SessionID?
    ) async throws(StoreError) -> IdempotencyKey.Outcome? {
        try await base.outcome(of: key, session: session)
    }
    func purgeKeys(before date: Date) async throws(StoreError) {
        try await base.purgeKeys(before: date)
    }
    func remove(_ id: SessionID) async throws(StoreError) { try await base.remove(id) }
    func session(_ id: SessionID) async throws(StoreError) -> SessionRecord? {
        try await base.session(id)
    }
    func sandbox(_ id: SessionID) async throws(StoreError) -> SandboxRecord? {
        try await base.sandbox(id)
    }
    func networkUsage(_ id: SessionID) async throws(StoreError) -> NetworkUsage? {
        try await base.networkUsage(id)
    }
    func save(_ usage: [SessionID: NetworkUsage]) async throws(StoreError) {
        try await base.save(usage)
    }
    func turn(_ id: SessionID, number: Int) async throws(StoreError) -> TurnRecord? {
        try await base.turn(id, number: number)
    }
    func turns(_ id: SessionID, after: Int, limit: Int) async throws(StoreError) -> [TurnRecord] {
        try await base.turns(id, after: after, limit: limit)
    }
    func participants(_ id: SessionID) async throws(StoreError) -> [WireUser] {
        try await base.participants(id)
    }
    func events(
        _ id: SessionID, after: Int64, limit: Int
    ) async throws(StoreError) -> [WireEvent] {
        try await base.events(id, after: after, limit: limit)
    }
    func answer(_ id: SessionID, turn: Int, limit: Int) async throws(StoreError) -> String {
        try await base.answer(id, turn: turn, limit: limit)
    }
    func list(
        _ query: SessionQuery
    ) async throws(StoreError) -> (sessions: [SessionRecord], total: Int) {
        try await base.list(query)
    }
    func matches(
        prefix: String, participant: UInt32?, limit: Int
    ) async throws(StoreError) -> [SessionID] {
        try await base.matches(prefix: prefix, participant: participant, limit: limit)
    }
    func withSandbox() async throws(StoreError) -> [SessionID] { try await base.withSandbox() }
    func purgeArchives(before date: Date) async throws(StoreError) {
        try await base.purgeArchives(before: date)
    }
    func newestAgent(
        name: String, origin: AgentVersion.Origin
    ) async throws(StoreError) -> AgentVersion? {
        try await base.newestAgent(name: name, origin: origin)
    }
    func agentVersion(id: String, version: Int) async throws(StoreError) -> AgentVersion? {
        try await base.agentVersion(id: id, version: version)
    }
    func agents(origin: AgentVersion.Origin) async throws(StoreError) -> [AgentVersion] {
        try await base.agents(origin: origin)
    }
    func sourcePaths() async throws(StoreError) -> Set<String> { try await base.sourcePaths() }
    func insert(_ agent: AgentVersion) async throws(StoreError) { try await base.insert(agent) }
    func deleteAgent(name: String) async throws(StoreError) {
        try await base.deleteAgent(name: name)
    }
    func liveSessions(agentID: String) async throws(StoreError) -> Int {
        try await base.liveSessions(agentID: agentID)
    }
    func dropUnusedVersions() async throws(StoreError) -> [AgentVersion] {
        try await base.dropUnusedVersions()
    }
}
