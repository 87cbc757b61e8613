import API
import Foundation
import Sandbox
import Sessions
import Settings
import Synchronization
import Testing

/// Settings and agents that change while sessions live.
@Suite("Reloads and orderly stops", .timeLimit(.minutes(1)))
struct ReloadTests {
    private func write(_ text: String, in world: World) throws {
        let path = world.directory.appending(path: "agents/bot.yaml")
        try text.write(to: path, atomically: true, encoding: .utf8)
    }

    @Test func whatIsWrongIsNamedAndTheOldVersionStays() async throws {
        try await World.with { world, supervisor in
            let before = try await supervisor.catalog.version(named: "bot")
            #expect(await supervisor.catalog.check().problems == [])
            try write("name: bot\ncommand: [y]\nwrong: 1\n", in: world)
            let (count, problems) = await supervisor.catalog.check()
            #expect(count == 1)
            #expect(problems.count == 1)
            #expect(problems.first?.contains("/bot.yaml:3: unknown key 'wrong'") == true)
            let stays = try await supervisor.catalog.version(named: "bot")
            #expect(stays.definition == before.definition)
            try write("name: bot\ncommand: [y]\n", in: world)
            #expect(await supervisor.catalog.check().problems == [])
            #expect(try await supervisor.catalog.version(named: "bot").version > before.version)
        }
    }

    @Test func aFileThatIsDeletedIsForgotten() async throws {
        try await World.with { world, supervisor in
            _ = await supervisor.catalog.check()
            try write("not: right\n", in: world)
            #expect(await supervisor.catalog.check().problems.count == 1)
            let path = world.directory.appending(path: "agents/bot.yaml")
            try FileManager.default.removeItem(at: path)
            #expect(await supervisor.catalog.check() == (0, []))
            await #expect(throws: WireError.self) {
                _ = try await supervisor.catalog.version(named: "bot")
            }
        }
    }

    @Test func otherSettingsHoldForWhatIsAskedFromThenOn() async throws {
        try await World.with { world, supervisor in
            let first = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            let agents = world.directory.appending(path: "agents").path
            let config = try SupervisorConfig(
                yaml: "idle_timeout: 77\nmax_message: 1KiB\nagents_directory: \(agents)", file: "")
            await supervisor.apply(
                config, ceilings: AgentCeilings(mounts: [], roots: [], forbidden: []))
            let second = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            #expect(first.idleTimeout == 1740)
            #expect(second.idleTimeout == 77)
            await #expect(throws: WireError.self) {
                _ = try await supervisor.send(
                    first.id.hex, to: String(repeating: "x", count: 1025), caller: world.alice)
            }
        }
    }

    @Test(arguments: [(true, "stopped"), (false, "sandbox_lost")])
    func aSandboxThatWasStoppedIsNotLost(_ inOrder: Bool, _ code: String) async throws {
        try await World.with { world, supervisor in
            let record = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            _ = try await supervisor.send(record.id.hex, to: "one", caller: world.alice)
            let deliver = world.host.state.withLock { state in
                state.wasStopped = inOrder
                return state.boxes.removeValue(forKey: record.id.hex)?.deliver
            }
            deliver?(.disconnected)
            let events = try await world.events(supervisor, record.id, turn: 1)
            #expect(events.last?.error?.code == code)
        }
    }
}
