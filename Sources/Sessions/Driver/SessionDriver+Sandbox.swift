internal import API
internal import AgentProtocols
internal import Egress
internal import Foundation
internal import Logging
internal import Sandbox
internal import Settings

// The sandbox of a session: starting, reconnecting, losing.

extension SessionDriver {
    /// Makes a new session's sandbox; on failure nothing of the session is left. Nothing happens
    /// where it has been made.
    func create() async throws(WireError) -> SessionRecord {
        guard record.phase == .creating else { return record }
        do throws(WireError) {
            try await ensureSandbox()
            let (next, _) = try transition(.created, activity: true)
            try await commit(SessionChange(next))
            FaultPoint.createDone()
            return record
        } catch {
            await removeEverything()
            mailbox.finish()
            throw error
        }
    }

    /// A connection to a living init, starting the sandbox where there is none.
    func ensureSandbox() async throws(WireError) {
        guard link == nil else { return }
        guard var box = sandbox else {
            throw WireError(code: .internal, message: "Session '\(id.short)' has no sandbox")
        }
        if try await reachesLiving(box) { return }
        do throws(SandboxError) {
            try await killInit(box)
            box.nonce = RandomID.bytes(16)
            box.process = nil
            var plan = SandboxPlan(
                session: id.hex, block: box.block, nonce: box.nonce, linger: context.limits.linger)
            plan.source = agent.sourcePath
            try context.limits.ceilings.apply(to: &plan, agent: agent)
            let limits = resourceLimits
            plan.limits = limits.sandboxLimits(context.limits.enforcement)
            plan.needsDiskQuota = limits.needsDiskQuota == true
            plan.egressPorts = egressPorts
            box.egressPorts = plan.egressPorts
            let started = try await context.host.start(plan)
            FaultPoint.sandboxStarted()
            let process = started.process
            box.process = process
            var resources = box.resources ?? ResourceState()
            resources.began(limits, started)
            box.resources = resources
            box.bootID = context.clock.boot.bootID
            box.logOffset = 0
            box.inputBase = 0
            box.pendingInput = []
            box.inputEnd = nil
            _ = box.machine.handle(
                .sandboxLost(.init(code: "sandbox_lost", message: "The sandbox was started anew")),
                now: now)
            sandbox = box
            try await attach(process)
            try await installAuthority()
        } catch {
            if let box = sandbox { try? await killInit(box) }
            sandbox?.process = nil
            throw WireError(
                code: .sandboxFailed,
                message: "The sandbox of session '\(id.short)' could not be started: \(error)",
                hint: error.code == .disconnected ? "superserve supervisor start" : nil)
        }
        var change = SessionChange(record)
        change.sandbox = sandbox
        try await commit(change)
        FaultPoint.sandboxStored()
    }

    /// The init that the store knows, unless the machine was restarted since. A record of a
    /// version that did not write the boot down is believed: start time and nonce still tell
    /// processes apart.
    private func processOfThisBoot(_ box: SandboxRecord) -> ProcessIdentity? {
        guard let boot = box.bootID, boot != context.clock.boot.bootID else { return box.process }
        return nil
    }

    /// Connects to an init that runs already. False where there is none; throws when it is there
    /// and cannot be reached at the moment.
    private func reachesLiving(_ box: SandboxRecord) async throws(WireError) -> Bool {
        guard let process = processOfThisBoot(box) else { return false }
        do throws(SandboxError) {
            try await attachAndResume(process)
            return true
        } catch {
            if error.isLost { return false }
            throw WireError(
                code: .sandboxFailed,
                message: "The sandbox of session '\(id.short)' cannot be reached now: \(error)")
        }
    }

    /// Gives up the connection; what comes on it later is ignored, and init keeps what was not
    /// acknowledged.
    func disconnect() {
        epoch += 1
        link?.close()
        link = nil
        network?.disconnected()
    }

    private func attach(_ process: ProcessIdentity) async throws(SandboxError) {
        guard let box = sandbox else { return }
        epoch += 1
        let number = epoch
        let network = openNetwork()
        let (newLink, state) = try await context.host.attach(
            session: id.hex, process: process, nonce: box.nonce
        ) { [mailbox] event in
            if SessionDriver.pass(event, to: network) { return }
            mailbox.yield(.fromInit(epoch: number, event))
        }
        link = newLink
        network?.connected(to: newLink)
        sandbox?.isolation = state.isolation
        inputAccepted = state.inputAccepted
        // Input of an agent that has ended may have been dropped before init saw it (`dropInput`):
        // what follows begins where init stands, or it would wait for the missing bytes for ever.
        let missing = box.inputBase - min(box.inputBase, state.inputAccepted)
        sandbox?.inputBase -= missing
        if let end = box.inputEnd { sandbox?.inputEnd = end - min(end, missing) }
        inputSent = state.inputAccepted
        inputEndSent = false
        try? inputProgress(state.inputAccepted)
        // What a supervisor stored and died before acknowledging fills the ring for nothing.
        try newLink.acknowledge(box.logOffset)
    }

