internal import CSandbox
internal import CDispatch
internal import Foundation
internal import Glibc

/// What systemd is told about this process (sd_notify(3)); nothing happens under anybody else.
struct ServiceManager: Sendable {
    /// Seconds between two signs of life that systemd asks for; nil: it asks for none.
    let watchdogSeconds: Double?

    init(environment: [String: String] = ProcessInfo.processInfo.environment, pid: Int32 = getpid())
    {
        // Another process's, where WATCHDOG_PID says so (sd_watchdog_enabled(3)).
        let isOurs = environment["WATCHDOG_PID"].map { Int32($0) == pid } ?? true
        let microseconds = environment["WATCHDOG_USEC"].flatMap(UInt64.init) ?? 0
        watchdogSeconds = isOurs && microseconds > 0 ? Double(microseconds) / 1e6 : nil
    }

    func ready(_ status: String) { tell(["READY=1", "STATUS=\(Self.line(status))"]) }

    func status(_ status: String) { tell(["STATUS=\(Self.line(status))"]) }

    /// To be followed by `ready`. The time tells systemd which reload it hears of.
    func reloading() {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        let microseconds = UInt64(now.tv_sec) * 1_000_000 + UInt64(now.tv_nsec) / 1000
        tell(["RELOADING=1", "MONOTONIC_USEC=\(microseconds)"])
    }

    func stopping() { tell(["STOPPING=1", "STATUS=Leaving; agents run on"]) }

    func isAlive() { tell(["WATCHDOG=1"]) }

    private func tell(_ lines: [String]) {
        _ = csandbox_service_notify(lines.joined(separator: "\n") + "\n")
    }

    /// One line: what follows a line break would be taken for a variable.
    static func line(_ text: String) -> String {
        String(text.map { $0.isNewline || $0.asciiValue.map { $0 < 0x20 } == true ? " " : $0 })
    }
}
