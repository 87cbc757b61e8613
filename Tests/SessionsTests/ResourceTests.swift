import API
import Sandbox
import Sessions
import Settings
import Synchronization
import Testing

/// Limits of processor time, time and disk, and what is said of those that the kernel enforces.
@Suite("Limits of sessions", .timeLimit(.minutes(1)))
struct ResourceTests {
    /// A turn of an agent with these limits, in which the host says what `happens`.
    private func failure(
        _ limits: String, _ happens: @Sendable @escaping (TestHost, String) -> Void
    ) async throws -> WireEventError? {
        let error = Mutex<WireEventError?>(nil)
        try await World.with("command: [x]\nlimits: {\(limits)}") { world, supervisor in
            let record = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            let (id, turn) = try await supervisor.send(
                record.id.hex, to: "go", caller: world.alice)
            world.host.log(id.hex, .stdout(Array("{\"type\":\"ready\"}\n".utf8)))
            happens(world.host, id.hex)
            let events = try await world.events(supervisor, id, turn: turn.number)
            #expect(events.last?.type == .runFailed)
            error.withLock { $0 = events.last?.error }
        }
        return error.withLock { $0 }
    }

    @Test func processorTimeOfATurn() async throws {
        let error = try await failure("turn_cpu: 2") { host, _ in
            host.state.withLock { $0.usage.cpu = 2_000_001 }
        }
        #expect(error?.code == "cpu_limit")
        #expect(error?.message.contains("'turn_cpu'") == true)
    }

    @Test func diskIsFullAndMayBeEmptied() async throws {
        try await World.with("command: [x]\nlimits: {disk: 1MiB}") { world, supervisor in
            let record = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            let (id, turn) = try await supervisor.send(
                record.id.hex, to: "go", caller: world.alice)
            world.host.log(id.hex, .stdout(Array("{\"type\":\"ready\"}\n".utf8)))
            world.host.state.withLock { $0.bytes = 5 << 20 }
            let events = try await world.events(supervisor, id, turn: turn.number)
            #expect(events.last?.error?.code == "disk_full")
            world.host.log(id.hex, .exited(AgentExit(status: -1, signal: 9)))
            // Above its limit, the session may work as long as it does not grow.
            let (_, second) = try await supervisor.send(
                record.id.hex, to: "rm", caller: world.alice)
            world.host.log(id.hex, .stdout(Array("{\"type\":\"ready\"}\n".utf8)))
            try await Task.sleep(for: .milliseconds(1200))
            world.host.log(id.hex, .stdout(done))
            let more = try await world.events(supervisor, id, turn: second.number)
            #expect(more.last?.type == .runCompleted)
        }
    }

    @Test func theKernelsCauseIsTold() async throws {
        let memory = try await failure("memory: 64MiB") { host, session in
            host.state.withLock { $0.usage.oomKills = 3 }
            host.log(session, .exited(AgentExit(status: -1, signal: 9)))
        }
        #expect(memory?.code == "out_of_memory")
        #expect(memory?.message.contains("64MiB") == true)
        let processes = try await failure("pids: 20") { host, session in
            host.state.withLock { $0.usage.pidsRefused = 1 }
            host.log(session, .exited(AgentExit(status: 2, signal: 0)))
        }
        #expect(processes?.code == "agent_exited")
        #expect(processes?.message.contains("limit of 20 processes was reached") == true)
        let neither = try await failure("pids: 20") { host, session in
            host.log(session, .exited(AgentExit(status: 2, signal: 0)))
        }
        #expect(neither?.message.contains("limit") == false)
    }

