internal import API
internal import Foundation
internal import Sandbox
public import Settings
internal import Synchronization

/// Bounds and policies that sessions are held to.
public struct SessionLimits: Sendable {
    /// Bytes of stored output of one turn.
    public var maximumTurnOutput: Int
    /// Bytes of one line of an agent's protocol.
    public var maximumLine: Int
    /// Bytes of one user message.
    public var maximumMessage: Int
    public var maximumSessions: Int
    /// Seconds, where agent and session do not say.
    public var idleTimeout: Int
    /// Seconds a timed-out session's history is kept.
    public var archiveRetention: Int
    /// Seconds without a supervisor after which a session's init leaves.
    public var linger: Int
    /// Between attempts to store the end of a turn on a full disk.
    public var storageRetry: Duration
    /// Limits of sessions whose agents do not say otherwise.
    public var defaultResources: ResourceLimits
    public var enforcement: ResourceLimits.Enforcement
    public var ceilings: AgentCeilings

    /// What the configuration says.
    public init(_ config: SupervisorConfig, ceilings: AgentCeilings) {
        maximumTurnOutput = config.maximumTurnOutput
        maximumLine = config.maximumLine
        maximumMessage = config.maximumMessage
        maximumSessions = config.maximumSessions
        idleTimeout = config.idleTimeout
        archiveRetention = config.archiveRetention
        linger = config.linger
        storageRetry = .seconds(1)
        defaultResources = config.defaultLimits
        enforcement = config.limits
        self.ceilings = ceilings
    }
}

/// What agents may bring into their sessions at most: host paths, ways out, budgets (architecture,
/// property 10).
public struct AgentCeilings: Sendable {
    /// Resolved host paths below which deployed agents may mount.
    public var mounts: [String]
    /// Resolved host paths below which deployed agents may take their root.
    public var roots: [String]
    /// Measures that deployed agents may go without, by name.
    public var loosening: Set<String>
    /// Where sessions of deployed agents may go at most.
    public var network: NetworkPolicy
    /// How much of the network each session of a deployed agent may use at most.
    public var budget: NetworkBudget
    /// What tokens cost: of deployed agents always, of others where they do not say.
    public var prices: ModelPrices?
    /// What sessions of deployed agents may use at most.
    public var resources = ResourceLimits()
    /// State and runtime directories: refused to everybody, with all that contains them.
    public var forbidden: [String]

    public init(
        mounts: [String], roots: [String], loosening: [String] = [],
        network: NetworkPolicy = .none, budget: NetworkBudget = NetworkBudget(),
        prices: ModelPrices? = nil, forbidden: [String]
    ) {
        self.mounts = mounts.map(Self.resolved)
        self.roots = roots.map(Self.resolved)
        self.loosening = Set(loosening)
        self.network = network
        self.budget = budget
        self.prices = prices
        self.forbidden = forbidden.map(Self.resolved)
    }

    /// The path with every symbolic link followed, as far as it exists.
    static func resolved(_ path: String) -> String {
        guard let real = realpath(path, nil) else { return path }
        defer { free(real) }
        return String(cString: real)
    }

    private static func isBelow(_ path: String, _ ancestor: String) -> Bool {
        path == ancestor || ancestor == "/" || path.hasPrefix(ancestor + "/")
    }

