public import Foundation

/// A moment on CLOCK_BOOTTIME, which counts through suspend and which no clock change touches.
public struct BootInstant: Sendable, Hashable, Codable {
    /// `/proc/sys/kernel/random/boot_id`: the boot that `nanoseconds` counts from.
    public var bootID: String
    public var nanoseconds: UInt64

    public init(bootID: String, nanoseconds: UInt64) {
        self.bootID = bootID
        self.nanoseconds = nanoseconds
    }
}

/// When an idle session times out (spec row 8): counted on the boot clock; by the wall clock only
/// across a reboot, where nothing is due before the wall clock has had time to be set.
public struct IdleDeadline: Sendable, Hashable, Codable {
    /// Seconds after a boot during which deadlines of earlier boots are not due.
    public static let graceAfterBoot = 300

    /// When the idle clock was started.
    public var since: BootInstant
    public var sinceWall: Date
    public var seconds: Int

    public init(since: BootInstant, sinceWall: Date, seconds: Int) {
        self.since = since
        self.sinceWall = sinceWall
        self.seconds = seconds
    }

    /// Seconds that are left, 0 when it is due.
    public func remaining(_ now: BootInstant, wall: Date) -> Double {
        if now.bootID == since.bootID {
            let elapsed = Double(now.nanoseconds - min(now.nanoseconds, since.nanoseconds)) / 1e9
            return max(0, Double(seconds) - elapsed)
        }
        let elapsed = max(0, wall.timeIntervalSince(sinceWall))
        let sinceBoot = Double(now.nanoseconds) / 1e9
        return max(0, Double(seconds) - elapsed, Double(Self.graceAfterBoot) - sinceBoot)
    }
}
