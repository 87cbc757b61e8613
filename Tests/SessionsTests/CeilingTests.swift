import Sessions
import Settings
import Testing

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

    @Test func withoutTheKeyNothingIsAskedFor() throws {
        let ceilings = AgentCeilings(mounts: [], roots: [], forbidden: [])
        let agent = try AgentDefinition(yaml: "name: a\ncommand: x", file: "superserve.yaml")
        #expect(ceilings.objection(to: agent, trusted: false) == nil)
        let open = try AgentDefinition(yaml: "name: a\ncommand: x\nnetwork: open", file: "f")
        #expect(ceilings.objection(to: open, trusted: false)?.contains("open") == true)
    }
}
