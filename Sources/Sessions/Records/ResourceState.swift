public import Sandbox
public import Settings

/// The limits of a session, which of them hold, and what has been used; stored with the sandbox.
public struct ResourceState: Codable, Sendable, Hashable {
    /// What its newest sandbox was started with.
    public var limits = ResourceLimits()
    public var enforcement = LimitEnforcement(inForce: [], note: nil)
    /// What the file system let it own then; nil where that was not known.
    public var quota: DiskQuota?
    /// Microseconds of processor time of earlier sandboxes, and of this one as it was last seen.
    public var cpuBefore: UInt64 = 0
    public var cpuSeen: UInt64 = 0
    /// `cpu` when the running turn began.
    public var cpuAtTurn: UInt64 = 0
    /// Milliseconds of all turns that are over.
    public var turnsTime: Int64 = 0
    /// Counters of this sandbox whose present state is accounted for.
    public var oomKills: UInt64 = 0
    public var pidsRefused: UInt64 = 0
    /// Bytes in workspace and home when the running turn began: where a session holds more than it
    /// may, its next turn may still delete.
    public var diskAtTurn: UInt64 = 0

    /// Nothing limited, nothing used.
    public init() {}

    /// Microseconds of processor time of all sandboxes.
    public var cpu: UInt64 { cpuBefore + cpuSeen }

    /// A new sandbox counts from zero.
    mutating func began(_ limits: ResourceLimits, _ started: StartedSandbox) {
        self.limits = limits
        enforcement = started.enforcement
        quota = started.quota
        cpuBefore += cpuSeen
        cpuSeen = 0
        oomKills = 0
        pidsRefused = 0
    }

    /// Keys of limits that are set and not enforced.
    public var notEnforced: [String] {
        ResourceLimits.fields.compactMap { key, path in
            guard limits[keyPath: path] != nil else { return nil }
            let limit: SandboxLimits.Limit?
            switch key {
            case "turn_cpu", "session_cpu": limit = .cpuTime
            default: limit = SandboxLimits.Limit(rawValue: key)
            }
            guard let limit, !enforcement.inForce.contains(limit) else { return nil }
            return key
        }
    }
}

extension ResourceLimits {
    /// What the session's control group has to enforce; nil where there is nothing.
    func sandboxLimits(_ enforcement: Enforcement) -> SandboxLimits? {
        var result = SandboxLimits()
        result.memory = memory.map(UInt64.init)
        result.memoryHigh = memoryHigh.map(UInt64.init)
        result.swap = swap.map(UInt64.init)
        result.pids = pids.map(UInt64.init)
        result.cpu = cpu.map(UInt64.init)
        result.cpuWeight = cpuWeight.map(UInt64.init)
        result.ioWeight = ioWeight.map(UInt64.init)
        if enforcement == .required {
            result.required = [.memory, .pids, .cpu]
            if turnCPU != nil || sessionCPU != nil { result.required.insert(.cpuTime) }
        }
        return result == SandboxLimits() ? nil : result
    }
}
