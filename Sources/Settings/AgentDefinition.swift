/// What an agent file says: `superserve.yaml` of a project, or a file of an agents directory.
public struct AgentDefinition: Codable, Sendable, Hashable {
    /// How supervisor and agent talk.
    public enum Dialect: String, Codable, Sendable, CaseIterable {
        /// JSON lines on standard input and output; one process for many turns.
        case native
        /// One process for each message; standard output is the answer.
        case exec
    }

    /// An extra read-only mount: a host path and where it appears in the session.
    public struct Mount: Codable, Sendable, Hashable {
        public var host: String
        public var inside: String

        public init(host: String, inside: String) {
            self.host = host
            self.inside = inside
        }
    }

    /// `^[a-z][a-z0-9-]*$`, at most 64 characters.
    public var name: String
    /// Program and arguments. A command given as text becomes `/bin/sh -c <text>`.
    public var command: [String]
    /// `exec` only: the command from the second turn on.
    public var continueCommand: [String]?
    public var dialect: Dialect
    /// Directory that becomes read-only `/agent`, relative to the file.
    public var source: String?
    /// Root file-system directory on the host instead of the host's own system directories.
    public var root: String?
    public var mounts: [Mount]
    /// Names of measures that its sessions go without (`docs/security.md`); nil: none.
    public var loosened: [String]?
    /// Where its sessions may go; nil: nowhere.
    public var network: NetworkPolicy?
    /// How much of the network each of its sessions may use; nil: without bounds.
    public var budget: NetworkBudget?
    /// What the tokens of models cost, for `budget`.
    public var prices: ModelPrices?
    /// What its sessions may use; nil: what the supervisor's configuration says.
    public var limits: ResourceLimits?
    /// Keys that its sessions use without seeing them; nil: none.
    public var secrets: [AgentSecret]?
    public var environment: [String: String]
    /// Seconds an idle session lives.
    public var idleTimeout: Int?
    /// Seconds one turn may take.
    public var turnTimeout: Int
    /// Seconds until the agent must have said `ready` (native).
    public var startTimeout: Int
    /// Seconds between the steps of a cancel: told, interrupted, killed.
    public var cancelGrace: Int

    /// Seconds; spec row 8.
    public static let defaultTurnTimeout = 6 * 3600
    /// Seconds.
    public static let defaultStartTimeout = 60
    /// Seconds.
    public static let defaultCancelGrace = 5

    static let keys = [
        "name", "command", "continue", "protocol", "source", "root", "mounts", "loosen",
        "network", "budget", "prices", "limits", "env", "secrets", "idle_timeout",
        "turn_timeout", "start_timeout", "cancel_grace",
    ]

    /// Reads an agent file. `file` is only for messages.
    public init(yaml text: String, file: String) throws(SettingsError) {
        var map = try StrictMapping(text: text, file: file)
        guard let name = try map.string("name") else { throw map.error("name", "is required") }
        guard Self.isValid(name: name) else {
            throw map.error(
                "name",
                "must be lower-case letters, digits and hyphens, start with a letter and have at most 64 characters"
            )
        }
        self.name = name
        dialect = .native
        if let text = try map.string("protocol") {
            guard let value = Dialect(rawValue: text) else {
                throw map.error("protocol", "must be one of: native, exec")
            }
            dialect = value
        }
        guard let command = try Self.command("command", &map) else {
            throw map.error("command", "is required")
        }
        self.command = command
        continueCommand = try Self.command("continue", &map)
        if continueCommand != nil, dialect != .exec {
            throw map.error("continue", "needs 'protocol: exec'")
        }
        source = try map.string("source")
        root = try map.string("root")
        if let root, !root.hasPrefix("/") { throw map.error("root", "must be an absolute path") }
        mounts = try Self.mounts(&map)
        loosened = try map.strings("loosen", maximum: 64)
        network = try NetworkPolicy("network", in: &map)
        budget = try NetworkBudget("budget", in: &map)
        prices = try ModelPrices("prices", in: &map)
        if budget?[.cost] != nil, prices == nil {
            throw map.error("budget", "has 'cost', which needs 'prices'")
        }
        limits = try ResourceLimits("limits", in: &map)
        environment = try Self.environment(&map)
        let secrets = try AgentSecret.read("secrets", in: &map, environment: environment)
        self.secrets = secrets.isEmpty ? nil : secrets
        idleTimeout = try map.seconds("idle_timeout", in: 10...2_592_000)
        turnTimeout = try map.seconds("turn_timeout", in: 1...2_592_000) ?? Self.defaultTurnTimeout
        startTimeout = try map.seconds("start_timeout", in: 1...86400) ?? Self.defaultStartTimeout
        cancelGrace = try map.seconds("cancel_grace", in: 0...3600) ?? Self.defaultCancelGrace
        try map.finish(known: Self.keys)
    }

    /// The line on which the value of `key` begins, or that of `key.inner`; for complaints that
    /// follow from more than the file.
    public static func line(of key: String, in text: String) -> Int? {
        let parts = key.split(separator: ".", maxSplits: 1).map(String.init)
        guard let first = parts.first, var map = try? StrictMapping(text: text, file: "") else {
            return nil
        }
        guard parts.count == 2, let inner = try? map.mapping(first),
            let line = inner.line(of: parts[1])
        else { return map.line(of: first) }
        return line
    }

    /// True for a name that an agent may have.
    public static func isValid(name: String) -> Bool {
        guard let first = name.utf8.first, (1...64).contains(name.utf8.count) else { return false }
        let letters = UInt8(ascii: "a")...UInt8(ascii: "z")
        let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
        return letters.contains(first)
            && name.utf8.allSatisfy {
                letters.contains($0) || digits.contains($0) || $0 == UInt8(ascii: "-")
            }
    }

    private static func command(_ key: String, _ map: inout StrictMapping) throws(SettingsError)
        -> [String]?
    {
        guard map.has(key) else { return nil }
        if map.isList(key) {
            let list = try map.strings(key) ?? []
            guard let program = list.first, !program.isEmpty else {
                throw map.error(key, "must name a program")
            }
            return list
        }
        guard let text = try map.string(key, maximum: 1 << 16), !text.isEmpty else { return nil }
        return ["/bin/sh", "-c", text]
    }

    private static func mounts(_ map: inout StrictMapping) throws(SettingsError) -> [Mount] {
        var result: [Mount] = []
        for text in try map.strings("mounts", maximum: 32) ?? [] {
            let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            let host = String(parts[0])
            let inside = parts.count == 2 ? String(parts[1]) : host
            for path in [host, inside] where !isPlain(path) {
                throw map.error(
                    "mounts", "has '\(text)': paths must be absolute, without '.', '..' or '//'")
            }
            result.append(Mount(host: host, inside: inside))
        }
        return result
    }

    private static func isPlain(_ path: String) -> Bool {
        guard path.hasPrefix("/"), path.count > 1 else { return false }
        return path.dropFirst().split(separator: "/", omittingEmptySubsequences: false).allSatisfy {
            !$0.isEmpty && $0 != "." && $0 != ".."
        }
    }

    private static func environment(_ map: inout StrictMapping) throws(SettingsError) -> [String:
        String]
    {
        let values = try map.dictionary("env") ?? [:]
        for name in values.keys {
            guard Variable.isName(name) else {
                throw map.error("env", "has '\(name)', which is no name of a variable")
            }
            guard !name.hasPrefix("SUPERSERVE") else {
                throw map.error(
                    "env", "has '\(name)': names that begin with SUPERSERVE are the supervisor's")
            }
        }
        return values
    }
}
