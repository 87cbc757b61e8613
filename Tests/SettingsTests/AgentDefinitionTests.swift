import Settings
import Testing

@Suite("Agent files")
struct AgentDefinitionTests {
    @Test func everyKeyIsRead() throws {
        let agent = try AgentDefinition(
            yaml: """
                name: my-agent
                command: [python3, /agent/main.py]
                protocol: exec
                continue: [python3, /agent/main.py, --continue]
                source: .
                root: /srv/roots/debian
                mounts: [/opt/tools, "/srv/data:/data"]
                loosen: [landlock-files]
                env: {MODE: fast, N: "3"}
                idle_timeout: 10m
                turn_timeout: 1h
                start_timeout: 5s
                cancel_grace: 2
                """, file: "a.yaml")
        #expect(agent.command == ["python3", "/agent/main.py"])
        #expect(agent.continueCommand == ["python3", "/agent/main.py", "--continue"])
        #expect(agent.dialect == .exec)
        #expect(agent.mounts.map(\.inside) == ["/opt/tools", "/data"])
        #expect(agent.environment == ["MODE": "fast", "N": "3"])
        #expect(agent.loosened == ["landlock-files"])
        #expect(agent.idleTimeout == 600)
        #expect(agent.turnTimeout == 3600)
        #expect(agent.startTimeout == 5)
        #expect(agent.cancelGrace == 2)
    }

    @Test func defaultsAndCommandAsText() throws {
        let agent = try AgentDefinition(yaml: "name: a\ncommand: echo hi", file: "a.yaml")
        #expect(agent.command == ["/bin/sh", "-c", "echo hi"])
        #expect(agent.dialect == .native)
        #expect(agent.turnTimeout == 6 * 3600)
        #expect(agent.idleTimeout == nil)
    }

    @Test(arguments: [
        ("name: A\ncommand: x", "a.yaml:1: 'name' must be lower-case"),
        ("name: a", "a.yaml:1: 'command' is required"),
        ("command: x", "a.yaml:1: 'name' is required"),
        ("name: a\ncommand: x\ncolour: red", "a.yaml:3: unknown key 'colour'"),
        ("name: a\nname: b\ncommand: x", "a.yaml"),
        ("name: a\ncommand: []", "a.yaml:2: 'command' must name a program"),
        (
            "name: a\ncommand: x\nprotocol: smoke",
            "a.yaml:3: 'protocol' must be one of: native, exec"
        ),
        ("name: a\ncommand: x\ncontinue: y", "a.yaml:3: 'continue' needs 'protocol: exec'"),
        ("name: a\ncommand: x\nidle_timeout: 9s", "a.yaml:3: 'idle_timeout' must be between 10"),
        ("name: a\ncommand: x\nidle_timeout: soon", "a.yaml:3: 'idle_timeout' must be a duration"),
        ("name: a\ncommand: x\nmounts: [../etc]", "a.yaml:3: 'mounts' has '../etc'"),
        ("name: a\ncommand: x\nmounts: [\"/a:/b/../c\"]", "a.yaml:3: 'mounts' has"),
        ("name: a\ncommand: x\nroot: srv", "a.yaml:3: 'root' must be an absolute path"),
        ("name: a\ncommand: x\nenv: {\"1A\": b}", "a.yaml:3: 'env' has '1A'"),
        ("name: a\ncommand: x\nenv: {SUPERSERVE_X: b}", "a.yaml:3: 'env' has 'SUPERSERVE_X'"),
        ("- a\n- b", "a.yaml:1: the file must be a mapping"),
        ("name: [", "a.yaml"),
        ("", "a.yaml: 'name' is required"),
    ])
    func mistakesNameFileAndLine(_ text: String, _ expected: String) {
        let error = #expect(throws: SettingsError.self) {
            try AgentDefinition(yaml: text, file: "a.yaml")
        }
        #expect(error?.description.hasPrefix(expected) == true, "\(error?.description ?? "")")
    }

    @Test func aliasBombsStayBounded() {
        var text = "name: a\ncommand: x\nenv: &e0 {A: b}\n"
        text += String(repeating: "k: v\n", count: 300_000)
        #expect(throws: SettingsError.self) { try AgentDefinition(yaml: text, file: "a.yaml") }
    }
}
