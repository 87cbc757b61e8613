import Foundation
import Settings
import Testing

@Suite("Supervisor configuration")
struct SupervisorConfigTests {
    @Test func emptyFileIsEveryDefault() throws {
        #expect(try SupervisorConfig(yaml: "", file: "c") == SupervisorConfig())
        #expect(try SupervisorConfig(yaml: "# nothing\n", file: "c") == SupervisorConfig())
    }

    /// The documented file shows every key with its default: reading it changes nothing.
    @Test func documentedFileIsEveryDefault() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = try String(
            contentsOf: root.appending(path: "config/superserved.yaml"), encoding: .utf8)
        #expect(try SupervisorConfig(yaml: text, file: "c") == SupervisorConfig())
    }

    @Test(arguments: [
        ("idle_timeout: 5s", "c:1: 'idle_timeout' must be between 10"),
        ("\n\nidletimeout: 5s", "c:3: unknown key 'idletimeout'"),
        ("max_message: 2MiB", "c:1: 'max_message' must be between"),
        ("max_message: lots", "c:1: 'max_message' must be a size"),
        ("log_level: loud", "c:1: 'log_level' must be one of"),
        ("allowed_mounts: [a/b]", "c:1: 'allowed_mounts' has 'a/b'"),
        ("service_uid: 0", "c:1: 'service_uid' must be between 1"),
    ])
    func mistakesNameFileAndLine(_ text: String, _ expected: String) {
        let error = #expect(throws: SettingsError.self) {
            try SupervisorConfig(yaml: text, file: "c")
        }
        #expect(error?.description.hasPrefix(expected) == true, "\(error?.description ?? "")")
    }

    @Test(arguments: [
        ("90", 90), ("90s", 90), ("29m", 1740), ("2h", 7200), ("30d", 2_592_000), ("", nil),
        ("s", nil),
        ("-5s", nil), ("1.5h", nil), ("5 s", nil), ("99999999999999999999d", nil), ("٣s", nil),
    ])
    func durations(_ text: String, _ seconds: Int?) {
        #expect(Duration.seconds(parsing: text) == seconds)
    }
}
