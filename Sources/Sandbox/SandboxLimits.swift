internal import CSandbox

/// Limits that a session's control group enforces. Nil: none.
public struct SandboxLimits: Sendable, Hashable {
    /// Bytes.
    public var memory: UInt64?
    public var memoryHigh: UInt64?
    public var swap: UInt64?
    /// Processes and threads.
    public var pids: UInt64?
    /// Thousandths of a processor.
    public var cpu: UInt64?
    /// 1 to 10000.
    public var cpuWeight: UInt64?
    public var ioWeight: UInt64?
    /// Those without which the sandbox is not started.
    public var required: Set<Limit> = []

    public init() {}

    /// What a control group can limit; the raw value is the key in agent files. `cpuTime` stands
    /// for limits that the supervisor enforces, where it can be told how much was used.
    public enum Limit: String, Codable, Sendable, CaseIterable {
        case memory
        case memoryHigh = "memory_high"
        case swap, pids, cpu
        case cpuWeight = "cpu_weight"
        case ioWeight = "io_weight"
        case cpuTime = "cpu_time"

        var bit: UInt64 {
            let number =
                switch self {
                case .memory: CSANDBOX_LIMIT_MEMORY
                case .memoryHigh: CSANDBOX_LIMIT_MEMORY_HIGH
                case .swap: CSANDBOX_LIMIT_SWAP
                case .pids: CSANDBOX_LIMIT_PIDS
                case .cpu: CSANDBOX_LIMIT_CPU
                case .cpuWeight: CSANDBOX_LIMIT_CPU_WEIGHT
                case .ioWeight: CSANDBOX_LIMIT_IO_WEIGHT
                case .cpuTime: CSANDBOX_LIMIT_CPU_TIME
                }
            return 1 << UInt64(number.rawValue)
        }
    }

    /// `struct csandbox_limits`.
    var bytes: [UInt8] {
        let none = UInt64.max  // CSANDBOX_UNLIMITED, which Swift does not see
        let quota = cpu.map { max(1000, $0 * UInt64(CSANDBOX_CPU_PERIOD) / 1000) }
        let value = csandbox_limits(
            version: CSANDBOX_LIMITS_VERSION,
            required: UInt32(required.reduce(0) { $0 | $1.bit }),
            memory: memory ?? none, memory_high: memoryHigh ?? none, swap: swap ?? none,
            pids: pids ?? none, cpu_quota: quota ?? none, cpu_weight: cpuWeight ?? none,
            io_weight: ioWeight ?? none)
        return withUnsafeBytes(of: value) { Array($0) }
    }
}

/// Which limits hold, and why not all.
public struct LimitEnforcement: Codable, Sendable, Hashable {
    public var inForce: Set<SandboxLimits.Limit>
    /// Cause and remedy; nil where nothing is missing.
    public var note: String?

    public init(inForce: Set<SandboxLimits.Limit>, note: String?) {
        self.inForce = inForce
        self.note = note
    }

    init(_ fields: Fields) {
        let bits = fields.number(CSANDBOX_TAG_ENFORCED) ?? 0
        inForce = Set(SandboxLimits.Limit.allCases.filter { bits & $0.bit != 0 })
        note = fields.text(CSANDBOX_TAG_DETAIL)
    }
}

/// A sandbox that has been started.
public struct StartedSandbox: Sendable, Hashable {
    public var process: ProcessIdentity
    public var enforcement: LimitEnforcement
    /// Nil: not known.
    public var quota: DiskQuota?

    public init(
        process: ProcessIdentity, enforcement: LimitEnforcement, quota: DiskQuota? = nil
    ) {
        self.process = process
        self.enforcement = enforcement
        self.quota = quota
    }
}

/// What a session's agent has used since its sandbox was started. Nil: not known here.
public struct SandboxUsage: Sendable, Hashable {
    /// Microseconds of processor time.
    public var cpu: UInt64?
    /// Bytes, now and at most.
    public var memory: UInt64?
    public var memoryPeak: UInt64?
    /// Processes that the kernel ended for want of memory.
    public var oomKills: UInt64?
    /// Processes and threads, now.
    public var pids: UInt64?
    /// Forks that failed because of the limit.
    public var pidsRefused: UInt64?
    /// Whether a process of the agent's lives.
    public var isPopulated: Bool?

    /// Nothing is known.
    public init() {}

    init(_ fields: Fields) {
        guard let bytes = fields.bytes(CSANDBOX_TAG_USAGE),
            bytes.count == MemoryLayout<csandbox_usage>.size
        else { return }
        let used = bytes.withUnsafeBytes { $0.loadUnaligned(as: csandbox_usage.self) }
        guard used.version == CSANDBOX_LIMITS_VERSION else { return }
        func known(_ kind: csandbox_usage_kind, _ value: UInt64) -> UInt64? {
            used.known & UInt32(kind.rawValue) != 0 ? value : nil
        }
        cpu = known(CSANDBOX_USAGE_CPU, used.cpu_us)
        memory = known(CSANDBOX_USAGE_MEMORY, used.memory)
        memoryPeak = known(CSANDBOX_USAGE_MEMORY_PEAK, used.memory_peak)
        oomKills = known(CSANDBOX_USAGE_OOM_KILLS, used.oom_kills)
        pids = known(CSANDBOX_USAGE_PIDS, used.pids)
        pidsRefused = known(CSANDBOX_USAGE_PIDS_REFUSED, used.pids_refused)
        isPopulated = known(CSANDBOX_USAGE_POPULATED, used.populated).map { $0 != 0 }
    }
}
