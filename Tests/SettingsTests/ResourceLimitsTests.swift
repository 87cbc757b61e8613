import Foundation
import Settings
import Testing

@Suite("Limits in agent files and in the configuration")
struct ResourceLimitsTests {
    private func agent(_ limits: String) throws -> ResourceLimits {
        let yaml = "name: a\ncommand: x\nlimits:\n" + limits
        return try #require(try AgentDefinition(yaml: yaml, file: "f").limits)
    }

    @Test func everyKey() throws {
        let limits = try agent(
            """
              memory: 1GiB
              memory_high: 900MiB
              swap: 0
              pids: 200
              cpu: 1.25
              cpu_weight: 50
              io_weight: 10000
              turn_cpu: 10m
              session_cpu: 2h
              session_time: 1d
              disk: 5GiB
            """)
        #expect(
            limits.descriptions == [
                "memory 1GiB", "memory_high 900MiB", "swap 0", "pids 200", "cpu 1.25",
                "cpu_weight 50", "io_weight 10000", "turn_cpu 600s", "session_cpu 7200s",
                "session_time 86400s", "disk 5GiB",
            ])
    }

    @Test(arguments: [
        ("2", 2000), ("0.5", 500), ("1.25", 1250), ("0.01", 10), ("1024", 1_024_000),
        ("1.005", 1005),
    ])
    func processors(_ text: String, _ thousandths: Int) throws {
        let limits = try agent("  cpu: \(text)")
        #expect(limits.cpu == thousandths)
        #expect(limits.descriptions == ["cpu \(text)"])
    }

    /// Negative, nothing, absurd, another unit, too much: each with its line.
    @Test(arguments: [
        ("memory: -1", "'memory' must be between"), ("memory: 0", "'memory' must be between"),
        ("memory: -5MiB", "'memory' must be a size"), ("memory: 1GB", "'memory' must be a size"),
        ("memory: 2h", "'memory' must be a size"), ("memory: 1023KiB", "'memory' must be between"),
        ("memory: 99999999999GiB", "'memory' must be a size"),
        ("memory: 9999999GiB", "'memory' must be between"),
        ("memory: [1]", "'memory' must be text"),
        ("pids: 0", "'pids' must be between 2"), ("pids: -3", "'pids' must be between 2"),
        ("pids: 1", "'pids' must be between 2"), ("pids: many", "'pids' must be a whole number"),
        ("pids: 99999999", "'pids' must be between"), ("pids: 10KiB", "'pids' must be a whole"),
        ("cpu: 0", "'cpu' must be between 0.01"), ("cpu: -1", "'cpu' must be a number of proc"),
        ("cpu: 150%", "'cpu' must be a number of proc"), ("cpu: 1.", "'cpu' must be a number of"),
        ("cpu: 1.2345", "'cpu' must be a number of"), ("cpu: 1e3", "'cpu' must be a number of"),
        ("cpu: 9999", "'cpu' must be between 0.01"), ("cpu: 1,5", "'cpu' must be a number of"),
        ("cpu_weight: 0", "'cpu_weight' must be between 1"),
        ("io_weight: 10001", "'io_weight' must be between 1"),
        ("turn_cpu: 0", "'turn_cpu' must be between 1"),
        ("turn_cpu: 1MiB", "'turn_cpu' must be a duration"),
        ("session_cpu: -5s", "'session_cpu' must be a duration"),
        ("session_time: 9999d", "'session_time' must be between"),
        ("turn_time: 5m", "unknown key 'turn_time'"), ("memroy: 1GiB", "unknown key 'memroy'"),
        ("disk: 10", "'disk' must be between"), ("disk: hardly", "'disk' must be a size"),
        ("disk: [hard]", "'disk' must be text"),
        ("swap: -1", "'swap' must be between"),
    ])
    func mistakesNameTheLine(_ line: String, _ expected: String) {
        let error = #expect(throws: SettingsError.self) { try agent("  \(line)") }
        #expect(
            error?.description.hasPrefix("f:4: \(expected)") == true, "\(error?.description ?? "")")
    }

    @Test func highIsNotAboveMemory() {
        let error = #expect(throws: SettingsError.self) {
            try agent("  memory: 1MiB\n  memory_high: 2MiB")
        }
        #expect(error?.line == 5)
        #expect(error?.message.contains("more than 'memory'") == true)
    }

    @Test func limitsAreAMapping() {
        #expect(throws: SettingsError.self) {
            try AgentDefinition(yaml: "name: a\ncommand: x\nlimits: 5", file: "f")
        }
    }

    @Test func defaultsFillAndCeilingsCut() throws {
        let config = try SupervisorConfig(
            yaml: """
                limits: required
                default_limits: {memory: 1GiB, pids: 100, cpu: 1}
                allowed_limits: {memory: 2GiB, pids: 50, turn_time: 1h, disk: 1GiB}
                """, file: "c")
        #expect(config.limits == .required)
        let own = try agent("  memory: 1536MiB\n  cpu: 3")
        let free = own.completed(by: config.defaultLimits, within: nil)
        #expect(
            free.descriptions == ["memory 1536MiB", "swap 0", "pids 100", "cpu 3"])
        let held = own.completed(by: config.defaultLimits, within: config.allowedLimits)
        #expect(
            held.descriptions == [
                "memory 1536MiB", "swap 0", "pids 50", "cpu 3", "turn_time 3600s", "disk 1GiB",
            ])
        #expect(own.excess(over: config.allowedLimits) == nil)
        let more = try agent("  memory: 3GiB")
        let excess = try #require(more.excess(over: config.allowedLimits))
        #expect(excess == ("memory", "3GiB", "2GiB"))
    }

    /// A wall and a watched size answer one question: a default fills in for neither of them. A
    /// ceiling is watched beside a wall.
    @Test func aWallForTheDisk() throws {
        let hard = try agent("  disk: hard")
        let sized = try agent("  disk: 2GiB")
        let silent = try agent("  pids: 5")
        #expect(hard.needsDiskQuota == true && hard.disk == nil)
        #expect(hard.descriptions == ["disk hard"])
        #expect(hard.completed(by: sized, within: nil).descriptions == ["disk hard"])
        #expect(
            hard.completed(by: silent, within: sized).descriptions.suffix(2)
                == ["disk 2GiB", "disk hard"])
        #expect(sized.completed(by: hard, within: nil).descriptions == ["disk 2GiB"])
        #expect(silent.completed(by: hard, within: nil).descriptions == ["pids 5", "disk hard"])
        #expect(hard.excess(over: sized) == nil)
    }

    /// What was stored before there were walls.
    @Test func earlierRecordsAreRead() throws {
        let old = try JSONDecoder().decode(
            ResourceLimits.self, from: Data(#"{"disk":1048576,"pids":9}"#.utf8))
        #expect(old.descriptions == ["pids 9", "disk 1MiB"])
    }

    /// Swap is not taken for granted, and an upper mark is not above a ceiling.
    @Test func swapAndHighFollowMemory() throws {
        var ceiling = ResourceLimits()
        ceiling.memory = 64 << 20
        let limits = try agent("  memory_high: 100MiB\n  swap: 1GiB")
        let held = limits.completed(by: ResourceLimits(), within: ceiling)
        #expect(held.descriptions == ["memory 64MiB", "memory_high 64MiB", "swap 1GiB"])
        #expect(ResourceLimits().completed(by: ResourceLimits(), within: nil) == ResourceLimits())
    }

    @Test(arguments: [
        ("limits: sometimes", "c:1: 'limits' must be one of: required, best-effort"),
        ("limits: required", "c:1: 'limits' is 'required': 'default_limits' must have"),
        (
            "default_limits: {memory: 1GiB, pids: 5}\nlimits: required",
            "c:2: 'limits' is 'required': 'default_limits' must have"
        ),
        ("default_limits:\n  pids: 0", "c:2: 'pids' must be between 2"),
        ("allowed_limits:\n  turn_time: 0", "c:2: 'turn_time' must be between 1"),
        ("default_limits:\n  turn_time: 5", "c:2: unknown key 'turn_time'"),
        ("allowed_limits:\n  disk: hard", "c:2: 'disk' must be a size: 'hard' belongs into"),
    ])
    func mistakesInTheConfiguration(_ text: String, _ expected: String) {
        let error = #expect(throws: SettingsError.self) {
            try SupervisorConfig(yaml: text, file: "c")
        }
        #expect(error?.description.hasPrefix(expected) == true, "\(error?.description ?? "")")
    }
}