    /// Why the definition may not be used, or nil; the key of its file comes first, in quotes.
    /// `trusted` agents are free of the ceilings, not of the forbidden paths.
    public func objection(to definition: AgentDefinition, trusted: Bool) -> String? {
        for mount in definition.mounts {
            if let text = objection(
                to: mount.host, kind: "mounts", ceilings: mounts, trusted: trusted)
            {
                return text
            }
        }
        for name in definition.loosened ?? [] {
            guard Isolation.mayLoosen.contains(name) else {
                let all = Isolation.mayLoosen.joined(separator: ", ")
                return "'loosen' names \(name), which no session goes without; possible: \(all)"
            }
            if !trusted, !loosening.contains(name) {
                return
                    "'loosen' names \(name), which this supervisor does not allow deployed agents"
            }
        }
        if !trusted, let excess = definition.network?.excess(over: network) {
            return objection(to: excess)
        }
        if !trusted, let own = definition.budget, let kind = own.excess(over: budget) {
            let most = budget[kind].map(kind.text) ?? ""
            return """
                'budget.\(kind.rawValue)' is more than the setting 'allowed_budget' gives deployed \
                agents: \(most)
                """
        }
        if !trusted, let excess = Self.stated(definition).excess(over: resources) {
            let key = excess.key == "turn_time" ? "'turn_timeout'" : "'limits': \(excess.key)"
            return
                "\(key) is \(excess.value), more than the \(excess.most) of 'allowed_limits'"
        }
        for secret in definition.secrets ?? [] {
            guard !trusted, let url = secret.url else { continue }
            let deny = definition.network?.deny ?? []
            let policy = try? NetworkPolicy(allow: [url.rule], deny: deny)
            if policy?.isWithin(ceiling: network) != true {
                return """
                    'secrets' sends \(secret.name) to \(url.destination), which is not within the \
                    setting 'allowed_network'
                    """
            }
        }
        return definition.root.flatMap {
            objection(to: $0, kind: "root", ceilings: roots, trusted: trusted)
        }
    }

    /// The limits that the file itself sets.
    private static func stated(_ definition: AgentDefinition) -> ResourceLimits {
        var limits = definition.limits ?? ResourceLimits()
        if definition.turnTimeout != AgentDefinition.defaultTurnTimeout {
            limits.turnTime = definition.turnTimeout
        }
        return limits
    }

    /// What sessions of this agent may use; `turnTime` is always set.
    func resources(of agent: AgentVersion, defaults: ResourceLimits) -> ResourceLimits {
        var limits = agent.definition.limits ?? ResourceLimits()
        limits.turnTime = agent.definition.turnTimeout
        return limits.completed(by: defaults, within: agent.trusted ? nil : resources)
    }

    private func objection(to excess: NetworkPolicy.Excess) -> String {
        let setting = "the setting 'allowed_network'"
        return switch excess {
        case .open: "'network' is open, but \(setting) does not allow deployed agents that"
        case .rule(let rule): "'network' allows \(rule), which is not within \(setting)"
        case .withoutDenying(let rule): "'network' must deny \(rule), as \(setting) does"
        }
    }

    private func objection(to path: String, kind: String, ceilings: [String], trusted: Bool)
        -> String?
    {
        let real = Self.resolved(path)
        for secret in forbidden where Self.isBelow(real, secret) || Self.isBelow(secret, real) {
            return "'\(kind)' names \(path), which holds the supervisor's own state"
        }
        if trusted || ceilings.contains(where: { Self.isBelow(real, $0) }) { return nil }
        return ceilings.isEmpty
            ? "'\(kind)' names \(path), but this supervisor allows deployed agents no \(kind)"
            : "'\(kind)' names \(path), but deployed agents may only use \(ceilings.joined(separator: ", "))"
    }

    /// Checks once more and puts the resolved paths into the plan.
    func apply(to plan: inout SandboxPlan, agent: AgentVersion) throws(SandboxError) {
        if let text = objection(to: agent.definition, trusted: agent.trusted) {
            throw SandboxError(.refused, stage: "mounts", errno: EPERM, detail: text)
        }
        plan.loosened = agent.definition.loosened ?? []
        plan.root = agent.definition.root.map(Self.resolved)
        plan.mounts = agent.definition.mounts.map { (Self.resolved($0.host), $0.inside) }
    }
}

/// The idle deadlines of all sessions, looked through by one task.
public final class DeadlineTable: Sendable {
    private let table = Mutex<[SessionID: IdleDeadline]>([:])

    public init() {}

    func set(_ id: SessionID, _ deadline: IdleDeadline?) {
        table.withLock { $0[id] = deadline }
    }

    /// Sessions that are due.
    func due(_ clock: any SessionClock) -> [SessionID] {
        let boot = clock.boot
        let wall = clock.wall
        return table.withLock { table in
            table.compactMap { $0.value.remaining(boot, wall: wall) <= 0 ? $0.key : nil }
        }
    }
}
