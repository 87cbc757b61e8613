/// What the tokens of language models cost, for an agent's budget.
public struct ModelPrices: Sendable, Hashable, Codable {
    /// Prices in millionths of a US dollar for a million tokens.
    public struct Price: Sendable, Hashable, Codable {
        /// A model's name, in which `*` stands for any characters.
        public var pattern: String
        public var input: Int64
        public var output: Int64
        /// Of input that comes from the provider's cache; nil: as `input`.
        public var cached: Int64?
    }

    /// Entries that an agent may have.
    public static let maximum = 64

    public private(set) var prices: [Price]

    /// Millionths of a US dollar, rounded up. Of the patterns that fit, the one with the most
    /// characters counts; a model that none fits costs what the dearest one does.
    ///
    /// - Parameter cached: the part of `input` that came from a cache.
    public func cost(model: String?, input: Int64, cached: Int64, output: Int64) -> Int64 {
        let fitting = prices.filter { price in model.map { Self.fits($0, price.pattern) } ?? false }
        let best = fitting.max { $0.pattern.utf8.count < $1.pattern.utf8.count }
        let inputPrice = best?.input ?? prices.map(\.input).max() ?? 0
        let outputPrice = best?.output ?? prices.map(\.output).max() ?? 0
        let cachedPrice = best.map { $0.cached ?? $0.input } ?? inputPrice
        let fresh = max(0, input - cached)
        let sum = fresh * inputPrice + min(cached, input) * cachedPrice + output * outputPrice
        return (sum + 999_999) / 1_000_000
    }

    /// Tokens of one answer that can be multiplied by a price.
    public static let maximumTokens: Int64 = 100_000_000

    static func fits(_ name: String, _ pattern: String) -> Bool {
        let parts = pattern.split(separator: "*", omittingEmptySubsequences: false)
        guard parts.count > 1, let first = parts.first, let last = parts.last else {
            return name == pattern
        }
        guard name.hasPrefix(first), name.dropFirst(first.count).hasSuffix(last) else {
            return false
        }
        var rest = name.dropFirst(first.count).dropLast(last.count)
        for part in parts.dropFirst().dropLast() where !part.isEmpty {
            guard let found = rest.firstRange(of: part) else { return false }
            rest = rest[found.upperBound...]
        }
        return true
    }
}

extension ModelPrices {
    /// Reads the mapping of `key`: patterns, each with `input`, `output` and perhaps `cached`, in
    /// dollars for a million tokens. Nil where the key is not there.
    init?(_ key: String, in map: inout StrictMapping) throws(SettingsError) {
        guard var models = try map.mapping(key) else { return nil }
        prices = []
        for pattern in models.keys {
            guard prices.count < Self.maximum else {
                throw models.error(pattern, "is one too many: at most \(Self.maximum) have a price")
            }
            guard (1...128).contains(pattern.utf8.count) else {
                throw models.error(pattern, "must have 1 to 128 bytes")
            }
            guard var inner = try models.mapping(pattern) else {
                throw models.error(pattern, "must have 'input' and 'output'")
            }
            guard let input = try Self.price("input", &inner),
                let output = try Self.price("output", &inner)
            else { throw models.error(pattern, "must have 'input' and 'output'") }
            let cached = try Self.price("cached", &inner)
            prices.append(Price(pattern: pattern, input: input, output: output, cached: cached))
            try inner.finish(known: ["cached", "input", "output"])
        }
        guard !prices.isEmpty else { throw map.error(key, "has no model") }
    }

    private static func price(
        _ key: String, _ map: inout StrictMapping
    ) throws(SettingsError) -> Int64? {
        guard let text = try map.string(key) else { return nil }
        guard let value = Dollars.millionths(of: text), value <= 10_000_000_000 else {
            throw map.error(
                key, "must be dollars for a million tokens, such as 2.50, at most 10000")
        }
        return value
    }
}
