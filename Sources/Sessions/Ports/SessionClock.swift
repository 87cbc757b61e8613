internal import CSandbox
public import Foundation

/// The clocks a session lives by; tests inject their own.
public protocol SessionClock: Sendable {
    /// CLOCK_BOOTTIME and the id of this boot.
    var boot: BootInstant { get }
    var wall: Date { get }
}

/// The machine's clocks.
public struct SystemClock: SessionClock {
    private let bootID: String

    public init() {
        let path = "/proc/sys/kernel/random/boot_id"
        let text = try? String(contentsOfFile: path, encoding: .utf8)
        bootID = text?.trimmingCharacters(in: .whitespacesAndNewlines) ?? "unknown"
    }

    public var boot: BootInstant {
        BootInstant(bootID: bootID, nanoseconds: csandbox_boottime_ns())
    }
    public var wall: Date { Date() }
}
