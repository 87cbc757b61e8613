internal import API
internal import Foundation
internal import Logging
internal import Sandbox

// The supervisor's own life: what it finds when it starts, what it does from time to time, how it
// leaves.

extension Supervisor {
    /// Finds every session again after a start: reconnects what lives, settles what does not, and
    /// removes what belongs to nobody. Sessions that cannot be reached at once do not hold up the
    /// others: after `limit` the rest goes on beside the service.
    public func recover(limit: Duration = .seconds(10)) async throws(StoreError) {
        let known = try await context.store.withSandbox()
        FaultPoint.recoveryBegun()
        // A driver works through its mailbox in order: what clients ask comes after this.
        let work = Task {
            await reconnect(known)
            await sweepTrees()
            await sweepAgents()
        }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await Self.value(of: work) }
            group.addTask { try? await Task.sleep(for: limit) }
            await group.next()
            group.cancelAll()
        }
    }

    /// The end of `work`, or of the waiting task.
    private static func value(of work: Task<Void, Never>) async {
        let (ends, end) = AsyncStream.makeStream(of: Void.self)
        Task {
            await work.value
            end.finish()
        }
        for await _ in ends {}
    }

    private func reconnect(_ sessions: [SessionID]) async {
        await withTaskGroup(of: Void.self) { group in
            for id in sessions {
                group.addTask { [self] in
                    do throws(WireError) {
                        let _: Void = try await ask(id) { .reconnect($0) }
                    } catch {
                        context.logger.error("session \(id.short) not recovered: \(error.message)")
                    }
                }
            }
        }
    }

    /// Takes up endings that could not be finished when they began.
    public func finishEndings() async {
        guard endingsWait.left == 0 else { return endingsWait.left -= 1 }
        guard let known = try? await context.store.withSandbox() else { return }
        let unfinished = known.filter { drivers[$0] == nil }
        guard !unfinished.isEmpty else { return endingsWait.next = 1 }
        endingsWait = (endingsWait.next, min(2 * endingsWait.next, 64))
        await reconnect(unfinished)
    }

    private func sweepAgents() async {
        do throws(StoreError) {
            try await catalog.dropUnused()
            try await catalog.sweep()
        } catch {
            context.logger.warning("unused agent versions: \(error)")
        }
    }

    /// Deletes session trees that no row knows.
    private func sweepTrees() async {
        let trees: [String]
        do throws(SandboxError) {
            trees = try await context.host.list()
        } catch {
            return context.logger.warning("left-over trees: \(error)")
        }
        // Rows are written before trees are made, so a row that is missing now is missing for good.
        let known: Set<String>
        do throws(StoreError) {
            known = Set(try await context.store.withSandbox().map(\.hex))
        } catch {
            return context.logger.warning("left-over trees: \(error)")
        }
        for tree in trees where !known.contains(tree) {
            FaultPoint.sweepFound()
            context.logger.notice("removing the left-over tree of session \(tree.prefix(12))")
            do throws(SandboxError) {
                if let process = try await context.host.find(session: tree) {
                    try await context.host.kill(process)
                }
                try await context.host.destroy(session: tree)
            } catch {
                context.logger.warning("tree of session \(tree.prefix(12)): \(error)")
            }
        }
    }

    /// Times out what is due. Called about twice a second.
    public func checkDeadlines() async {
        for id in context.deadlines.due(context.clock) {
            (try? await driver(id))?.mailbox.yield(.deadline)
        }
    }

    /// Deletes the history of sessions that timed out long ago.
    public func purgeArchives() async throws(StoreError) {
        let oldest = context.clock.wall.addingTimeInterval(-Double(context.limits.archiveRetention))
        try await context.store.purgeArchives(before: oldest)
        try await context.store.purgeKeys(
            before: context.clock.wall.addingTimeInterval(-IdempotencyKey.lifetime))
        try await catalog.dropUnused()
        await sweepNetworkLogs()
    }

    /// Lets every session go; agents run on and the next supervisor takes over.
    public func leave() async {
        isDraining = true
        context.hub.close()
        let entries = Array(drivers.values)
        for entry in entries { (try? await entry.loading.value)?.mailbox.finish() }
        await allAreDone()
        await saveNetworkUsage()
    }

    private func allAreDone() async {
        for id in Array(drivers.keys) { await drivers[id]?.running?.value }
    }

    /// Ends running turns as `stopped` and every process of every session; sessions stay, idle.
    public func stopAll() async {
        let entries = Array(drivers.values)
        isDraining = true
        await withTaskGroup(of: Void.self) { group in
            for entry in entries {
                group.addTask {
                    guard let driver = try? await entry.loading.value else { return }
                    let _: Void? = try? await driver.ask { .stop($0) }
                }
            }
        }
        await allAreDone()
        await saveNetworkUsage()
        context.hub.close()
    }
}
