import API
import AgentProtocols
import Foundation
import GRDB
import Sandbox
import Sessions
import Settings
import Testing

@testable import Storage

@Suite("The store")
struct StoreTests {
    let alice = WireUser(uid: 1000, name: "alice")

    func with(_ body: (SQLiteStore, String) async throws -> Void) async throws {
        let directory = FileManager.default.temporaryDirectory
            .appending(path: "superserve-store-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let path = directory.appending(path: "db.sqlite").path
        let store = try SQLiteStore(path: path)
        defer { store.close() }
        try await store.insert(
            AgentVersion(
                agentID: "agt_0123456789abcdef", version: 1,
                definition: try AgentDefinition(yaml: "name: bot\ncommand: [x]", file: ""),
                origin: .operator, sourcePath: nil, fingerprint: "", trusted: false,
                createdAt: Date(),
                firstCreatedAt: Date()))
        try await body(store, path)
    }

    func newSession(_ store: SQLiteStore, blocks: Int = 8) async throws -> (
        SessionRecord, SandboxRecord
    ) {
        let record = SessionRecord(
            id: SessionID(), agentID: "agt_0123456789abcdef", agentName: "bot", agentVersion: 1,
            idleTimeout: 60, creator: alice, createdAt: Date(timeIntervalSince1970: 1000))
        let machine = AgentMachine(
            try AgentDefinition(yaml: "name: bot\ncommand: [x]", file: ""), maximumLine: 100)
        let box = try await store.create(
            record, sandbox: SandboxRecord(block: 0, machine: machine), blocks: blocks, key: nil)
        return (record, box)
    }

    func event(_ seq: Int64, _ type: WireEventType = .messageDelta, turn: Int? = 1) -> WireEvent {
        var event = WireEvent(
            seq: seq, type: type, turn: turn, time: Date(timeIntervalSince1970: 5))
        event.content = "e\(seq)"
        return event
    }

    @Test func blocksAreTheLowestFreeAndRunOut() async throws {
        try await with { store, _ in
            var sessions: [(SessionRecord, SandboxRecord)] = []
            for index in 0..<3 {
                sessions.append(try await newSession(store, blocks: 3))
                #expect(sessions[index].1.block == index)
            }
            let error = await #expect(throws: StoreError.self) {
                try await newSession(store, blocks: 3)
            }
            #expect(error?.code == .noBlock)
            for freed in [1, 0] {
                var change = SessionChange(sessions[freed].0)
                change.removeSandbox = true
                try await store.commit(change)
                sessions[freed] = try await newSession(store, blocks: 3)
                #expect(sessions[freed].1.block == freed)
            }
        }
    }

    @Test func sandboxesOfTheFirstSchemaAreRead() async throws {
        let directory = FileManager.default.temporaryDirectory
            .appending(path: "superserve-store-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let path = directory.appending(path: "db.sqlite").path
        let id = SessionID()
        let machine = AgentMachine(
            try AgentDefinition(yaml: "name: bot\ncommand: [x]", file: ""), maximumLine: 100)
        // As it was written then.
        var old = try #require(
            try JSONSerialization.jsonObject(with: JSONEncoder().encode(machine))
                as? [String: Any])
        #expect(old.removeValue(forKey: "turnNumber") != nil)
        #expect(old.removeValue(forKey: "backgroundBytes") != nil)
        let json = try JSONSerialization.data(withJSONObject: old)
        let queue = try DatabaseQueue(path: path)
        try Schema.migrator.migrate(queue, upTo: "1-sessions")
        try await queue.write { db in
            try db.execute(
                sql: "INSERT INTO sandbox VALUES (?, 3, 77, 5, x'01', 40, 8, x'', NULL, ?)",
                arguments: [id.hex, json])
        }
        try queue.close()
        let store = try SQLiteStore(path: path)
        defer { store.close() }
        let box = try #require(try await store.sandbox(id))
        #expect(box.machine == machine)
        #expect(box.process == ProcessIdentity(pid: 77, startTime: 5))
        #expect(box.bootID == nil)
        #expect(box.logOffset == 40)
    }

