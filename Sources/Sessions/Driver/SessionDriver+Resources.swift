internal import API
internal import AgentProtocols
internal import Logging
internal import Sandbox
internal import Settings

// What a session may use. Its control group limits memory, processes and processors by itself; time
// and disk are looked at from here, while something of the agent's runs.

extension SessionDriver {
    /// What the session may use; `turnTime` is always set.
    var resourceLimits: ResourceLimits {
        context.limits.ceilings.resources(of: agent, defaults: context.limits.defaultResources)
    }

    /// A message is accepted only while the session has something left of what it may use.
    func checkSessionLimits() async throws(WireError) {
        let limits = resourceLimits
        if limits.sessionCPU != nil, let usage = await usage() { sandbox?.resources?.see(usage) }
        let state = sandbox?.resources ?? ResourceState()
        if let most = limits.sessionCPU, state.cpu >= UInt64(most) * 1_000_000 {
            throw used("\(most) s of processor time", "session_cpu")
        }
        if let most = limits.sessionTime, state.turnsTime >= Int64(most) * 1000 {
            throw used("\(most) s", "session_time")
        }
    }

    private func used(_ amount: String, _ key: String) -> WireError {
        WireError(
            code: .limitReached,
            message: "Session '\(id.short)' has used the \(amount) that it may take ('\(key)')",
            hint: "superserve run \(record.agentName)")
    }

    /// Seconds that the running turn may take, and what it fails with then. `spent`: seconds that
    /// it has taken.
    func turnCeiling(spent: Double) -> (seconds: Double, error: WireEventError) {
        let limits = resourceLimits
        let turn = limits.turnTime ?? agent.definition.turnTimeout
        let before = Double(sandbox?.resources?.turnsTime ?? 0) / 1000
        if let most = limits.sessionTime, Double(most) - before < Double(turn) {
            let error = WireEventError(
                code: "time_limit",
                message: "The turns of the session took longer than \(most) s ('session_time')")
            return (Double(most) - before - spent, error)
        }
        let error = WireEventError(
            code: "turn_timeout", message: "The turn took longer than \(turn) s")
        return (Double(turn) - spent, error)
    }

    /// The turn counts from what is used and what is held now.
    func beginTurnResources(_ box: inout SandboxRecord) async {
        var state = box.resources ?? ResourceState()
        if let usage = await usage() { state.see(usage) }
        state.cpuAtTurn = state.cpu
        state.diskAtTurn = 0
        if state.limits.disk != nil {
            state.diskAtTurn = (try? await context.host.measure(session: id.hex)) ?? 0
        }
        box.resources = state
    }

    private func usage() async -> SandboxUsage? {
        guard sandbox?.process != nil else { return nil }
        return try? await context.host.usage(session: id.hex)
    }

    /// What the present sandbox has used is known only while it stands.
    func settleUsage() async {
        if let usage = await usage() { sandbox?.resources?.see(usage) }
    }

    // MARK: - Watching

    /// Looks at what is used from now on, until nothing of the agent's runs any more.
    func watchResources() {
        resourceToken += 1
        let limits = sandbox?.resources?.limits ?? ResourceLimits()
        guard limits.turnCPU != nil || limits.sessionCPU != nil || limits.disk != nil else {
            return
        }
        later(.resources(token: resourceToken), after: Self.fastestWatch)
    }

    private static let fastestWatch = Duration.milliseconds(50)
    private static let slowestWatch = Duration.milliseconds(500)
    /// Where nobody can tell whether anything runs.
    private static let blindWatch = Duration.seconds(2)

    /// Fails the turn, or ends what runs beside it, where a limit is exceeded.
    func checkResources() async {
        guard link != nil, record.phase.isLive, sandbox?.resources != nil else { return }
        let usage = await usage() ?? SandboxUsage()
        sandbox?.resources?.see(usage)
        if await exceedsProcessorTime() { return watchLater(Self.slowestWatch, .zero, usage) }
        let began = ContinuousClock.now
        let room = await checkDisk()
        watchLater(room ?? Self.slowestWatch, ContinuousClock.now - began, usage)
    }

    /// The more a look costs, the longer until the next one: at most a tenth of a disk's time.
    private func watchLater(_ wait: Duration, _ cost: Duration, _ usage: SandboxUsage) {
        let isBusy = turn?.outcome == nil && record.phase == .active
        // Nothing runs, so nothing is used; the next turn looks again.
        if !isBusy, usage.isPopulated == false { return }
        let isWorking = isBusy || usage.isPopulated == true
        let rest = isWorking ? wait : max(wait, Self.blindWatch)
        later(.resources(token: resourceToken), after: max(rest, cost * 9))
    }

    private func exceedsProcessorTime() async -> Bool {
        guard record.phase == .active, let state = sandbox?.resources else { return false }
        let ofTurn = state.cpu - min(state.cpu, state.cpuAtTurn)
        let limits = state.limits
        var failure: WireEventError?
        if let most = limits.turnCPU, ofTurn >= UInt64(most) * 1_000_000 {
            failure = .init(
                code: "cpu_limit",
                message: "The turn took more than \(most) s of processor time ('turn_cpu')")
        } else if let most = limits.sessionCPU, state.cpu >= UInt64(most) * 1_000_000 {
            failure = .init(
                code: "cpu_limit",
                message:
                    "The session took more than \(most) s of processor time ('session_cpu')")
        }
        guard let failure else { return false }
        log(.notice, failure.message)
        await advance(.abort(failure))
        return true
    }

