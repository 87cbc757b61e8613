import Egress
import Settings
import Testing

@testable import Sessions

/// What agents that somebody deploys are held to.
@Suite("Ceilings of agents")
struct CeilingTests {
    @Test(arguments: [
        ("none", "none", nil), ("{allow: []}", "none", nil), ("{allow: [a.example]}", "open", nil),
        (
            "{allow: [a.example]}", "none",
            "'network' allows a.example, which is not within the setting 'allowed_network'"
        ),
        (
            "{allow: [a.example, 'a.example:22']}", "{allow: [a.example]}",
            "'network' allows a.example:22, which is not within the setting 'allowed_network'"
        ),
        (
            "open", "{allow: [a.example]}",
            "'network' is open, but the setting 'allowed_network' does not allow deployed agents that"
        ),
        (
            "open", "{open: true, deny: [a.example]}",
            "'network' must deny a.example, as the setting 'allowed_network' does"
        ),
    ])
    func network(_ network: String, _ allowed: String, _ expected: String?) throws {
        let config = try SupervisorConfig(yaml: "allowed_network: \(allowed)", file: "c")
        let ceilings = AgentCeilings(
            mounts: [], roots: [], network: config.allowedNetwork, forbidden: [])
        let agent = try AgentDefinition(
            yaml: "name: a\ncommand: x\nnetwork: \(network)", file: "superserve.yaml")
        #expect(ceilings.objection(to: agent, trusted: false) == expected)
        #expect(ceilings.objection(to: agent, trusted: true) == nil)
    }

    @Test func budgets() throws {
        let config = try SupervisorConfig(
            yaml: "allowed_budget: {tokens: 10, bytes_out: 1KiB}", file: "c")
        let ceilings = AgentCeilings(
            mounts: [], roots: [], budget: config.allowedBudget, forbidden: [])
        func agent(_ budget: String) throws -> AgentDefinition {
            try AgentDefinition(yaml: "name: a\ncommand: x\nbudget: \(budget)", file: "f")
        }
        let above = try agent("{requests: 1, tokens: 11}")
        #expect(
            ceilings.objection(to: above, trusted: false)
                == "'budget.tokens' is more than the setting 'allowed_budget' gives deployed agents: 10"
        )
        #expect(ceilings.objection(to: above, trusted: true) == nil)
        let within = try agent("{requests: 1, tokens: 10}")
        #expect(ceilings.objection(to: within, trusted: false) == nil)
    }

    /// The meter of a session is one, however its drivers come and go, until the store has it.
    @Test func aMeterStaysUntilItIsStored() {
        let table = MeterTable()
        let id = SessionID()
        #expect(table.join(id) == nil)
        let meter = NetworkMeter(usage: NetworkUsage(), budget: NetworkBudget(), prices: nil)
        table.add(id, meter)
        meter.notSaved()
        table.leave(id)
        #expect(table.join(id) === meter)
        table.leave(id)
        #expect(table.unsaved().keys.contains(id))
        table.notSaved([id])
        #expect(table.unsaved().keys.contains(id))
        #expect(table.unsaved().isEmpty)
        #expect(table.join(id) == nil)
    }

    @Test func withoutTheKeyNothingIsAskedFor() throws {
        let ceilings = AgentCeilings(mounts: [], roots: [], forbidden: [])
        let agent = try AgentDefinition(yaml: "name: a\ncommand: x", file: "superserve.yaml")
        #expect(ceilings.objection(to: agent, trusted: false) == nil)
        let open = try AgentDefinition(yaml: "name: a\ncommand: x\nnetwork: open", file: "f")
        #expect(ceilings.objection(to: open, trusted: false)?.contains("open") == true)
    }
}