    @Test func numbersMayNotHaveGapsOrRepeat() async throws {
        try await with { store, _ in
            var (record, _) = try await newSession(store)
            var change = SessionChange(record)
            record.lastSeq = 2
            change.session = record
            change.events = [event(1), event(2)]
            try await store.commit(change)
            for wrong in [Int64(2), 4, 0] {
                var next = SessionChange(record)
                next.session.lastSeq = 3
                next.events = [event(wrong)]
                await #expect(throws: StoreError.self) { try await store.commit(next) }
            }
            #expect(
                try await store.session(record.id)?.lastSeq == 2, "a refused change changes nothing"
            )
            #expect(try await store.events(record.id, after: 0, limit: 10) == [event(1), event(2)])
            #expect(try await store.events(record.id, after: 1, limit: 10) == [event(2)])
        }
    }

    @Test func aTurnHasOneTerminalEvent() async throws {
        try await with { store, _ in
            let (record, _) = try await newSession(store)
            var change = SessionChange(record)
            change.session.lastSeq = 2
            change.events = [event(1, .runCompleted), event(2, .runFailed)]
            await #expect(throws: StoreError.self) { try await store.commit(change) }
        }
    }

    @Test func phasesKeepTheirConditions() async throws {
        try await with { store, _ in
            let (record, _) = try await newSession(store)
            var change = SessionChange(record)
            change.session.phase = .idle
            await #expect(throws: StoreError.self, "idle needs a deadline") {
                try await store.commit(change)
            }
            change.session.phase = .ended
            await #expect(throws: StoreError.self, "ended needs a time") {
                try await store.commit(change)
            }
        }
    }

    @Test func everythingOfARecordComesBack() async throws {
        try await with { store, _ in
            var (record, box) = try await newSession(store)
            record.phase = .idle
            record.title = "t\u{1F600}"
            record.messages = 3
            record.lastSeq = 1
            record.lastTurn = 1
            record.lastActiveAt = Date(timeIntervalSince1970: 2000.5)
            record.deadline = IdleDeadline(
                since: BootInstant(bootID: "b", nanoseconds: .max), sinceWall: record.createdAt,
                seconds: 60)
            box.process = .init(pid: 5, startTime: .max)
            box.nonce = [1, 2]
            box.pendingInput = [0, 255]
            box.inputEnd = 9
            var turn = TurnRecord(
                number: 1, content: "hi", user: alice, acceptedAt: record.createdAt,
                acceptedBoot: BootInstant(bootID: "b", nanoseconds: 1), firstSeq: 1)
            turn.outcome = .failed(.init(code: "c", message: "m"))
            turn.endedAt = record.lastActiveAt
            turn.duration = 12
            var change = SessionChange(record)
            change.events = [event(1)]
            change.turn = turn
            change.sandbox = box
            change.participant = WireUser(uid: 4_000_000_000, name: "bob")
            try await store.commit(change)
            #expect(try await store.session(record.id) == record)
            #expect(try await store.sandbox(record.id) == box)
            #expect(try await store.turn(record.id, number: 1) == turn)
            #expect(try await store.participants(record.id).map(\.name) == ["alice", "bob"])
            #expect(try await store.answer(record.id, turn: 1, limit: 100) == "e1")
        }
    }

    @Test func whatTheNetworkWasUsedForIsKept() async throws {
        try await with { store, _ in
            var (record, _) = try await newSession(store)
            #expect(try await store.networkUsage(record.id) == nil)
            var usage = NetworkUsage()
            usage.bytesOut = 1 << 40
            usage.announced = ["tokens": 5]
            try await store.save([record.id: usage, SessionID(): NetworkUsage()])
            #expect(try await store.networkUsage(record.id) == usage)
            usage.cost = 7
            record.budgetEdits = try NetworkBudget(changes: ["tokens=none", "cost=2.5"])
            var change = SessionChange(record)
            change.networkUsage = usage
            try await store.commit(change)
            #expect(try await store.networkUsage(record.id) == usage)
            #expect(try await store.session(record.id)?.budgetEdits == record.budgetEdits)
            try await store.remove(record.id)
            #expect(try await store.networkUsage(record.id) == nil)
        }
    }

    @Test func aFileOfANewerVersionIsRefused() async throws {
        try await with { store, path in
            store.close()
            let queue = try DatabaseQueue(path: path)
            try await queue.write {
                try $0.execute(sql: "INSERT INTO grdb_migrations VALUES ('9-later')")
            }
            try queue.close()
            let error = #expect(throws: StoreError.self) { try SQLiteStore(path: path) }
            #expect(error?.code == .newerVersion)
        }
    }

    @Test func archivesArePurgedAndOnlyThose() async throws {
        try await with { store, _ in
            for (phase, ended) in [(SessionPhase.timeout, 100.0), (.timeout, 900), (.ended, 100)] {
                let (record, _) = try await newSession(store)
                var change = SessionChange(record)
                change.session.phase = phase
                change.session.endedAt = Date(timeIntervalSince1970: ended)
                change.session.lastSeq = 1
                change.events = [event(1, turn: nil)]
                try await store.commit(change)
                try await store.purgeArchives(before: Date(timeIntervalSince1970: 500))
                let left = try await store.events(record.id, after: 0, limit: 9).count
                #expect(left == (phase == .timeout && ended == 100 ? 0 : 1))
            }
        }
    }
}
