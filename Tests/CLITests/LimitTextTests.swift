import API
import Foundation
import Testing

@testable import CLI

/// What `sessions get` says of limits.
@Suite struct LimitTextTests {
    private func text(_ limits: WireLimits?) -> String {
        var session = Fixture.session()
        session.limits = limits
        return SessionDetails(session: session, now: Date(), palette: Palette(isEnabled: false))
            .text
    }

    @Test func limitsAndWhatIsNotEnforced() {
        var limits = WireLimits(
            enforcement: "best-effort", set: ["memory": 1 << 30, "pids": 9],
            notEnforced: ["memory", "pids"], note: "no\u{1b}[31m cgroup v2")
        limits.text = ["memory 1GiB", "pids 9"]
        limits.used = WireUsage(
            cpuMs: 1540, turnsMs: 9000, memory: 1 << 20, memoryPeak: 5 << 20, pids: 3,
            pidsRefused: 7, oomKills: 1)
        let text = text(limits)
        #expect(text.contains("Limits:       memory 1GiB, pids 9\n"))
        #expect(
            text.contains(
                "Used:         1.5 s of processor time; memory 1 MiB, at most 5 MiB; 3 processes; 7 refused at the limit; out of memory\n"
            ))
        #expect(text.contains("Not enforced: memory, pids (no"))
        #expect(!text.contains("\u{1b}"))
    }

    /// The time of a turn has a limit always, which is not worth a line.
    @Test func nothingWhereNothingIsLimited() {
        let limits = WireLimits(
            enforcement: "best-effort", set: ["turn_time": 21600], notEnforced: [], note: nil)
        #expect(text(limits) == text(nil))
    }

    @Test func aWallIsWorthALine() {
        var limits = WireLimits(
            enforcement: "best-effort", set: ["turn_time": 21600], notEnforced: [], note: nil)
        limits.text = ["disk 2GiB (quota)"]
        limits.diskQuota = WireDiskQuota(bytes: 2 << 30, files: 0)
        #expect(text(limits).contains("Limits:       disk 2GiB (quota)\n"))
    }
}
