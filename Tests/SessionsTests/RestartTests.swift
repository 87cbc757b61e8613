import API
import AgentProtocols
import Foundation
import Sandbox
import Sessions
import Storage
import Synchronization
import Testing

@Suite("Restarts of the supervisor and of the machine", .timeLimit(.minutes(1)))
struct RestartTests {
    @Test func theDeadlineHoldsOverARestart() async throws {
        try await World.with { world, first in
            world.playNative("hello")
            let record = try await first.create(agent: "bot", idleTimeout: 100, caller: world.alice)
            _ = try await world.turn(first, record.id)
            await first.leave()
            world.host.forgetSupervisor()
            world.clock.advance(99)
            world.clock.jumpWall(86400)
            let second = world.supervisor()
            try await second.recover()
            await second.checkDeadlines()
            #expect(try await second.record(record.id).phase == .idle)
            world.clock.advance(1)
            await second.checkDeadlines()
            for try await _ in second.events(record.id, after: 0, turn: nil, follow: true) {}
            #expect(try await second.record(record.id).phase == .timeout)
            await second.leave()
        }
    }

    @Test func aRestartInMidTurnLosesNothingAndDoublesNothing() async throws {
        try await World.with { world, first in
            let record = try await first.create(agent: "bot", idleTimeout: nil, caller: world.alice)
            let id = record.id
            _ = try await first.send(id.hex, to: "count", caller: world.alice)
            world.host.log(id.hex, .stdout(Array("{\"type\":\"ready\"}\n".utf8)))
            func line(_ n: Int) -> LogRecord.Event {
                .stdout(Array("{\"type\":\"text\",\"content\":\"\(n) \"}\n".utf8))
            }
            world.host.log(id.hex, line(1), .stdout(Array("{\"type\":\"te".utf8)))
            var seen: [WireEvent] = []
            for try await event in first.events(id, after: 0, turn: 1, follow: true) {
                seen.append(event)
                if seen.count == 2 { break }
            }
            await first.leave()
            world.host.forgetSupervisor()
            // It died after storing and before acknowledging: everything comes once more.
            let stored = world.host.state.withLock { state in
                defer { state.boxes[id.hex]?.acknowledged = 0 }
                return state.boxes[id.hex]?.acknowledged ?? 0
            }
            #expect(stored > 0)
            world.host.log(id.hex, .stdout(Array("xt\",\"content\":\"2 \"}\n".utf8)), line(3))
            let second = world.supervisor()
            try await second.recover()
            let acknowledged = world.host.state.withLock { $0.boxes[id.hex]?.acknowledged ?? 0 }
            #expect(acknowledged >= stored, "else init's ring would stay full for ever")
            world.host.log(id.hex, line(4), .stdout(done))
            seen += try await world.events(second, id, turn: 1, after: seen.last?.seq ?? 0)
            #expect(seen.compactMap(\.seq) == Array(1...Int64(seen.count)))
            #expect(
                seen.compactMap { $0.type == .messageDelta ? $0.content : nil }.joined()
                    == "1 2 3 4 ")
            #expect(seen.last?.type == .runCompleted)
            let input = world.host.state.withLock { $0.boxes[id.hex]?.input ?? [] }
            #expect(input.count { $0 == 0x0a } == 1, "the message reached the agent once")
            await second.leave()
        }
    }

    @Test func aSandboxThatTheStoreDoesNotKnowIsEnded() async throws {
        try await World.with { world, first in
            let record = try await first.create(agent: "bot", idleTimeout: nil, caller: world.alice)
            await first.leave()
            world.host.forgetSupervisor()
            var box = try #require(try await world.store.sandbox(record.id))
            let orphan = try #require(box.process)
            box.process = nil
            var change = SessionChange(record)
            change.sandbox = box
            try await world.store.commit(change)
            let second = world.supervisor()
            try await second.recover()
            #expect(world.host.state.withLock { $0.boxes.isEmpty }, "\(orphan) is gone")
            world.playNative("back")
            #expect(try await world.turn(second, record.id).last?.type == .runCompleted)
            await second.leave()
        }
    }

    @Test func afterARestartOfTheMachineNoPidIsBelieved() async throws {
        try await World.with { world, first in
            let record = try await first.create(agent: "bot", idleTimeout: nil, caller: world.alice)
            let id = record.id
            _ = try await first.send(id.hex, to: "one", caller: world.alice)
            await first.leave()
            world.host.forgetSupervisor()
            world.clock.restartMachine()
            // Nothing runs any more; another process may have the same pid and start time.
            world.host.state.withLock { $0.boxes = [:] }
            let second = world.supervisor()
            try await second.recover()
            let events = try await world.events(second, id, turn: 1)
            #expect(events.last?.error?.code == "sandbox_lost")
            #expect(events.last?.error?.message.contains("machine was restarted") == true)
            #expect(world.host.state.withLock { $0.killed.isEmpty })
            #expect(try await world.store.session(id)?.phase == .idle)
            await second.leave()
        }
    }

    @Test func aProcessOfAnUnknownBootIsReconnected() async throws {
        try await World.with { world, first in
            let record = try await first.create(agent: "bot", idleTimeout: nil, caller: world.alice)
            let id = record.id
            await first.leave()
            world.host.forgetSupervisor()
            // As a version wrote it that did not keep the boot.
            var change = SessionChange(try #require(try await world.store.session(id)))
            change.sandbox = try await world.store.sandbox(id)
            change.sandbox?.bootID = nil
            try await world.store.commit(change)
            world.playNative("hello")
            let second = world.supervisor()
            try await second.recover()
            let events = try await world.turn(second, id)
            #expect(events.last?.type == .runCompleted)
            #expect(world.host.state.withLock { $0.killed.isEmpty })
            await second.leave()
        }
    }
}
