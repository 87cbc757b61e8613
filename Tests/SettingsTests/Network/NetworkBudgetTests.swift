import Foundation
import Testing

@testable import Settings

@Suite("Budgets and prices in files")
struct NetworkBudgetTests {
    static func agent(_ text: String) throws -> AgentDefinition {
        try AgentDefinition(yaml: "name: a\ncommand: x\n" + text, file: "a.yaml")
    }

    @Test func everyKind() throws {
        let agent = try Self.agent(
            """
            prices:
              gpt-*: {input: 2.50, output: 10, cached: 1.25}
            budget:
              bytes_out: 20MiB
              bytes_in: 1GiB
              connections: 100
              requests: 0
              tokens: 2000000
              cost: 1.5
            """)
        let budget = try #require(agent.budget)
        #expect(
            NetworkBudget.Kind.allCases.map { budget[$0] } == [
                20 << 20, 1 << 30, 100, 0, 2_000_000, 1_500_000,
            ])
        let stored = try JSONEncoder().encode(agent)
        #expect(try JSONDecoder().decode(AgentDefinition.self, from: stored) == agent)
        #expect(try Self.agent("").budget == nil)
        #expect(
            try SupervisorConfig(yaml: "allowed_budget: {tokens: 5}", file: "c").allowedBudget[
                .tokens] == 5)
    }

    @Test(arguments: [
        ("budget:\n  bytes_out: 20MB", 4, "must be a size"), ("budget:\n  tokens: -1", 4, "whole"),
        ("budget:\n  tokens: 1.5", 4, "whole"), ("budget:\n  bytes_in: -4", 4, "must be a size"),
        ("budget:\n\n  requests: 99999999999999", 5, "at most"),
        ("budget: {byte: 1}", 3, "unknown key 'byte'"), ("budget: 5", 3, "mapping"),
        ("budget:\n  cost: 5", 3, "needs 'prices'"),
        ("prices: {m: {input: 1, output: 1}}\nbudget:\n  cost: 1e3", 5, "US dollars"),
        ("prices: {m: {input: 1, output: 1}}\nbudget:\n  cost: 0.1234567", 5, "US dollars"),
        ("prices: {}", 3, "has no model"), ("prices:\n  m: {input: 1}", 4, "'input' and 'output'"),
        ("prices:\n  m: 3", 4, "mapping"), ("prices:\n  m: {input: 1, output: 10001}", 4, "10000"),
        ("prices:\n  m:\n    input: x\n    output: 1", 5, "dollars"),
        ("prices:\n  m: {input: 1, output: 1, more: 1}", 4, "unknown key 'more'"),
    ])
    func mistakes(_ text: String, _ line: Int, _ part: String) {
        let error = #expect(throws: SettingsError.self) { try Self.agent(text) }
        #expect(error?.line == line)
        #expect(error?.message.contains(part) == true, "\(error?.message ?? "")")
    }

    @Test func costNeedsPricesInTheConfigurationToo() {
        #expect(throws: SettingsError.self) {
            try SupervisorConfig(yaml: "allowed_budget: {cost: 5}", file: "c")
        }
    }

    @Test func changes() throws {
        let base = try NetworkBudget(changes: ["bytes_out=1MiB", "tokens=10"])
        let changed = base.changed(by: try NetworkBudget(changes: ["tokens=none", "requests=3"]))
        #expect(changed[.tokens] == nil && changed[.requests] == 3)
        #expect(changed[.bytesOut] == 1 << 20)
        for text in ["tokens", "tokens=", "token=1", "tokens=-1", "tokens=1=2", "=1", "cost=$1"] {
            #expect(throws: NetworkTextError.self) { try NetworkBudget(changes: [text]) }
        }
        #expect(throws: NetworkTextError.self) {
            try NetworkBudget(changes: ["tokens=1", "tokens=2"])
        }
    }

    @Test func ceilings() throws {
        let ceiling = try NetworkBudget(changes: ["bytes_out=100", "tokens=10"])
        let own = try NetworkBudget(changes: ["bytes_out=50", "tokens=11", "requests=9"])
        #expect(own.excess(over: ceiling) == .tokens)
        #expect(own.excess(over: NetworkBudget()) == nil)
        let within = own.within(ceiling)
        #expect([within[.bytesOut], within[.tokens], within[.requests]] == [50, 10, 9])
        #expect(NetworkBudget().within(ceiling) == ceiling)
        let most = try NetworkBudget(changes: ["tokens=none"])
        #expect(most.excess(over: ceiling) == .tokens)
    }

    @Test(arguments: [
        ("gpt-4o", 1_000_000, 0, 0, 2_500_000), ("gpt-4o", 0, 0, 1_000_000, 10_000_000),
        ("gpt-4o", 1_000_000, 400_000, 0, 2_000_000), ("gpt-4o-mini", 1_000_000, 0, 0, 150_000),
        ("gpt-4o-mini", 1, 0, 0, 1), ("claude", 1_000_000, 0, 1_000_000, 25_000_000),
        (nil, 1_000_000, 0, 0, 5_000_000), ("gpt-4o", 0, 0, 0, 0),
    ])
    func costs(_ model: String?, _ input: Int64, _ cached: Int64, _ output: Int64, _ cost: Int64)
        throws
    {
        let agent = try Self.agent(
            """
            prices:
              "gpt-*": {input: 2.50, output: 10, cached: 1.25}
              gpt-*-mini: {input: 0.15, output: 0.6}
              other: {input: 5, output: 20}
            """)
        let prices = try #require(agent.prices)
        #expect(
            prices.cost(model: model, input: input, cached: cached, output: output) == cost)
    }

    /// The largest numbers that can come do not overflow.
    @Test func theDearestCall() throws {
        let prices = try #require(
            try Self.agent("prices: {\"*\": {input: 10000, output: 10000}}").prices)
        let most = ModelPrices.maximumTokens
        #expect(prices.cost(model: "m", input: 3 * most, cached: most, output: most) > 0)
    }

    @Test func patterns() {
        for (name, pattern, fits) in [
            ("a", "a", true), ("a", "b", false), ("abc", "a*", true), ("abc", "*c", true),
            ("abc", "a*c", true), ("ac", "a*c", true), ("a", "a*a", false),
            ("abcbd", "a*b*d", true),
            ("abd", "a*b*b*d", false), ("", "*", true), ("x", "**", true),
        ] {
            #expect(ModelPrices.fits(name, pattern) == fits, "\(name) \(pattern)")
        }
    }

    @Test func linesOfKeys() {
        let text = "name: a\nbudget:\n  tokens: 1\n  requests: 2\nnetwork: none\n"
        #expect(AgentDefinition.line(of: "budget.requests", in: text) == 4)
        #expect(AgentDefinition.line(of: "network", in: text) == 5)
        #expect(AgentDefinition.line(of: "mounts", in: text) == nil)
    }
}
