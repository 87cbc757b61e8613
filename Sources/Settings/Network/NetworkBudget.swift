/// How much of the network a session may use, by kind; a kind without a number has no bound.
public struct NetworkBudget: Sendable, Hashable {
    /// What is counted. The raw value is what files, the API and the command line say.
    public enum Kind: String, Codable, Sendable, CaseIterable {
        /// Bytes from the session to the outside, as they go into sockets.
        case bytesOut = "bytes_out"
        /// Bytes from the outside to the session.
        case bytesIn = "bytes_in"
        /// Connections to the outside.
        case connections
        /// HTTP requests that the supervisor reads.
        case requests
        /// Tokens of language models, input and output together.
        case tokens
        /// Millionths of a US dollar, from `ModelPrices`.
        case cost
    }

    /// What a change says where it takes the bound away.
    public static let unlimited = Int64.max

    private var limits: [Kind: Int64] = [:]

    /// No bound at all.
    public init() {}

    public var isEmpty: Bool { limits.isEmpty }

    /// The kinds that have a number, in the order of `Kind`.
    public var kinds: [Kind] { Kind.allCases.filter { limits[$0] != nil } }

    public subscript(kind: Kind) -> Int64? {
        get { limits[kind] }
        set { limits[kind] = newValue }
    }

    /// This budget, with no kind above that of `ceiling`.
    public func within(_ ceiling: NetworkBudget) -> NetworkBudget {
        var result = self
        for (kind, most) in ceiling.limits { result[kind] = min(result[kind] ?? most, most) }
        return result
    }

    /// This budget with the changes of a session; `unlimited` takes a bound away.
    public func changed(by edits: NetworkBudget) -> NetworkBudget {
        var result = self
        for (kind, value) in edits.limits { result[kind] = value == Self.unlimited ? nil : value }
        return result
    }

    /// The first kind that is above `ceiling`.
    public func excess(over ceiling: NetworkBudget) -> Kind? {
        kinds.first { kind in
            guard let most = ceiling[kind], let own = self[kind] else { return false }
            return own > most
        }
    }
}

extension NetworkBudget.Kind {
    /// Reads a number of this kind: sizes with `KiB`, `MiB`, `GiB`, dollars as decimal, others as
    /// whole numbers.
    ///
    /// - Throws: `badByte` for what is no number, `tooLong` for one that is out of bounds.
    public func value(of text: String) throws(NetworkTextError) -> Int64 {
        let most: Int64
        let value: Int64?
        switch self {
        case .bytesOut, .bytesIn:
            most = 1 << 50
            value = parseBytes(text).map(Int64.init)
        case .connections, .requests, .tokens:
            most = 1_000_000_000_000
            value = text.utf8.allSatisfy(ASCII.isDigit) ? Int64(text) : nil
        case .cost:
            most = 1_000_000_000_000
            value = Dollars.millionths(of: text)
        }
        guard let value, value >= 0 else {
            throw NetworkTextError(.badByte, "must be \(form)")
        }
        guard value <= most else {
            throw NetworkTextError(.tooLong, "must be at most \(self.text(most))")
        }
        return value
    }

    private var form: String {
        switch self {
        case .bytesOut, .bytesIn: "a size such as 65536, 64KiB, 16MiB or 2GiB"
        case .connections, .requests, .tokens: "a whole number"
        case .cost: "US dollars such as 5 or 0.25"
        }
    }

    /// A number of this kind, with its unit.
    public func text(_ value: Int64) -> String {
        switch self {
        case .bytesOut, .bytesIn: "\(value) bytes"
        case .connections, .requests, .tokens: "\(value)"
        case .cost: Dollars.text(value)
        }
    }
}

/// Amounts of money as whole millionths of a US dollar.
enum Dollars {
    /// `2`, `2.5`, `0.000001`: at most nine digits, and six after the point.
    static func millionths(of text: String) -> Int64? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), (1...9).contains(parts[0].utf8.count),
            parts.allSatisfy({ $0.utf8.allSatisfy(ASCII.isDigit) }), let whole = Int64(parts[0])
        else { return nil }
        guard parts.count == 2 else { return whole * 1_000_000 }
        guard (1...6).contains(parts[1].utf8.count) else { return nil }
        let padded = parts[1] + String(repeating: "0", count: 6 - parts[1].utf8.count)
        return Int64(padded).map { whole * 1_000_000 + $0 }
    }

    /// With two digits after the point, or as many as are needed.
    static func text(_ millionths: Int64) -> String {
        var fraction = String(millionths % 1_000_000)
        fraction = String(repeating: "0", count: 6 - fraction.count) + fraction
        while fraction.count > 2, fraction.hasSuffix("0") { fraction.removeLast() }
        return "$\(millionths / 1_000_000).\(fraction)"
    }
}

extension NetworkBudget: Codable {
    /// The stored form: `{"bytes_out": 1048576, …}`.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        for (name, value) in try container.decode([String: Int64].self) {
            guard let kind = Kind(rawValue: name) else {
                throw DecodingError.dataCorruptedError(
                    in: container, debugDescription: "'\(name)' is no kind of budget")
            }
            limits[kind] = value
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(
            Dictionary(uniqueKeysWithValues: limits.map { ($0.key.rawValue, $0.value) }))
    }
}

extension NetworkBudget {
    /// Reads the mapping of `key`; nil where the key is not there.
    init?(_ key: String, in map: inout StrictMapping) throws(SettingsError) {
        guard var inner = try map.mapping(key) else { return nil }
        for kind in Kind.allCases {
            guard let text = try inner.string(kind.rawValue) else { continue }
            do throws(NetworkTextError) {
                limits[kind] = try kind.value(of: text)
            } catch {
                throw inner.error(kind.rawValue, error.message)
            }
        }
        try inner.finish(known: Kind.allCases.map(\.rawValue))
    }

    /// Reads `KIND=VALUE` texts, as a client gives them to change one session; `none` takes the
    /// bound away.
    ///
    /// - Throws: `combination` for an unknown kind or one that comes twice, and what `Kind.value`
    ///   throws.
    public init(changes texts: [String]) throws(NetworkTextError) {
        for text in texts {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let names = Kind.allCases.map(\.rawValue).joined(separator: ", ")
            guard parts.count == 2, let kind = Kind(rawValue: String(parts[0])) else {
                throw NetworkTextError(
                    .combination, "'\(text.prefix(80))' is not KIND=VALUE with one of \(names)")
            }
            guard limits[kind] == nil else {
                throw NetworkTextError(.combination, "'\(kind.rawValue)' is given twice")
            }
            do throws(NetworkTextError) {
                limits[kind] =
                    parts[1] == "none" ? Self.unlimited : try kind.value(of: String(parts[1]))
            } catch {
                throw NetworkTextError(error.code, "'\(kind.rawValue)' \(error.message), or none")
            }
        }
    }
}