    @Test func aSessionThatHasUsedItsTimeTakesNoMessage() async throws {
        try await World.with("command: [x]\nlimits: {session_cpu: 1}") { world, supervisor in
            world.playNative("hello")
            let record = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            _ = try await world.turn(supervisor, record.id)
            world.host.state.withLock { $0.usage.cpu = 999_999 }
            _ = try await world.turn(supervisor, record.id)
            world.host.state.withLock { $0.usage.cpu = 1_000_000 }
            let error = await #expect(throws: WireError.self) {
                try await supervisor.send(record.id.hex, to: "more", caller: world.alice)
            }
            #expect(error?.code == .limitReached)
        }
    }

    @Test func whatIsNotEnforcedIsSaid() async throws {
        try await World.with(
            "command: [x]\nlimits: {memory: 1GiB, pids: 9, turn_cpu: 5, disk: 1GiB}"
        ) { world, supervisor in
            world.host.state.withLock {
                $0.enforcement = LimitEnforcement(inForce: [.pids], note: "no cgroup v2")
            }
            let record = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            let limits = try #require(try await supervisor.show(record.id).limits)
            #expect(limits.notEnforced == ["memory", "swap", "turn_cpu"])
            #expect(limits.note == "no cgroup v2")
            #expect(limits.enforcement == "best-effort")
            #expect(limits.set["memory"] == 1 << 30)
            let plan = world.host.state.withLock { $0.boxes[record.id.hex]?.plan }
            #expect(plan?.limits?.memory == 1 << 30)
            #expect(plan?.limits?.swap == 0)
            #expect(plan?.limits?.required == [])
        }
    }

    /// `hard` is a condition: a session starts where the file system has a wall, and shows it.
    @Test func diskIsHard() async throws {
        try await World.with("command: [x]\nlimits: {disk: hard}") { world, supervisor in
            for (quota, cause) in [
                (DiskQuota(bytes: 0, files: 0), "no quota for this session's ids"),
                (DiskQuota(bytes: 0, files: 9), "no quota for this session's ids"),
                (nil, "of an earlier version"),
            ] {
                world.host.state.withLock { $0.quota = quota }
                let error = await #expect(throws: WireError.self) {
                    try await supervisor.create(
                        agent: "bot", idleTimeout: nil, caller: world.alice)
                }
                #expect(error?.code == .sandboxFailed)
                let message = error?.message ?? ""
                #expect(message.contains("limits: required and not possible here: disk:"))
                #expect(message.contains(cause), "\(message)")
            }
            #expect(world.host.state.withLock { $0.boxes.isEmpty })
            world.host.state.withLock { $0.quota = DiskQuota(bytes: 2 << 30, files: 1000) }
            let record = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            let limits = try #require(try await supervisor.show(record.id).limits)
            #expect(limits.text.last == "disk 2GiB and 1000 files (quota)")
            #expect(!limits.text.contains("disk hard"))
            #expect(limits.diskQuota == WireDiskQuota(bytes: 2 << 30, files: 1000))
            #expect(limits.set["disk"] == nil && limits.notEnforced == [])
        }
    }

    /// A wall is shown where nobody asked for it, and a watched size stays what it is.
    @Test func aWallBesideAWatchedSize() async throws {
        try await World.with("command: [x]\nlimits: {disk: 1GiB}") { world, supervisor in
            world.host.state.withLock { $0.quota = DiskQuota(bytes: 3 << 20, files: 0) }
            let record = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            let limits = try #require(try await supervisor.show(record.id).limits)
            #expect(limits.text.suffix(2) == ["disk 1GiB", "disk 3MiB (quota)"])
            #expect(limits.set["disk"] == 1 << 30)
            world.host.state.withLock { $0.quota = nil }
            let other = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            #expect(try await supervisor.show(other.id).limits?.diskQuota == nil)
        }
    }

    @Test func deployedAgentsStayBelowTheCeilings() throws {
        let config = try SupervisorConfig(
            yaml: "allowed_limits: {memory: 1GiB, turn_time: 1h}", file: "c")
        var ceilings = AgentCeilings(mounts: [], roots: [], forbidden: [])
        ceilings.resources = config.allowedLimits
        for (text, expected) in [
            ("limits: {memory: 2GiB}", "'limits': memory is 2GiB, more than the 1GiB of"),
            ("turn_timeout: 2h", "'turn_timeout' is 7200s, more than the 3600s of"),
        ] {
            let agent = try AgentDefinition(yaml: "name: a\ncommand: x\n\(text)", file: "f")
            let objection = ceilings.objection(to: agent, trusted: false)
            #expect(objection?.hasPrefix(expected) == true, "\(objection ?? "nil")")
            #expect(ceilings.objection(to: agent, trusted: true) == nil)
        }
        let fine = try AgentDefinition(
            yaml: "name: a\ncommand: x\nlimits: {memory: 1GiB}", file: "f")
        #expect(ceilings.objection(to: fine, trusted: false) == nil)
    }
}
