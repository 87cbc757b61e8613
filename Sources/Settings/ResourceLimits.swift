internal import Foundation

/// What a session may use. Nil: no limit is set.
public struct ResourceLimits: Codable, Sendable, Hashable {
    /// Bytes; beyond it every process of the agent is ended.
    public var memory: Int?
    /// Bytes; beyond it the agent is held up while its memory is taken back.
    public var memoryHigh: Int?
    /// Bytes.
    public var swap: Int?
    /// Processes and threads.
    public var pids: Int?
    /// Thousandths of a processor.
    public var cpu: Int?
    /// 1 to 10000, against other sessions; the kernel's own is 100.
    public var cpuWeight: Int?
    public var ioWeight: Int?
    /// Seconds of processor time.
    public var turnCPU: Int?
    public var sessionCPU: Int?
    /// Seconds of time by the clock. For an agent its `turn_timeout` is that of a turn.
    public var turnTime: Int?
    /// All turns of the session together.
    public var sessionTime: Int?
    /// Bytes in workspace and home, watched.
    public var disk: Int?
    /// The session starts only where the file system itself limits what it stores.
    public var needsDiskQuota: Bool?

    /// No limit at all.
    public init() {}

    /// Every limit with its key, in the order in which they are shown.
    public static let fields:
        [(key: String, path: any WritableKeyPath<ResourceLimits, Int?> & Sendable)] = [
            ("memory", \.memory), ("memory_high", \.memoryHigh), ("swap", \.swap),
            ("pids", \.pids), ("cpu", \.cpu), ("cpu_weight", \.cpuWeight),
            ("io_weight", \.ioWeight), ("turn_cpu", \.turnCPU), ("session_cpu", \.sessionCPU),
            ("turn_time", \.turnTime), ("session_time", \.sessionTime), ("disk", \.disk),
        ]

    private static let sizes = 1 << 20...1 << 50
    private static let seconds = 1...31_536_000

    /// Reads the mapping at `key`; nil where there is none. `turn_time` is a ceiling of an agent's
    /// `turn_timeout`, and no limit of its own where `isCeiling` is false.
    init?(
        _ key: String, in map: inout StrictMapping, isCeiling: Bool = false
    ) throws(SettingsError) {
        guard var inner = try map.mapping(key) else { return nil }
        memory = try inner.bytes("memory", in: Self.sizes)
        memoryHigh = try inner.bytes("memory_high", in: Self.sizes)
        swap = try inner.bytes("swap", in: 0...(1 << 50))
        pids = try inner.integer("pids", in: 2...4_194_304)
        cpu = try Self.processors("cpu", &inner)
        cpuWeight = try inner.integer("cpu_weight", in: 1...10_000)
        ioWeight = try inner.integer("io_weight", in: 1...10_000)
        turnCPU = try inner.seconds("turn_cpu", in: Self.seconds)
        sessionCPU = try inner.seconds("session_cpu", in: Self.seconds)
        if isCeiling { turnTime = try inner.seconds("turn_time", in: Self.seconds) }
        sessionTime = try inner.seconds("session_time", in: Self.seconds)
        if try inner.string("disk") == "hard" {
            guard !isCeiling else {
                throw inner.error(
                    "disk",
                    "must be a size: 'hard' belongs into an agent's file or 'default_limits'")
            }
            needsDiskQuota = true
        } else {
            disk = try inner.bytes("disk", in: Self.sizes)
        }
        if let memory, let memoryHigh, memoryHigh > memory {
            throw inner.error("memory_high", "is more than 'memory', so it would never hold")
        }
        let keys = Self.fields.map(\.key).filter { isCeiling || $0 != "turn_time" }
        try inner.finish(known: keys)
    }

    /// Thousandths of what is written as `2`, `0.5` or `1.25`.
    private static func processors(
        _ key: String, _ map: inout StrictMapping
    ) throws(SettingsError) -> Int? {
        guard let text = try map.string(key) else { return nil }
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        let digits = parts.allSatisfy {
            !$0.isEmpty && $0.utf8.count <= 6 && $0.utf8.allSatisfy { (0x30...0x39).contains($0) }
        }
        guard digits, parts.count <= 2, let whole = Int(parts[0]),
            parts.count == 1 || parts[1].utf8.count <= 3
        else { throw map.error(key, "must be a number of processors such as 2, 0.5 or 1.25") }
        let rest = parts.count == 2 ? String(parts[1]) : ""
        let thousandths = Int(rest.padding(toLength: 3, withPad: "0", startingAt: 0)) ?? 0
        let value = whole * 1000 + thousandths
        guard (10...1_024_000).contains(value) else {
            throw map.error(key, "must be between 0.01 and 1024 processors")
        }
        return value
    }

    /// These limits, and where there is none that of `defaults`, but nothing beyond `ceiling`.
    /// Where memory is limited and swap is not, there is no swap: it would be memory by another
    /// name.
    public func completed(by defaults: ResourceLimits, within ceiling: ResourceLimits?)
        -> ResourceLimits
    {
        var result = self
        // `hard` and a size are two answers to one question: of the defaults only one is missing.
        if disk == nil, needsDiskQuota == nil { result.needsDiskQuota = defaults.needsDiskQuota }
        for (key, path) in Self.fields {
            if result[keyPath: path] == nil, key != "disk" || needsDiskQuota == nil {
                result[keyPath: path] = defaults[keyPath: path]
            }
            guard let most = ceiling?[keyPath: path] else { continue }
            result[keyPath: path] = min(result[keyPath: path] ?? most, most)
        }
        if result.memory != nil, result.swap == nil { result.swap = 0 }
        if let memory = result.memory, let high = result.memoryHigh, high > memory {
            result.memoryHigh = memory
        }
        return result
    }

    /// The key of the first limit that is higher than that of `ceiling`, with both in words.
    public func excess(
        over ceiling: ResourceLimits
    ) -> (key: String, value: String, most: String)? {
        for (key, path) in Self.fields {
            guard let value = self[keyPath: path], let most = ceiling[keyPath: path],
                value > most
            else { continue }
            return (key, Self.text(key, value), Self.text(key, most))
        }
        return nil
    }

    /// `1GiB`, `1.5` processors, `90s`: a value as the files write it.
    public static func text(_ key: String, _ value: Int) -> String {
        switch key {
        case "memory", "memory_high", "swap", "disk":
            for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")]
            where value > 0 && value % (1 << shift) == 0 {
                return "\(value >> shift)\(unit)"
            }
            return "\(value)"
        case "cpu":
            var text = "\(value / 1000)"
            if value % 1000 != 0 {
                text += "." + String(String(1000 + value % 1000).dropFirst())
                while text.hasSuffix("0") { text.removeLast() }
            }
            return text
        case "turn_cpu", "session_cpu", "turn_time", "session_time": return "\(value)s"
        default: return "\(value)"
        }
    }

    /// The limits that are set, as `key value`.
    public var descriptions: [String] {
        let numbers = Self.fields.compactMap { key, path in
            self[keyPath: path].map { "\(key) \(Self.text(key, $0))" }
        }
        return numbers + (needsDiskQuota == true ? ["disk hard"] : [])
    }

    /// Whether limits that cannot be enforced keep a session from starting.
    public enum Enforcement: String, Codable, Sendable, CaseIterable {
        /// Memory, processes and processors are limited, or the session does not start.
        case required
        /// What cannot be enforced is said.
        case bestEffort = "best-effort"
    }
}