    /// After a restart of the supervisor: finds the init that the store knows, or settles its loss.
    func reconnect() async {
        guard record.phase.isLive else { return await finishEnding() }
        if record.phase == .creating {
            await removeEverything()
            mailbox.finish()
            return
        }
        context.deadlines.set(id, record.phase == .idle ? record.deadline : nil)
        if record.phase == .active, let turn {
            let spent = Double(turn.duration ?? 0) + secondsSince(turn)
            armCeiling(seconds: turnCeiling(spent: spent).seconds)
        }
        await reattach()
    }

    /// Attempts to reach an init that is there but does not answer, a second to 32 apart.
    private static let maximumAttachAttempts = 6

    /// Connects to the session's init and goes on where the store stands. An init that is gone is
    /// settled as a lost sandbox; one that cannot be reached now is tried again.
    func reattach() async {
        guard link == nil, record.phase.isLive, !isStopped else { return }
        guard let box = sandbox, box.process != nil else { return await lostSandbox() }
        guard let process = processOfThisBoot(box) else {
            sandbox?.process = nil
            log(.notice, "the machine was restarted")
            return await lostSandbox(because: "The machine was restarted")
        }
        do throws(SandboxError) {
            try await attachAndResume(process)
            log(.info, "reconnected to init \(process.pid)")
        } catch {
            guard !error.isLost else {
                log(.notice, "the sandbox has ended: \(error)")
                return await lostSandbox()
            }
            log(.warning, "init \(process.pid) cannot be reached yet: \(error)")
            await attachLater()
        }
    }

    /// Waits longer after each attempt; gives the sandbox up after the last one.
    private func attachLater() async {
        attachAttempts += 1
        guard attachAttempts <= Self.maximumAttachAttempts else { return await lostSandbox() }
        later(.attachRetry, after: .seconds(1 << (attachAttempts - 1)))
    }

    /// Connects, and repeats what may have been lost with the last connection.
    private func attachAndResume(_ process: ProcessIdentity) async throws(SandboxError) {
        try await attach(process)
        FaultPoint.recoveryAttached()
        watchResources()
        if let effects = sandbox?.machine.resumed(), var box = sandbox {
            await act(stage(effects, in: &box) + [.pump])
        }
    }

    /// Ends the session's init: the one the store knows, and one that a supervisor started and
    /// could not write down any more.
    func killInit(_ box: SandboxRecord) async throws(SandboxError) {
        if let process = processOfThisBoot(box) {
            try await context.host.kill(process)
        }
        if let process = try await context.host.find(session: id.hex) {
            try await context.host.kill(process)
        }
    }

    private func secondsSince(_ turn: TurnRecord) -> Double {
        let boot = context.clock.boot
        guard boot.bootID == turn.acceptedBoot.bootID else { return 0 }
        return Double(boot.nanoseconds - min(boot.nanoseconds, turn.acceptedBoot.nanoseconds)) / 1e9
    }

    /// An event of the current connection.
    func take(_ event: InitEvent) async {
        switch event {
        case .records(let records):
            guard let box = sandbox, let last = records.last, last.end > box.logOffset else {
                return
            }
            attachAttempts = 0
            let new = records.filter { $0.end > box.logOffset }
            let cause = await causeOfEnd(in: new)
            await step(
                new.map { .record($0.event, generation: $0.generation) }, logOffset: last.end,
                cause: cause)
        case .inputAccepted(let offset):
            do throws(SandboxError) {
                try inputProgress(offset)
            } catch {
                log(.warning, "input: \(error)")
            }
        case .connection, .query: break  // taken where they arrive
        case .disconnected:
            disconnect()
            // At once the first time: mostly init is gone. A connection that is lost again and
            // again without a record in between is not worth a busy loop.
            if attachAttempts == 0 {
                attachAttempts = 1
                await reattach()
            } else {
                await attachLater()
            }
        }
    }

    /// Init is gone, and with it every process. Workspace and home stay; the next message starts
    /// anew.
    func lostSandbox(because cause: String = "The sandbox ended") async {
        disconnect()
        closeNetwork()
        attachAttempts = 0
        guard sandbox != nil, record.phase.isLive else { return }
        let process = sandbox.flatMap(processOfThisBoot)
        let isStop = process.map { context.host.wasStopped($0) } ?? false
        if let box = sandbox { try? await killInit(box) }
        sandbox?.process = nil
        let what = isStop ? "The launcher was stopped" : cause
        await advance(
            .sandboxLost(
                .init(
                    code: isStop ? "stopped" : "sandbox_lost",
                    message: "\(what) while the agent was answering; send the message again")))
    }

    /// For file transfers: a connection, started where need be.
    func connectedLink() async throws(WireError) -> any SandboxLink {
        guard record.phase.isLive else {
            _ = try transition(.resumed, activity: false)
            throw WireError(code: .internal, message: "Session '\(id.short)' is over")
        }
        try await ensureSandbox()
        guard let link else {
            throw WireError(code: .sandboxFailed, message: "The sandbox of '\(id.short)' is gone")
        }
        return link
    }
}
