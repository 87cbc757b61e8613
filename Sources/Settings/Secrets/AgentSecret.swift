/// A key that an agent uses and does not see: where it goes and how it gets there. The value is
/// kept apart from the agent's file.
public struct AgentSecret: Codable, Sendable, Hashable {
    /// How the key stands in a request.
    public struct Header: Sendable, Hashable, CustomStringConvertible {
        /// Lower case.
        public let name: String
        /// `Bearer `, with the space, or empty.
        public let prefix: String

        /// `Authorization: Bearer` or `X-Key`.
        public var description: String {
            prefix.isEmpty ? name : "\(name): \(prefix.dropLast())"
        }
    }

    /// The variable that has the stand-in, or the value where `isPlain`.
    public let name: String
    /// Nil where `isPlain`: it goes nowhere by itself.
    public let url: SecretURL?
    public let header: Header?
    /// Variables that get the gateway's address.
    public let baseURL: [String]
    /// Connections to the real host are opened by the supervisor.
    public let isIntercepted: Bool
    /// The value itself is put into the environment.
    public let isPlain: Bool
    /// How a stand-in begins, for clients that look.
    public let standInPrefix: String

    /// Everything that says where the value goes. A value that was set for one binding is never
    /// used for another.
    public var binding: String {
        guard let url, let header else { return "plain" }
        return "\(url) \(header)"
    }

    /// Secrets of one agent.
    public static let maximum = 16
    /// Variables of one secret that get the gateway's address.
    static let maximumBaseURLs = 8
    static let keys = ["api", "url", "header", "base_url", "plain", "intercept"]
}

/// APIs that need not be described.
private struct Preset {
    let url: String
    let header: AgentSecret.Header
    let baseURL: [String]
    let standInPrefix: String

    static let all: [String: Preset] = [
        "openai": Preset(
            url: "https://api.openai.com/v1",
            header: .init(name: "authorization", prefix: "Bearer "),
            baseURL: ["OPENAI_BASE_URL", "OPENAI_API_BASE"], standInPrefix: "sk-superserve-"),
        "anthropic": Preset(
            url: "https://api.anthropic.com", header: .init(name: "x-api-key", prefix: ""),
            baseURL: ["ANTHROPIC_BASE_URL"], standInPrefix: "sk-ant-superserve-"),
    ]
}

// MARK: - Reading

extension AgentSecret {
    /// Reads the mapping at `key`; none where it is not there.
    static func read(
        _ key: String, in map: inout StrictMapping, environment: [String: String]
    ) throws(SettingsError) -> [AgentSecret] {
        guard let entries = try map.mappings(key, maximum: maximum) else { return [] }
        var secrets: [AgentSecret] = []
        var taken: Set<String> = []
        for entry in entries {
            let secret = try AgentSecret(entry.key, entry.map)
            for name in [secret.name] + secret.baseURL {
                if let problem = Variable.problem(name) {
                    throw entry.map.mistake("'\(key)' has '\(name)', which \(problem)")
                }
                if environment[name] != nil {
                    throw entry.map.mistake("'\(key)' has '\(name)', which 'env' sets too")
                }
                guard taken.insert(name).inserted else {
                    throw entry.map.mistake("'\(key)' sets '\(name)' twice")
                }
            }
            secrets.append(secret)
        }
        return secrets.sorted { $0.name < $1.name }
    }

    private init(_ name: String, _ source: StrictMapping) throws(SettingsError) {
        var map = source
        self.name = name
        let preset = try Self.preset(&map)
        isPlain = try map.boolean("plain") ?? false
        isIntercepted = try map.boolean("intercept") ?? false
        let bases = try map.strings("base_url", maximum: Self.maximumBaseURLs)
        if isPlain {
            for key in ["api", "url", "header", "base_url", "intercept"] where map.has(key) {
                throw map.error(key, "does not go together with 'plain: true'")
            }
        }
        url = isPlain ? nil : try Self.url(&map, preset)
        header = isPlain ? nil : try Self.header(&map) ?? preset?.header ?? Self.bearer
        baseURL = isPlain ? [] : bases ?? preset?.baseURL ?? []
        standInPrefix = preset?.standInPrefix ?? "sk-superserve-"
        try map.finish(known: Self.keys)
        guard isIntercepted, let url else { return }
        guard url.isTLS, case .name = url.destination.host else {
            throw map.error("intercept", "needs a url with https:// and a name")
        }
    }

