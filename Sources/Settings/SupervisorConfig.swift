internal import Foundation

/// The supervisor's configuration: every key of `config/superserved.yaml` with its default.
public struct SupervisorConfig: Sendable, Hashable {
    /// Seconds an idle session lives where neither agent nor session says otherwise.
    public var idleTimeout = 1740
    /// Seconds the history of a timed-out session is kept.
    public var archiveRetention = 30 * 86400
    /// Seconds that a session's init waits for a supervisor before it leaves; 0 = for ever.
    public var linger = 86400
    /// Sessions that may be live at once.
    public var maximumSessions = 10_000
    /// Bytes of one user message.
    public var maximumMessage = 1 << 20
    /// Bytes of one line of an agent's protocol.
    public var maximumLine = 1 << 20
    /// Bytes of agent output that one turn may store.
    public var maximumTurnOutput = 256 << 20
    /// Bytes of one deployed source tree.
    public var maximumDeploy = 512 << 20
    /// Bytes that one file transfer into a session may carry.
    public var maximumUpload = 16 << 30
    /// Connections that the API serves at once.
    public var maximumClients = 2048
    /// Network connections of one session that may be open at once.
    public var maximumConnections = 1024
    /// Group that may use the socket; nil: only the user the supervisor runs as, and root.
    public var socketGroup: String?
    /// Group whose members are operators.
    public var operatorGroup: String?
    /// Directory of the operator's agent files.
    public var agentsDirectory: String?
    /// Host paths below which deployed agents may mount (read-only).
    public var allowedMounts: [String] = []
    /// Host paths below which deployed agents may take their root file system.
    public var allowedRoots: [String] = []
    /// Measures that deployed agents may go without, by name.
    public var allowedLoosening: [String] = []
    /// Where the sessions of deployed agents may go at most.
    public var allowedNetwork = NetworkPolicy.none
    /// How much of the network each session of a deployed agent may use at most.
    public var allowedBudget = NetworkBudget()
    /// What the tokens of models cost: of deployed agents always, of others where they do not say.
    public var prices: ModelPrices?
    /// Addresses outside of the public internet that sessions may reach where their policy says so.
    public var privateDestinations = PrivateDestinations()
    /// Limits of sessions whose agents do not say otherwise.
    public var defaultLimits = ResourceLimits()
    /// Limits that those of deployed agents cannot exceed.
    public var allowedLimits = ResourceLimits()
    /// Whether limits that this host cannot enforce keep sessions from starting.
    public var limits = ResourceLimits.Enforcement.bestEffort
    /// File with certificates (PEM) that servers of keys may have besides the system's.
    public var gatewayCA: String?
    /// Host id of the service when started by root; nil: 1900000000.
    public var serviceUID: UInt32?
    public var serviceGID: UInt32?
    /// First subordinate id and count when started by root; nil: the launcher takes 65536 that no
    /// other supervisor has.
    public var subordinateFirst: UInt32?
    public var subordinateCount: UInt32?
    /// trace, debug, info, notice, warning, error or critical.
    public var logLevel = "info"

    static let keys = [
        "idle_timeout", "archive_retention", "linger", "max_sessions", "max_message", "max_line",
        "max_turn_output", "max_deploy", "max_upload", "max_clients", "max_connections",
        "socket_group",
        "operator_group",
        "agents_directory", "allowed_mounts", "allowed_roots", "allowed_loosening",
        "allowed_network", "allowed_budget", "prices", "private_destinations", "gateway_ca",
        "limits", "default_limits", "allowed_limits", "service_uid", "service_gid",
        "subordinate_first", "subordinate_count", "log_level",
    ]

    /// Every default.
    public init() {}

