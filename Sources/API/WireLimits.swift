/// What a session may use, what of that is enforced, and what it has used.
public struct WireLimits: Codable, Sendable, Hashable {
    /// `required` or `best-effort`.
    public var enforcement: String
    /// Limits by their keys in agent files: bytes, seconds, numbers, thousandths of a processor.
    public var set: [String: Int]
    /// The same as agent files write them: `memory 1GiB`.
    public var text: [String] = []
    /// The wall of the file system, where it has one.
    public var diskQuota: WireDiskQuota?
    /// Keys of limits that this host does not enforce.
    public var notEnforced: [String]
    /// Why, and what to do about it.
    public var note: String?
    public var used: WireUsage?

    public init(enforcement: String, set: [String: Int], notEnforced: [String], note: String?) {
        self.enforcement = enforcement
        self.set = set
        self.notEnforced = notEnforced
        self.note = note
    }
}

/// What the file system lets a session own. 0: no limit.
public struct WireDiskQuota: Codable, Sendable, Hashable {
    public var bytes: Int64
    /// Files and directories.
    public var files: Int64

    public init(bytes: Int64, files: Int64) {
        self.bytes = bytes
        self.files = files
    }
}

/// What a session has used. Nil: not known on this host.
public struct WireUsage: Codable, Sendable, Hashable {
    /// Milliseconds of processor time; of all turns by the clock.
    public var cpuMs: Int64
    public var turnsMs: Int64
    /// Bytes, now and at most since the sandbox was started.
    public var memory: Int64?
    public var memoryPeak: Int64?
    /// Processes and threads, now.
    public var pids: Int?
    /// Forks that failed because of the limit.
    public var pidsRefused: Int64?
    /// Processes that were ended for want of memory.
    public var oomKills: Int64?

    public init(
        cpuMs: Int64, turnsMs: Int64, memory: Int64?, memoryPeak: Int64?, pids: Int?,
        pidsRefused: Int64?, oomKills: Int64?
    ) {
        self.cpuMs = cpuMs
        self.turnsMs = turnsMs
        self.memory = memory
        self.memoryPeak = memoryPeak
        self.pids = pids
        self.pidsRefused = pidsRefused
        self.oomKills = oomKills
    }
}
