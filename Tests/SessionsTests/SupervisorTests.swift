import API
import AgentProtocols
import Foundation
import Sandbox
import Sessions
import Storage
import Synchronization
import Testing

@Suite("Sessions from end to end, without processes", .timeLimit(.minutes(1)))
struct SupervisorTests {
    @Test func aConversation() async throws {
        try await World.with { world, supervisor in
            world.playNative("hello")
            let record = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            #expect(record.phase == .idle)
            let first = try await world.turn(supervisor, record.id, "What is\nthe capital?")
            #expect(first.map(\.type) == [.runStarted, .messageDelta, .runCompleted])
            #expect(first.map(\.seq) == [1, 2, 3])
            #expect(first[0].user?.name == "alice")
            let second = try await world.turn(supervisor, record.id)
            #expect(second.map(\.seq) == [4, 5, 6])
            let now = try await supervisor.record(record.id)
            #expect(now.messages == 4)
            #expect(now.title == "What is the capital?")
            let history = try await supervisor.history(record.id.short, caller: world.alice)
            #expect(
                history.messages.map(\.content) == [
                    "What is\nthe capital?", "hello", "hi", "hello",
                ])
        }
    }

    @Test func sendingToAnActiveSessionIsRefusedAndNothingIsLost() async throws {
        try await World.with { world, supervisor in
            let record = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            let (id, turn) = try await supervisor.send(
                record.id.hex, to: "one", caller: world.alice)
            let error = await #expect(throws: WireError.self) {
                try await supervisor.send(id.hex, to: "two", caller: world.alice)
            }
            #expect(error?.message == "Session '\(id.short)' is processing a message")
            #expect(error?.code == .sessionActive)
            world.host.log(id.hex, .stdout(Array("{\"type\":\"ready\"}\n".utf8)), .stdout(done))
            let events = try await world.events(supervisor, id, turn: turn.number)
            #expect(events.last?.type == .runCompleted)
        }
    }

    @Test func idleTimeoutAfter29MinutesOfBootTime() async throws {
        try await World.with { world, supervisor in
            world.playNative("hello")
            let record = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            #expect(record.idleTimeout == 1740)
            _ = try await world.turn(supervisor, record.id)
            for jump in [86400.0, -172_800.0] as [Double] {
                world.clock.jumpWall(jump)
                await supervisor.checkDeadlines()
            }
            world.clock.advance(1739)
            await supervisor.checkDeadlines()
            _ = try await supervisor.resume(record.id.hex, caller: world.alice)
            world.clock.advance(1739)
            await supervisor.checkDeadlines()
            #expect(
                try await supervisor.record(record.id).phase == .idle, "resume restarts the clock")
            world.clock.advance(1)
            await supervisor.checkDeadlines()
            for try await event in supervisor.events(record.id, after: 3, turn: nil, follow: true) {
                #expect(event.type == .sessionEnded)
                #expect(event.reason == "idle_timeout")
            }
            let over = try await supervisor.record(record.id)
            #expect(over.phase == .timeout)
            let history = try await supervisor.history(record.id.hex, caller: world.alice)
            #expect(history.messages.map(\.content) == ["hi", "hello"], "the history is kept")
            let error = await #expect(throws: WireError.self) {
                try await supervisor.resume(record.id.hex, caller: world.alice)
            }
            #expect(
                error?.message
                    == "Session '\(record.id.short)' has status 'timeout' and cannot be resumed")
            _ = try await supervisor.end(record.id.hex, caller: world.alice)
            #expect(try await supervisor.record(record.id).phase == .ended)
            #expect(try await world.store.events(record.id, after: 0, limit: 10).isEmpty)
            #expect(world.host.state.withLock { $0.destroyed } == [record.id.hex])
        }
    }

    @Test func aTurnLongerThanTheTimeoutIsNotKilled() async throws {
        try await World.with { world, supervisor in
            let record = try await supervisor.create(
                agent: "bot", idleTimeout: 10, caller: world.alice)
            let (id, turn) = try await supervisor.send(
                record.id.hex, to: "long", caller: world.alice)
            world.clock.advance(3600)
            await supervisor.checkDeadlines()
            world.host.log(id.hex, .stdout(Array("{\"type\":\"ready\"}\n".utf8)), .stdout(done))
            #expect(
                try await world.events(supervisor, id, turn: turn.number).last?.type
                    == .runCompleted)
            world.clock.advance(10)
            // The end of the turn is read from the store before the driver has set the deadline.
            let timedOut = try await eventually {
                await supervisor.checkDeadlines()
                return try await supervisor.record(id).phase == .timeout
            }
            #expect(timedOut)
        }
    }

    @Test func aLostSandboxFailsTheTurnAndTheNextMessageStartsAnew() async throws {
        try await World.with { world, supervisor in
            let record = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            let id = record.id
            _ = try await supervisor.send(id.hex, to: "one", caller: world.alice)
            let deliver = world.host.state.withLock {
                $0.boxes.removeValue(forKey: id.hex)?.deliver
            }
            deliver?(.disconnected)
            let events = try await world.events(supervisor, id, turn: 1)
            #expect(events.last?.error?.code == "sandbox_lost")
            world.playNative("back")
            #expect(try await world.turn(supervisor, id).last?.type == .runCompleted)
        }
    }

    /// The supervisor died between starting a sandbox and writing it down.
    @Test func sharingByTwelveDigits() async throws {
        try await World.with { world, supervisor in
            world.playNative("hello")
            let record = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            let short = record.id.short
            let error = await #expect(throws: WireError.self) {
                try await supervisor.resolve(String(short.prefix(4)), caller: world.bob)
            }
            #expect(error?.code == .sessionNotFound)
            #expect(error?.message == "No session found matching '\(short.prefix(4))'")
            #expect(try await supervisor.resolve(short, caller: world.bob) == record.id)
            _ = try await supervisor.send(short, to: "from bob", caller: world.bob)
            #expect(
                try await supervisor.resolve(String(short.prefix(4)), caller: world.bob)
                    == record.id,
                "who wrote is a participant")
            let refused = await #expect(throws: WireError.self) {
                try await supervisor.end(short, caller: world.bob)
            }
            #expect(refused?.code == .forbidden)
            let shown = try await supervisor.show(try await supervisor.record(record.id))
            #expect(shown.participants.map(\.name) == ["alice", "bob"])
        }
    }

    @Test func ambiguousPrefixesNameTheirMatches() async throws {
        try await World.with { world, supervisor in
            var ids: [SessionID] = []
            for _ in 0..<16 {
                ids.append(
                    try await supervisor.create(agent: "bot", idleTimeout: nil, caller: world.alice)
                        .id)
            }
            let full = await #expect(throws: WireError.self) {
                try await supervisor.create(agent: "bot", idleTimeout: nil, caller: world.alice)
            }
            #expect(full?.code == .capacity, "16 id blocks are 16 sessions")
            let digits = Dictionary(grouping: ids) { $0.hex.prefix(1) }.values
            guard let pair = digits.first(where: { $0.count > 1 })?.sorted(by: { $0.hex < $1.hex })
            else {
                return
            }
            let prefix = String(pair[0].hex.prefix(1))
            let error = await #expect(throws: WireError.self) {
                try await supervisor.resolve(prefix, caller: world.alice)
            }
            #expect(
                error?.message
                    == "Ambiguous ID '\(prefix)' — matches: \(pair.map(\.short).joined(separator: ", "))"
            )
        }
    }

    @Test func aSandboxThatCannotBeMadeLeavesNothing() async throws {
        try await World.with { world, supervisor in
            world.host.state.withLock {
                $0.failStart = SandboxError(
                    .refused, stage: "mount proc", errno: 1, detail: "masked")
            }
            let error = await #expect(throws: WireError.self) {
                try await supervisor.create(agent: "bot", idleTimeout: nil, caller: world.alice)
            }
            #expect(error?.code == .sandboxFailed)
            #expect(error?.message.contains("mount proc: masked: Operation not permitted") == true)
            let left = try await world.store.list(
                .init(participant: nil, agent: nil, status: nil, limit: 9))
            #expect(left.total == 0)
        }
    }

    @Test func stoppingTheServiceFailsTheTurnAndKeepsTheSession() async throws {
        try await World.with { world, supervisor in
            let record = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            _ = try await supervisor.send(record.id.hex, to: "one", caller: world.alice)
            await supervisor.stopAll()
            let turn = try await world.store.turn(record.id, number: 1)
            guard case .failed(let error) = turn?.outcome else { Issue.record("no end"); return }
            #expect(error.code == "stopped")
            #expect(try await world.store.session(record.id)?.phase == .idle)
            #expect(world.host.state.withLock { $0.boxes.isEmpty })
            #expect(world.host.state.withLock { $0.trees } == [record.id.hex])
        }
    }

    @Test func unknownAgentsNameTheKnownOnes() async throws {
        try await World.with { world, supervisor in
            let error = await #expect(throws: WireError.self) {
                try await supervisor.create(agent: "nope", idleTimeout: nil, caller: world.alice)
            }
            #expect(error?.message == "No agent named 'nope'; known agents: bot")
        }
    }

    @Test func aRequestThatComesTwiceCountsOnce() async throws {
        try await World.with { world, supervisor in
            world.playNative("once")
            let alice = world.alice
            // Both at the same time, as after a client's time-out.
            async let one = supervisor.create(
                agent: "bot", idleTimeout: 60, key: "k", caller: alice)
            async let two = supervisor.create(
                agent: "bot", idleTimeout: 60, key: "k", caller: alice)
            let (first, second) = try await (one, two)
            #expect(first.id == second.id)
            #expect(second.phase == .idle, "the second answer waits for the sandbox as well")
            let id = first.id.hex
            let sent = try await supervisor.send(id, to: "hi", key: "m", caller: alice).turn
            _ = try await world.events(supervisor, first.id, turn: 1)
            let again = try await supervisor.send(id, to: "hi", key: "m", caller: alice).turn
            #expect((sent.number, again.number) == (1, 1))
            #expect(again.firstSeq == sent.firstSeq)
            let other = await #expect(throws: WireError.self) {
                try await supervisor.send(id, to: "other", key: "m", caller: alice)
            }
            #expect(other?.code == .idempotencyMismatch)
            let agent = await #expect(throws: WireError.self) {
                try await supervisor.create(agent: "bot", idleTimeout: 61, key: "k", caller: alice)
            }
            #expect(agent?.code == .idempotencyMismatch)
            let bobs = try await supervisor.create(
                agent: "bot", idleTimeout: 60, key: "k", caller: world.bob)
            #expect(bobs.id != first.id, "a key belongs to its user")
            // Also when the session is over in the meantime.
            _ = try await supervisor.end(id, caller: alice)
            #expect(try await world.store.session(first.id)?.lastTurn == 1)
        }
    }

    @Test func messagesHaveBounds() async throws {
        try await World.with { world, supervisor in
            let record = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            for (text, code) in [
                (String(repeating: "x", count: 4097), WireErrorCode.tooLarge), ("", .badRequest),
                ("a\u{0}b", .badRequest),
            ] {
                let error = await #expect(throws: WireError.self) {
                    try await supervisor.send(record.id.hex, to: text, caller: world.alice)
                }
                #expect(error?.code == code)
            }
        }
    }
}
