internal import API
internal import AgentProtocols
internal import Egress
internal import Logging
internal import Sandbox

// The end of a session, and of the whole service.

extension SessionDriver {
    func end() async throws(WireError) -> SessionRecord {
        let wasTimeout = record.phase == .timeout
        let transition = try transition(.endRequested, activity: false)
        var next = transition.record
        next.reason = wasTimeout ? .archiveDeleted : .endedByUser
        do throws(WireError) {
            try await over(next, transition.effects)
        } catch {
            guard error.code == .storageFailed, transition.effects.contains(.destroySandbox) else {
                throw error
            }
            // On a full disk the workspace goes first: that may be what fills it.
            try await makeRoom(error)
            try await over(next, transition.effects)
        }
        return record
    }

    /// Deletes the sandbox of a session whose end could not be stored for want of space.
    private func makeRoom(_ cause: WireError) async throws(WireError) {
        guard let box = sandbox else { return }
        do throws(SandboxError) {
            try await takeDown(box)
        } catch {
            log(.error, "the sandbox could not be removed: \(error)")
            throw cause
        }
        sandbox?.process = nil
    }

    func checkDeadline() async {
        guard record.phase == .idle, let deadline = record.deadline,
            deadline.remaining(context.clock.boot, wall: context.clock.wall) <= 0
        else { return }
        if record.lastTurn == 0 {
            try? await discard()
            return
        }
        FaultPoint.timeoutDue()
        guard let due = try? transition(.deadlinePassed, activity: false) else { return }
        var next = due.record
        next.reason = .idleTimeout
        do throws(WireError) {
            try await over(next, due.effects)
            log(.info, "timed out after \(record.idleTimeout) s")
        } catch {
            log(.error, "timeout not stored: \(error.message)")
            context.deadlines.set(id, nil)
            later(.deadline, after: .seconds(30))
        }
    }

    /// Stores the end first, then takes the sandbox down.
    private func over(_ next: SessionRecord, _ effects: [LifecycleEffect]) async throws(WireError) {
        var next = next
        next.endedAt = context.clock.wall
        var change = SessionChange(next)
        change.deleteHistory = effects.contains(.deleteHistory)
        if !change.deleteHistory {
            change.session.lastSeq += 1
            var last = event(.sessionEnded, turn: nil)
            last.seq = change.session.lastSeq
            last.status = next.phase.status
            last.reason = next.reason?.rawValue
            change.events = [last]
        }
        try await commit(change)
        if change.deleteHistory { forgetNetwork() }
        FaultPoint.endStored()
        if effects.contains(.destroySandbox) { await finishEnding() }
        FaultPoint.endDone()
        mailbox.finish()
    }

    /// Kills what lives and deletes what is on disk; repeated at the next start if it fails.
    func finishEnding() async {
        guard let box = sandbox else { return mailbox.finish() }
        do throws(SandboxError) {
            try await takeDown(box)
            FaultPoint.endDestroyed()
            var change = SessionChange(record)
            change.removeSandbox = true
            try? await commit(change)
        } catch {
            log(.error, "the sandbox could not be removed yet: \(error)")
        }
        mailbox.finish()
    }

    private func takeDown(_ box: SandboxRecord) async throws(SandboxError) {
        disconnect()
        closeNetwork()
        try await killInit(box)
        FaultPoint.endKilled()
        try await context.host.destroy(session: id.hex)
    }

    /// Removes a session that never got a message.
    func discard() async throws(WireError) {
        guard record.lastTurn == 0, record.phase.isLive else {
            throw WireError(
                code: .badRequest, message: "Session '\(id.short)' has messages and is not removed",
                hint: "superserve sessions end \(id.short)")
        }
        await removeEverything()
        mailbox.finish()
    }

    func removeEverything() async {
        context.deadlines.set(id, nil)
        do {
            if let box = sandbox { try await takeDown(box) }
            FaultPoint.discardDestroyed()
            try await context.store.remove(id)
        } catch {
            log(.error, "could not be removed yet: \(error)")
        }
        context.hub.wake(id)
    }

    /// The whole service stops: the turn fails as `stopped`, every process ends, the session stays.
    func stop() async {
        isStopped = true
        if record.phase == .active {
            await advance(.abort(.init(code: "stopped", message: "The supervisor was stopped")))
        }
        if let process = sandbox?.process {
            await settleUsage()
            disconnect()
            closeNetwork()
            try? await context.host.kill(process)
            sandbox?.process = nil
            _ = sandbox?.machine.handle(
                .sandboxLost(.init(code: "stopped", message: "The supervisor was stopped")),
                now: now)
            var change = SessionChange(record)
            change.sandbox = sandbox
            try? await commit(change)
        }
        mailbox.finish()
    }
}
