import API
import Egress
import Foundation
import Sessions
import Settings
import Testing

@Suite("Keys of agents")
struct SecretTests {
    static let root = Caller(user: WireUser(uid: 0, name: "root"), isOperator: true)
    static let value = "sk-real-0123456789"

    static func yaml(_ secrets: String) -> String { "name: mine\ncommand: x\nsecrets: \(secrets)" }

    /// Alice may deploy what goes to example names.
    static func with(_ body: (World, Supervisor) async throws -> Void) async throws {
        try await World.with("command: [x]\nsecrets: {K: {url: https://a.example}}", body)
    }

    static func states(_ supervisor: Supervisor, _ agent: String) async throws -> [String: String] {
        let list = try await supervisor.secrets(agent: agent, caller: root).secrets
        return Dictionary(uniqueKeysWithValues: list.map { ($0.name, $0.state.rawValue) })
    }

    @Test func setListedAndDeleted() async throws {
        try await Self.with { world, supervisor in
            #expect(try await Self.states(supervisor, "bot") == ["K": "not_set"])
            try await supervisor.setSecret("K", agent: "bot", value: Self.value, caller: Self.root)
            #expect(try await Self.states(supervisor, "bot") == ["K": "set"])
            let agent = try await supervisor.catalog.version(named: "bot")
            let found = await world.secrets.value(of: "K", agent)
            #expect(String(decoding: try found.get().reveal(), as: UTF8.self) == Self.value)
            try await supervisor.deleteSecret("K", agent: "bot", caller: Self.root)
            #expect(try await Self.states(supervisor, "bot") == ["K": "not_set"])
            await #expect(throws: SessionSecrets.Problem.self) {
                try await world.secrets.value(of: "K", agent).get()
            }
            let error = await #expect(throws: WireError.self) {
                try await supervisor.deleteSecret("K", agent: "bot", caller: Self.root)
            }
            #expect(error?.code == .secretNotFound)
        }
    }

    @Test func whatIsRefused() async throws {
        try await Self.with { _, supervisor in
            for (key, agent, value, code) in [
                ("L", "bot", Self.value, WireErrorCode.secretNotFound),
                ("K", "nobody", Self.value, .agentNotFound), ("K", "bot", "short", .badRequest),
                ("K", "bot", "two\nlines of it", .badRequest),
                ("K", "bot", "with space inside", .badRequest),
                ("K", "bot", String(repeating: "x", count: 16385), .badRequest),
                ("K", "bot", "", .badRequest),
            ] {
                let error = await #expect(throws: WireError.self) {
                    try await supervisor.setSecret(
                        key, agent: agent, value: value, caller: Self.root)
                }
                #expect(error?.code == code, "\(key) \(agent) \(value.prefix(20))")
                #expect(error?.message.contains(Self.value) != true)
            }
        }
    }

    /// Files are the operator's; a deployed agent's keys are its deployer's.
    @Test func whoMay() async throws {
        try await Self.with { world, supervisor in
            for caller in [world.alice, world.bob] {
                await #expect(throws: WireError.self) {
                    try await supervisor.setSecret(
                        "K", agent: "bot", value: Self.value, caller: caller)
                }
            }
            _ = try await supervisor.catalog.deploy(
                yaml: Self.yaml("{K: {plain: true}}"), source: nil, caller: world.alice)
            try await supervisor.setSecret(
                "K", agent: "mine", value: Self.value, caller: world.alice)
            #expect(
                try await supervisor.secrets(agent: "mine", caller: world.alice).secrets.first?
                    .plain
                    == true)
            for action in 0..<3 {
                let error = await #expect(throws: WireError.self) {
                    switch action {
                    case 0: _ = try await supervisor.secrets(agent: "mine", caller: world.bob)
                    case 1:
                        try await supervisor.setSecret(
                            "K", agent: "mine", value: Self.value, caller: world.bob)
                    default:
                        try await supervisor.deleteSecret("K", agent: "mine", caller: world.bob)
                    }
                }
                #expect(error?.code == .forbidden)
            }
        }
    }

    /// What was set for one place is never sent to another, and never put into an environment.
    @Test(arguments: [
        "{K: {url: https://b.example}}", "{K: {url: https://a.example/other}}",
        "{K: {url: https://a.example:8443}}", "{K: {url: https://a.example, header: X-Key}}",
        "{K: {plain: true}}",
    ])
    func aChangeWithholds(_ other: String) async throws {
        try await Self.with { world, supervisor in
            let first = Self.yaml("{K: {url: https://a.example}}")
            let old = try await supervisor.catalog.deploy(
                yaml: first, source: nil, caller: Self.root)
            try await supervisor.setSecret("K", agent: "mine", value: Self.value, caller: Self.root)
            let new = try await supervisor.catalog.deploy(
                yaml: Self.yaml(other), source: nil, caller: Self.root)
            let answer = await world.secrets.value(of: "K", new)
            guard case .failure(let problem) = answer else {
                Issue.record("the key was given")
                return
            }
            #expect(problem.code == "secret_withheld" && problem.text.contains("set it again"))
            #expect(try await Self.states(supervisor, "mine") == ["K": "withheld"])
            // Sessions of the old version go on.
            _ = try await world.secrets.value(of: "K", old).get()
            try await supervisor.setSecret(
                "K", agent: "mine", value: "new-value-1", caller: Self.root)
            _ = try await world.secrets.value(of: "K", new).get()
            await #expect(throws: SessionSecrets.Problem.self) {
                try await world.secrets.value(of: "K", old).get()
            }
        }
    }

    @Test func deletedWithTheAgent() async throws {
        try await Self.with { world, supervisor in
            let yaml = Self.yaml("{K: {plain: true}}")
            _ = try await supervisor.catalog.deploy(yaml: yaml, source: nil, caller: world.alice)
            try await supervisor.setSecret(
                "K", agent: "mine", value: Self.value, caller: world.alice)
            try await supervisor.catalog.delete(named: "mine", caller: world.alice)
            _ = try await supervisor.catalog.deploy(yaml: yaml, source: nil, caller: world.bob)
            let states = try await supervisor.secrets(agent: "mine", caller: world.bob).secrets
            #expect(states.map(\.state) == [.notSet])
        }
    }

    @Test func anotherMasterKey() async throws {
        try await Self.with { world, supervisor in
            try await supervisor.setSecret("K", agent: "bot", value: Self.value, caller: Self.root)
            try FileManager.default.removeItem(at: world.directory.appending(path: "key"))
            let agent = try await supervisor.catalog.version(named: "bot")
            guard case .failure(let problem) = await world.secrets.value(of: "K", agent) else {
                Issue.record("the key was given")
                return
            }
            #expect(problem.code == "secret_unreadable")
        }
    }

    @Test func removedFromTheFile() async throws {
        try await Self.with { world, supervisor in
            _ = try await supervisor.catalog.deploy(
                yaml: Self.yaml("{K: {plain: true}}"), source: nil, caller: world.alice)
            try await supervisor.setSecret(
                "K", agent: "mine", value: Self.value, caller: world.alice)
            _ = try await supervisor.catalog.deploy(
                yaml: "name: mine\ncommand: x", source: nil, caller: world.alice)
            #expect(try await Self.states(supervisor, "mine") == ["K": "unused"])
            try await supervisor.deleteSecret("K", agent: "mine", caller: world.alice)
            #expect(try await Self.states(supervisor, "mine").isEmpty)
        }
    }

    @Test func ceilings() throws {
        let ceilings = AgentCeilings(
            mounts: [], roots: [], network: try NetworkPolicy(allow: [NetworkRule("a.example")]),
            forbidden: [])
        for (secrets, part) in [
            ("{K: {url: https://a.example}}", nil), ("{K: {plain: true}}", nil),
            ("{K: {url: https://b.example}}", "'secrets' sends K to b.example:443"),
            ("{K: {url: https://a.example:8443}}", "a.example:8443"),
        ] as [(String, String?)] {
            let agent = try AgentDefinition(yaml: Self.yaml(secrets), file: "f")
            let objection = ceilings.objection(to: agent, trusted: false)
            #expect((objection == nil) == (part == nil))
            if let part { #expect(objection?.contains(part) == true) }
            #expect(ceilings.objection(to: agent, trusted: true) == nil)
        }
    }
}