    /// Reads a configuration file's text. `file` is only for messages.
    public init(yaml text: String, file: String) throws(SettingsError) {
        var map = try StrictMapping(text: text, file: file)
        idleTimeout = try map.seconds("idle_timeout", in: 10...2_592_000) ?? idleTimeout
        archiveRetention =
            try map.seconds("archive_retention", in: 0...315_360_000) ?? archiveRetention
        linger = try map.seconds("linger", in: 0...31_536_000) ?? linger
        maximumSessions = try map.integer("max_sessions", in: 1...100_000) ?? maximumSessions
        maximumMessage = try map.bytes("max_message", in: 1024...(1 << 20)) ?? maximumMessage
        maximumLine = try map.bytes("max_line", in: 4096...(16 << 20)) ?? maximumLine
        maximumTurnOutput =
            try map.bytes("max_turn_output", in: 65536...(1 << 40)) ?? maximumTurnOutput
        maximumDeploy = try map.bytes("max_deploy", in: 1024...(16 << 30)) ?? maximumDeploy
        maximumUpload = try map.bytes("max_upload", in: 1024...(1 << 40)) ?? maximumUpload
        maximumClients = try map.integer("max_clients", in: 8...100_000) ?? maximumClients
        maximumConnections =
            try map.integer("max_connections", in: 1...100_000) ?? maximumConnections
        socketGroup = try map.string("socket_group")
        operatorGroup = try map.string("operator_group")
        agentsDirectory = try map.string("agents_directory")
        allowedMounts = try Self.paths("allowed_mounts", &map)
        allowedRoots = try Self.paths("allowed_roots", &map)
        allowedLoosening = try map.strings("allowed_loosening") ?? []
        allowedNetwork = try NetworkPolicy("allowed_network", in: &map) ?? .none
        allowedBudget = try NetworkBudget("allowed_budget", in: &map) ?? NetworkBudget()
        prices = try ModelPrices("prices", in: &map)
        if allowedBudget[.cost] != nil, prices == nil {
            throw map.error("allowed_budget", "has 'cost', which needs 'prices'")
        }
        privateDestinations = try PrivateDestinations("private_destinations", in: &map)
        try readLimits(&map)
        gatewayCA = try map.string("gateway_ca")
        if let gatewayCA, !gatewayCA.hasPrefix("/") {
            throw map.error("gateway_ca", "must be an absolute path")
        }
        let ids = 1...Int(Int32.max)
        serviceUID = try map.integer("service_uid", in: ids).map(UInt32.init)
        serviceGID = try map.integer("service_gid", in: ids).map(UInt32.init)
        subordinateFirst = try map.integer("subordinate_first", in: ids).map(UInt32.init)
        subordinateCount = try map.integer("subordinate_count", in: 4...(1 << 24)).map(UInt32.init)
        if let level = try map.string("log_level") {
            let levels = ["trace", "debug", "info", "notice", "warning", "error", "critical"]
            guard levels.contains(level) else {
                throw map.error("log_level", "must be one of: \(levels.joined(separator: ", "))")
            }
            logLevel = level
        }
        try map.finish(known: Self.keys)
    }

    private mutating func readLimits(_ map: inout StrictMapping) throws(SettingsError) {
        allowedLimits =
            try ResourceLimits("allowed_limits", in: &map, isCeiling: true) ?? allowedLimits
        defaultLimits = try ResourceLimits("default_limits", in: &map) ?? defaultLimits
        if let text = try map.string("limits") {
            guard let value = ResourceLimits.Enforcement(rawValue: text) else {
                throw map.error("limits", "must be one of: required, best-effort")
            }
            limits = value
        }
        let some = defaultLimits
        if limits == .required, some.memory == nil || some.pids == nil || some.cpu == nil {
            throw map.error(
                "limits", "is 'required': 'default_limits' must have memory, pids and cpu")
        }
    }

    private static func paths(_ key: String, _ map: inout StrictMapping) throws(SettingsError)
        -> [String]
    {
        let paths = try map.strings(key) ?? []
        for path in paths
        where !path.hasPrefix("/") || path.contains("/../") || path.hasSuffix("/..") {
            throw map.error(key, "has '\(path)': paths must be absolute, without '..'")
        }
        return paths
    }
}
