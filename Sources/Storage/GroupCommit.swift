internal import GRDB
internal import Sessions
internal import Synchronization

/// Puts the changes of many sessions that come while the disk is busy into one transaction, so that
/// they share its flush. Each change succeeds or fails by itself; a disk that fails, fails for all.
final class GroupCommit: Sendable {
    private typealias Outcome = Result<Void, StoreError>

    private struct Item {
        let change: SessionChange
        let waiter: CheckedContinuation<Outcome, Never>
    }

    private struct State {
        var queue: [Item] = []
        var isRunning = false
    }

    /// Changes of one transaction, so that none waits long for the others.
    private static let most = 128

    private let pool: DatabasePool
    private let state = Mutex(State())

    init(_ pool: DatabasePool) { self.pool = pool }

    /// Returns when the change is committed, and on the disk where it is a durable one.
    func commit(_ change: SessionChange) async throws(StoreError) {
        let outcome: Outcome = await withCheckedContinuation { waiter in
            let mustStart = state.withLock { state in
                state.queue.append(Item(change: change, waiter: waiter))
                defer { state.isRunning = true }
                return !state.isRunning
            }
            if mustStart { Task { await work() } }
        }
        try outcome.get()
    }

    private func work() async {
        while let batch = next() {
            let outcomes = await write(batch.map(\.change))
            for (item, outcome) in zip(batch, outcomes) { item.waiter.resume(returning: outcome) }
        }
    }

    private func next() -> [Item]? {
        state.withLock { state in
            let batch = Array(state.queue.prefix(Self.most))
            state.queue.removeFirst(batch.count)
            state.isRunning = !batch.isEmpty
            return batch.isEmpty ? nil : batch
        }
    }

    private func write(_ changes: [SessionChange]) async -> [Outcome] {
        do {
            return try await pool.writeWithoutTransaction { db in
                let isDurable = changes.contains(where: \.durable)
                if isDurable { try db.execute(sql: "PRAGMA synchronous = FULL") }
                defer { if isDurable { try? db.execute(sql: "PRAGMA synchronous = NORMAL") } }
                var outcomes: [Outcome] = []
                try db.inTransaction(.immediate) {
                    outcomes = try changes.map { try Self.apply($0, db) }
                    return .commit
                }
                return outcomes
            }
        } catch {
            let failure = SQLiteStore.error(error, "database")
            return changes.map { _ in .failure(failure) }
        }
    }

    /// One change, undone alone where it is refused. Throws where the whole transaction is lost.
    private static func apply(_ change: SessionChange, _ db: Database) throws -> Outcome {
        do {
            try db.inSavepoint {
                try Rows.apply(change, db)
                return .commit
            }
            return .success(())
        } catch {
            let failure = SQLiteStore.error(error, "database")
            guard db.isInsideTransaction, failure.code != .storage else { throw error }
            return .failure(failure)
        }
    }
}
