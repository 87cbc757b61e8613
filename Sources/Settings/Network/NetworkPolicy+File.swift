extension NetworkPolicy: Codable {
    private enum Key: String, CodingKey { case open, allow, deny }

    /// The stored form is that of the file: `"none"`, `"open"`, `{"allow": […], "deny": […]}` or
    /// `{"open": true, "deny": […]}`. Lists that are empty and need not be there are left out.
    public init(from decoder: any Decoder) throws {
        if let container = try? decoder.singleValueContainer(),
            let word = try? container.decode(String.self)
        {
            guard let policy = Self(word: word) else {
                throw DecodingError.dataCorruptedError(
                    in: container, debugDescription: "'\(word)' is no network policy")
            }
            self = policy
            return
        }
        let container = try decoder.container(keyedBy: Key.self)
        let deny = try container.decodeIfPresent([NetworkRule].self, forKey: .deny) ?? []
        let isOpen = try container.decodeIfPresent(Bool.self, forKey: .open) ?? false
        do {
            if isOpen {
                try self.init(openExcept: deny)
            } else {
                try self.init(
                    allow: container.decode([NetworkRule].self, forKey: .allow), deny: deny)
            }
        } catch let error as NetworkTextError {
            throw DecodingError.dataCorruptedError(
                forKey: .allow, in: container, debugDescription: error.message)
        }
    }

    init?(word: String) {
        switch word {
        case "none": self = .none
        case "open": self = .open
        default: return nil
        }
    }

    public func encode(to encoder: any Encoder) throws {
        if self == .none || self == .open {
            var container = encoder.singleValueContainer()
            try container.encode(self == .open ? "open" : "none")
            return
        }
        var container = encoder.container(keyedBy: Key.self)
        if case .list(let rules) = access {
            try container.encode(rules, forKey: .allow)
        } else {
            try container.encode(true, forKey: .open)
        }
        if !deny.isEmpty { try container.encode(deny, forKey: .deny) }
    }
}

extension NetworkPolicy {
    /// Reads the value of `key`: `none`, `open`, or a mapping with `allow` or `open: true`, and
    /// `deny`. Nil where the key is not there.
    init?(_ key: String, in map: inout StrictMapping) throws(SettingsError) {
        guard map.has(key) else { return nil }
        guard map.isMapping(key), var inner = try map.mapping(key) else {
            guard map.isText(key), let word = try map.string(key), let policy = Self(word: word)
            else {
                throw map.error(
                    key, "must be none, open, or a mapping with 'allow' or 'open: true'")
            }
            self = policy
            return
        }
        let isOpen = try inner.boolean("open")
        let allow = try Self.rules("allow", in: &inner)
        let deny = try Self.rules("deny", in: &inner) ?? []
        try inner.finish(known: ["allow", "deny", "open"])
        do throws(NetworkTextError) {
            switch (isOpen, allow) {
            case (true?, nil): try self.init(openExcept: deny)
            case (nil, let allow?): try self.init(allow: allow, deny: deny)
            case (false?, _): throw NetworkTextError(.combination, "must be true where it stands")
            case (true?, _?):
                throw NetworkTextError(.combination, "does not go together with 'allow'")
            case (nil, nil):
                throw NetworkTextError(.combination, "must have 'allow' or 'open: true'")
            }
        } catch {
            throw isOpen == nil
                ? map.error(key, error.message) : inner.error("open", error.message)
        }
    }

    private static func rules(
        _ key: String, in map: inout StrictMapping
    ) throws(SettingsError) -> [NetworkRule]? {
        guard let items = try map.items(key, maximum: maximumRules) else { return nil }
        var rules: [NetworkRule] = []
        for item in items {
            do {
                rules.append(try NetworkRule(item.text))
            } catch {
                throw map.error(key, "has \(error.message)", line: item.line)
            }
        }
        return rules
    }
}

extension PrivateDestinations {
    /// Reads the list of `key`; empty where it is not there.
    init(_ key: String, in map: inout StrictMapping) throws(SettingsError) {
        self.init()
        for item in try map.items(key, maximum: Self.maximum) ?? [] {
            do {
                try insert(item.text)
            } catch {
                throw map.error(key, "has \(error.message)", line: item.line)
            }
        }
    }
}
