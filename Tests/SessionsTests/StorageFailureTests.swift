import API
import Foundation
import Sandbox
import Sessions
import Storage
import Synchronization
import Testing

/// What happens when the disk is full and when it has room again.
@Suite("A store that fails for a while")
struct StorageFailureTests {
    static let ready = LogRecord.Event.stdout(Array("{\"type\":\"ready\"}\n".utf8))

    static func text(_ text: String) -> LogRecord.Event {
        .stdout(Array("{\"type\":\"text\",\"content\":\"\(text)\"}\n".utf8))
    }

    @Test func aTurnFailsAndNothingThatInitKeptIsSkipped() async throws {
        try await World.with { world, _ in
            let store = FailingStore(world.store)
            let supervisor = world.supervisor(store: store)
            let record = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            let id = record.id
            _ = try await supervisor.send(id.hex, to: "one", caller: world.alice)
            world.host.log(id.hex, Self.ready, Self.text("first"))
            #expect(try await eventually { try await world.store.session(id)?.lastSeq == 2 })
            store.failNext(3)
            world.host.log(id.hex, Self.text("lost?"))
            let events = try await world.events(supervisor, id, turn: 1)
            #expect(events.last?.error?.code == "storage_failed")
            #expect(events.compactMap(\.seq) == Array(1...Int64(events.count)))
            #expect(store.refused == 3)
            let signals = world.host.state.withLock { $0.boxes[id.hex]?.signals ?? [] }
            #expect(signals.contains(9), "the agent does not go on in the dark")
            // What was logged while the store failed was not acknowledged, and comes again.
            world.host.log(id.hex, .exited(AgentExit(status: -1, signal: 9)))
            let end = world.host.state.withLock { $0.boxes[id.hex]?.log.last?.end ?? 0 }
            #expect(
                try await eventually {
                    world.host.state.withLock { $0.boxes[id.hex]?.acknowledged } == end
                })
            world.playNative("back")
            let turn = try await supervisor.send(id.hex, to: "two", caller: world.alice).turn
            world.host.log(id.hex, Self.ready, Self.text("back"), .stdout(done))
            let next = try await world.events(
                supervisor, id, turn: turn.number, after: turn.firstSeq - 1)
            #expect(next.last?.type == .runCompleted)
            await supervisor.leave()
        }
    }

    /// Output between turns belongs to no turn that could fail; it must not get lost either.
    @Test func backgroundOutputIsStoredOnceThereIsRoom() async throws {
        try await World.with { world, _ in
            let store = FailingStore(world.store)
            let supervisor = world.supervisor(store: store)
            world.playNative("hello")
            let record = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            let id = record.id
            _ = try await supervisor.send(id.hex, to: "one", caller: world.alice)
            _ = try await world.events(supervisor, id, turn: 1)
            store.failNext(2)
            world.host.log(id.hex, Self.text("a"))
            world.host.log(id.hex, Self.text("b"))
            #expect(
                try await eventually {
                    let last = try await world.store.events(id, after: 3, limit: 10)
                    return last.map(\.content) == ["a", "b"]
                })
            await supervisor.leave()
        }
    }

    /// The disk is full for one moment at each write of create, a turn and end, one after the other.
    @Test(arguments: 0..<10)
    func anySingleWriteMayFail(_ number: Int) async throws {
        try await World.with { world, _ in
            let store = FailingStore(world.store)
            let supervisor = world.supervisor(store: store)
            store.fail(after: number)
            let caller = world.alice
            func repeated<T>(_ request: () async throws -> T) async throws -> T {
                do {
                    return try await request()
                } catch let error as WireError {
                    #expect(error.code == .storageFailed)
                    return try await request()
                }
            }
            let id = try await repeated {
                try await supervisor.create(agent: "bot", idleTimeout: 60, caller: caller)
            }.id
            _ = try await repeated {
                try await supervisor.send(id.hex, to: "one", key: "k", caller: caller)
            }
            for event in [Self.ready, Self.text("a"), Self.text("b"), .stdout(done)] {
                world.host.log(id.hex, event)
            }
            let events = try await world.events(supervisor, id, turn: 1)
            #expect(events.compactMap(\.seq) == Array(1...Int64(events.count)))
            #expect(events.count { $0.type.isTerminal } == 1)
            if events.last?.type == .runCompleted {
                #expect(
                    events.compactMap { $0.type == .messageDelta ? $0.content : nil } == ["a", "b"])
            } else {
                #expect(events.last?.error?.code == "storage_failed")
            }
            let ended = try await repeated { try await supervisor.end(id.hex, caller: caller) }
            #expect(ended.phase == .ended)
            #expect(try await eventually { world.host.state.withLock { $0.trees.isEmpty } })
            let rows = try await world.store.withSandbox()
            #expect(rows.isEmpty || store.refused == 1, "what is left is taken up later")
            await supervisor.finishEndings()
            #expect(try await world.store.withSandbox().isEmpty)
            await supervisor.leave()
        }
    }

    @Test func endingOnAFullDiskDeletesTheWorkspaceFirst() async throws {
        try await World.with { world, _ in
            let store = FailingStore(world.store)
            let supervisor = world.supervisor(store: store)
            let record = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            store.failNext(1)
            let ended = try await supervisor.end(record.id.hex, caller: world.alice)
            #expect(ended.phase == .ended)
            #expect(world.host.state.withLock { $0.trees.isEmpty })
            await supervisor.leave()
        }
    }
}