    /// How long until the session could be full, if its disk takes a GiB in a second; nil where
    /// nothing limits it. A session that held more than it may when the turn began may work, but
    /// not grow.
    private func checkDisk() async -> Duration? {
        guard let state = sandbox?.resources, let most = state.limits.disk,
            let bytes = try? await context.host.measure(session: id.hex)
        else { return nil }
        let limit = max(UInt64(most), state.diskAtTurn + Self.diskSlack)
        if bytes <= limit {
            let room = Duration.milliseconds(Int64(clamping: (limit - bytes) >> 20))
            return min(max(room, Self.fastestWatch), Self.slowestWatch)
        }
        let text = ResourceLimits.text("disk", most)
        let failure = WireEventError(
            code: "disk_full",
            message: """
                The session holds \(bytes) bytes, more than the \(text) that it may ('disk'); its \
                processes were ended. The next message may delete files
                """)
        log(.notice, failure.message)
        if record.phase == .active {
            await advance(.abort(failure))
        } else if let link, let generation = sandbox?.machine.generation {
            try? await link.signal(9, generation: generation, scope: .all)
        }
        // What was held up to here is not held against the next look.
        sandbox?.resources?.diskAtTurn = bytes
        return Self.fastestWatch
    }

    /// Bytes that a session above its limit may add while it deletes: directories, a log.
    private static let diskSlack: UInt64 = 1 << 20

    // MARK: - Causes

    /// What the control group knows of the end of an agent's process that did not go well.
    func causeOfEnd(in records: [LogRecord]) async -> ResourceCause? {
        let ended = records.contains { record in
            guard case .exited(let exit) = record.event else { return false }
            return exit.signal != 0 || exit.status != 0
        }
        guard ended, let before = sandbox?.resources, let usage = await usage() else { return nil }
        sandbox?.resources?.see(usage)
        sandbox?.resources?.oomKills = usage.oomKills ?? before.oomKills
        sandbox?.resources?.pidsRefused = usage.pidsRefused ?? before.pidsRefused
        if let kills = usage.oomKills, kills > before.oomKills {
            return .memory(before.limits.memory)
        }
        if let refused = usage.pidsRefused, refused > before.pidsRefused {
            return .pids(before.limits.pids)
        }
        return nil
    }
}

/// Why an agent's process ended, as far as limits are the reason.
enum ResourceCause: Sendable {
    case memory(Int?)
    case pids(Int?)

    /// The outcome of a turn with its cause in it.
    func explain(_ outcome: TurnOutcome) -> TurnOutcome {
        guard case .failed(var error) = outcome, error.code == "agent_exited" else {
            return outcome
        }
        switch self {
        case .memory(let most):
            let limit = most.map { ": its limit is \(ResourceLimits.text("memory", $0))" } ?? ""
            error = .init(
                code: "out_of_memory",
                message: """
                    The agent's processes were ended because they used too much memory\(limit). \
                    The session and its files stay
                    """)
        case .pids(let most):
            let limit = most.map { "\($0) " } ?? ""
            error.message += " (the session's limit of \(limit)processes was reached)"
        }
        return .failed(error)
    }
}

extension DiskQuota {
    /// `disk 2GiB (quota)`: as limits are shown.
    fileprivate var text: String {
        let size = ResourceLimits.text("disk", Int(clamping: bytes))
        return "disk \(size)\(files > 0 ? " and \(files) files" : "") (quota)"
    }
}

extension ResourceState {
    /// Takes over how much processor time this sandbox has used.
    mutating func see(_ usage: SandboxUsage) {
        if let cpu = usage.cpu { cpuSeen = max(cpuSeen, cpu) }
    }

    /// For clients; `usage` is what is known of the present sandbox.
    func wire(_ usage: SandboxUsage, _ enforcement: ResourceLimits.Enforcement) -> WireLimits {
        var state = self
        state.see(usage)
        var set: [String: Int] = [:]
        for (key, path) in ResourceLimits.fields { set[key] = limits[keyPath: path] }
        let missing = notEnforced
        var wire = WireLimits(
            enforcement: enforcement.rawValue, set: set, notEnforced: missing,
            note: missing.isEmpty ? nil : self.enforcement.note)
        wire.text = limits.descriptions
        if let quota, quota.bytes > 0 {
            wire.diskQuota = WireDiskQuota(
                bytes: Int64(clamping: quota.bytes), files: Int64(clamping: quota.files))
            wire.text.removeAll { $0 == "disk hard" }
            wire.text.append(quota.text)
        }
        wire.used = WireUsage(
            cpuMs: Int64(clamping: state.cpu / 1000), turnsMs: turnsTime,
            memory: usage.memory.map(Int64.init(clamping:)),
            memoryPeak: usage.memoryPeak.map(Int64.init(clamping:)),
            pids: usage.pids.map(Int.init(clamping:)),
            pidsRefused: usage.pidsRefused.map(Int64.init(clamping:)),
            oomKills: usage.oomKills.map(Int64.init(clamping:)))
        return wire
    }
}
