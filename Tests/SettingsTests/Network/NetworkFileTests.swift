import Foundation
import Settings
import Testing

/// `network:` as it stands in files.
@Suite("Network policies in files")
struct NetworkFileTests {
    static func agent(_ network: String) throws -> AgentDefinition {
        try AgentDefinition(yaml: "name: a\ncommand: x\n" + network, file: "a.yaml")
    }

    @Test func everyForm() throws {
        #expect(try Self.agent("").network == nil)
        #expect(try Self.agent("network:").network == nil)
        #expect(try Self.agent("network: none").network == NetworkPolicy.none)
        #expect(try Self.agent("network: open").network == .open)
        #expect(try Self.agent("network: {allow: []}").network == NetworkPolicy(allow: []))
        #expect(try Self.agent("network: {open: true}").network == .open)
        let rule = try NetworkRule("*.example.com:8443")
        let other = try NetworkRule("10.0.0.0/8")
        #expect(
            try Self.agent("network: {open: true, deny: [10.0.0.0/8]}").network
                == NetworkPolicy(openExcept: [other]))
        #expect(
            try Self.agent(
                """
                network:
                  allow:
                    - "*.Example.com:8443"
                  deny: [10.0.0.0/8]
                """
            ).network == NetworkPolicy(allow: [rule], deny: [other]))
    }

    @Test(arguments: [
        ("network: all", "a.yaml:3: 'network' must be none, open, or a mapping"),
        ("network: [a]", "a.yaml:3: 'network' must be none, open, or a mapping"),
        ("network: true", "a.yaml:3: 'network' must be none"),
        ("network: {}", "a.yaml:3: 'network' must have 'allow' or 'open: true'"),
        ("network: {deny: [a]}", "a.yaml:3: 'network' must have 'allow' or 'open: true'"),
        ("network: {open: false}", "a.yaml:3: 'open' must be true where it stands"),
        ("network: {open: maybe}", "a.yaml:3: 'open' must be true or false"),
        ("network: {open: true, allow: [a]}", "a.yaml:3: 'open' does not go together with 'allow'"),
        ("network: {allow: a}", "a.yaml:3: 'allow' must be a list"),
        ("network: {allow: [[a]]}", "a.yaml:3: 'allow' must be a list of texts"),
        ("network: {allow: [a], denied: [b]}", "a.yaml:3: unknown key 'denied'; known are allow"),
        ("network: {allow: [a], allow: [b]}", "a.yaml"),
        ("network:\n  allow:\n    - a\n    - b c", "a.yaml:6: 'allow' has 'b c' has ' '"),
        (
            "network:\n  allow: [a]\n  deny:\n    - \"*\"",
            "a.yaml:6: 'deny' has '*' names every host"
        ),
        ("network: {allow: [*.example.com]}", "a.yaml:3: not YAML"),
    ])
    func mistakesNameFileAndLine(_ text: String, _ expected: String) {
        let error = #expect(throws: SettingsError.self) { try Self.agent(text) }
        #expect(error?.description.hasPrefix(expected) == true, "\(error?.description ?? "")")
    }

    @Test func starsStandInQuotes() {
        let error = #expect(throws: SettingsError.self) {
            try Self.agent("network: {allow: [*.example.com]}")
        }
        #expect(error?.message.contains("stands in quotes") == true, "\(error?.message ?? "")")
    }

    @Test func tooMuch() {
        let rules = (0..<257).map { "a\($0)" }.joined(separator: ", ")
        let ports = (1...31).map { "a:\($0)" }.joined(separator: ", ")
        for text in ["network: {allow: [\(rules)]}", "network: {allow: [\(ports)]}"] {
            let error = #expect(throws: SettingsError.self) { try Self.agent(text) }
            #expect(error?.line == 3)
        }
    }

    /// A definition that an older version has stored has no such key, and no network.
    @Test func definitionsOfOlderVersions() throws {
        let agent = try Self.agent("")
        let data = try JSONEncoder().encode(agent)
        #expect(!String(decoding: data, as: UTF8.self).contains("network"))
        #expect(try JSONDecoder().decode(AgentDefinition.self, from: data) == agent)
        let other = try Self.agent("network: {allow: [a]}")
        let copy = try JSONDecoder().decode(
            AgentDefinition.self, from: try JSONEncoder().encode(other))
        #expect(copy == other && copy.network?.allow.count == 1)
    }

    @Test func settings() throws {
        let config = try SupervisorConfig(
            yaml: """
                allowed_network: {allow: ["*.example.com"]}
                private_destinations: [127.0.0.1:11434, "[::1]:80"]
                """, file: "c")
        #expect(config.allowedNetwork.allow.map(\.description) == ["*.example.com"])
        #expect(config.privateDestinations.texts == ["127.0.0.1:11434", "[::1]:80"])
        #expect(SupervisorConfig().allowedNetwork == .none)
        #expect(SupervisorConfig().privateDestinations.isEmpty)
        for (text, expected) in [
            ("allowed_network: all", "c:1: 'allowed_network' must be none, open"),
            ("private_destinations: 127.0.0.1:80", "c:1: 'private_destinations' must be a list"),
            (
                "private_destinations:\n  - localhost:80",
                "c:2: 'private_destinations' has 'localhost"
            ),
            (
                "private_destinations: [127.0.0.1]",
                "c:1: 'private_destinations' has '127.0.0.1' has no"
            ),
        ] {
            let error = #expect(throws: SettingsError.self) {
                try SupervisorConfig(yaml: text, file: "c")
            }
            #expect(error?.description.hasPrefix(expected) == true, "\(error?.description ?? "")")
        }
    }
}