    private static let bearer = Header(name: "authorization", prefix: "Bearer ")

    private static func preset(_ map: inout StrictMapping) throws(SettingsError) -> Preset? {
        guard let name = try map.string("api") else { return nil }
        guard let preset = Preset.all[name] else {
            let known = Preset.all.keys.sorted().joined(separator: ", ")
            throw map.error("api", "must be one of: \(known); or give 'url'")
        }
        return preset
    }

    private static func url(
        _ map: inout StrictMapping, _ preset: Preset?
    ) throws(SettingsError) -> SecretURL {
        guard let text = try map.string("url") ?? preset?.url else {
            throw map.mistake("'\(map.name)' needs 'api', 'url' or 'plain: true'")
        }
        do throws(NetworkTextError) {
            return try SecretURL(text)
        } catch {
            throw map.error("url", error.message)
        }
    }

    private static func header(_ map: inout StrictMapping) throws(SettingsError) -> Header? {
        guard let text = try map.string("header", maximum: 128) else { return nil }
        guard let header = Header(text) else {
            throw map.error(
                "header", "must be the name of a header, or 'Authorization: Bearer'")
        }
        guard !Header.reserved.contains(header.name) else {
            throw map.error("header", "is '\(header.name)', which is not for a key")
        }
        return header
    }
}

extension AgentSecret.Header {
    /// Headers with a meaning of their own for a request's way.
    static let reserved: Set = [
        "host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade",
        "keep-alive", "proxy-authorization", "proxy-connection", "accept-encoding", "expect",
        "range", "content-type", "content-encoding",
    ]

    /// Reads `NAME` or `NAME: WORD`; nil for anything else.
    init?(_ text: String) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard let name = parts.first?.lowercased(), Self.isToken(name) else { return nil }
        self.name = name
        guard parts.count == 2 else {
            prefix = ""
            return
        }
        let word = parts[1].drop { $0 == " " }
        guard Self.isToken(String(word)) else { return nil }
        prefix = word + " "
    }

    /// RFC 9110, section 5.6.2.
    private static func isToken(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy {
                (0x21...0x7e).contains($0) && !"\"(),/:;<=>?@[\\]{}".utf8.contains($0)
            }
    }
}

// MARK: - Stored form

extension AgentSecret {
    private enum Key: String, CodingKey {
        case name, url, header, baseURL, isIntercepted, isPlain, standInPrefix
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Key.self)
        name = try container.decode(String.self, forKey: .name)
        let address = try container.decodeIfPresent(String.self, forKey: .url)
        url = try address.map(SecretURL.init)
        let text = try container.decodeIfPresent(String.self, forKey: .header)
        header = text.flatMap(Header.init)
        baseURL = try container.decode([String].self, forKey: .baseURL)
        isIntercepted = try container.decode(Bool.self, forKey: .isIntercepted)
        isPlain = try container.decode(Bool.self, forKey: .isPlain)
        standInPrefix = try container.decode(String.self, forKey: .standInPrefix)
        guard (url == nil) == isPlain, (header == nil) == isPlain else {
            throw DecodingError.dataCorruptedError(
                forKey: .url, in: container, debugDescription: "'\(name)' is no secret")
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        try container.encode(name, forKey: .name)
        try container.encodeIfPresent(url?.description, forKey: .url)
        try container.encodeIfPresent(header?.description, forKey: .header)
        try container.encode(baseURL, forKey: .baseURL)
        try container.encode(isIntercepted, forKey: .isIntercepted)
        try container.encode(isPlain, forKey: .isPlain)
        try container.encode(standInPrefix, forKey: .standInPrefix)
    }
}
