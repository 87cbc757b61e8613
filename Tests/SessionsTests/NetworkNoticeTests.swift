import API
import Sandbox
import Settings
import Storage
import Testing

@testable import Egress
@testable import Sessions

@Suite("What the network says of a session", .timeLimit(.minutes(1)))
struct NetworkNoticeTests {
    static let reached = NetworkMeter.Reached(kind: .requests, used: 5, limit: 5)

    @Test func noticesAreEventsOfTheRunningTurnOrOfNone() async throws {
        try await World.with { world, supervisor in
            let record = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            let driver = try await supervisor.driver(record.id)
            driver.mailbox.yield(.notice(.denied(destination: "a.example:443", reason: "no rule")))
            let (id, turn) = try await supervisor.send(
                record.id.hex, to: "one", caller: world.alice)
            driver.mailbox.yield(.notice(.reached(Self.reached)))
            // A command after it: the notice is stored.
            let _: WireNetwork = try await supervisor.ask(id) { .showNetwork($0) }
            world.host.log(id.hex, .stdout(Array("{\"type\":\"ready\"}\n".utf8)), .stdout(done))
            let events = try await world.events(supervisor, id, turn: turn.number)
            #expect(
                events.map(\.type) == [.networkDenied, .runStarted, .networkBudget, .runCompleted])
            #expect(events.map(\.turn) == [nil, 1, 1, 1])
            #expect(events[0].destination == "a.example:443")
            #expect(events[2].budget == WireBudget(kind: "requests", used: 5, limit: 5))
            driver.mailbox.yield(.notice(.manyDenied))
            let _: WireNetwork = try await supervisor.ask(id) { .showNetwork($0) }
            let last = try await world.store.events(id, after: 4, limit: 10)
            #expect(last.map(\.type) == [.networkDenied])
            #expect(last.map(\.turn) == [nil])
        }
    }

    /// What was used is in the store at the end of an orderly stop, and shown with its bounds.
    @Test func usageIsStoredAndShown() async throws {
        try await World.with("command: [x]\nbudget: {requests: 5, tokens: 9}") {
            world, supervisor in
            let record = try await supervisor.create(
                agent: "bot", idleTimeout: nil, caller: world.alice)
            let driver = try await supervisor.driver(record.id)
            for _ in 0..<7 { _ = driver.meter.countRequest() }
            await supervisor.saveNetworkUsage()
            #expect(try await world.store.networkUsage(record.id)?.requests == 5)
            _ = driver.meter.countConnection()
            let shown = try await supervisor.show(record.id).budget ?? []
            #expect(
                shown.first { $0.kind == "requests" } == .init(kind: "requests", used: 5, limit: 5))
            #expect(shown.first { $0.kind == "connections" }?.used == 1)
            await supervisor.leave()
            #expect(try await world.store.networkUsage(record.id)?.connections == 1)
            let next = world.supervisor()
            let edit = WireEditNetwork(budget: ["requests=5", "tokens=3"])
            let network = try await next.editNetwork(record.id.hex, edit, caller: world.alice)
            #expect(network.budget?.first { $0.kind == "requests" }?.used == 5)
            #expect(network.edited == ["budget requests 5", "budget tokens 3"])
            // An operator's file is the ceiling of who is none.
            for word in ["requests=6", "tokens=none"] {
                let more = WireEditNetwork(budget: [word])
                let error = await #expect(throws: WireError.self) {
                    try await next.editNetwork(record.id.hex, more, caller: world.alice)
                }
                #expect(error?.code == .forbidden)
            }
            let root = Caller(user: WireUser(uid: 0, name: "root"), isOperator: true)
            let raised = try await next.editNetwork(
                record.id.hex, WireEditNetwork(budget: ["requests=6"]), caller: root)
            #expect(raised.budget?.first { $0.kind == "requests" }?.limit == 6)
            #expect(try await world.store.session(record.id)?.budgetEdits[.requests] == 6)
            await next.leave()
        }
    }
}
