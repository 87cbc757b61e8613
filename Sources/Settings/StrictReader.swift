internal import Yams

/// A mistake in a configuration or agent file, with the line it is on.
public struct SettingsError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The file's name as the reader was given it.
    public var file: String
    /// Counts from 1; nil where the mistake has no place (a missing key, an unreadable file).
    public var line: Int?
    public var message: String

    public init(file: String, line: Int?, message: String) {
        self.file = file
        self.line = line
        self.message = message
    }

    public var description: String {
        line.map { "\(file):\($0): \(message)" } ?? "\(file): \(message)"
    }
}

/// Reads one YAML mapping strictly: every key must be known, every value of its type and within its
/// bounds, and every complaint names file and line.
struct StrictMapping {
    static let maximumBytes = 1 << 20

    let file: String
    private(set) var line: Int?
    /// How errors call it.
    let name: String
    private var entries: [(key: String, line: Int?, node: Node)]
    private var taken: Set<String> = []

    init(text: String, file: String) throws(SettingsError) {
        guard text.utf8.count <= Self.maximumBytes else {
            throw SettingsError(
                file: file, line: nil, message: "longer than \(Self.maximumBytes) bytes")
        }
        let node: Node?
        do {
            node = try Yams.compose(yaml: text)
        } catch let error as YamlError {
            throw SettingsError(file: file, line: error.line, message: error.summary)
        } catch {
            throw SettingsError(file: file, line: nil, message: "not YAML: \(error)")
        }
        try self.init(node: node ?? .mapping(Node.Mapping([])), file: file, what: "the file")
    }

    private init(node: Node, file: String, what: String) throws(SettingsError) {
        guard case .mapping(let mapping) = node else {
            throw SettingsError(
                file: file, line: node.mark?.line,
                message: "\(what) must be a mapping of keys to values")
        }
        self.file = file
        line = node.mark?.line
        name = what
        entries = []
        for (keyNode, value) in mapping {
            guard let key = keyNode.scalar?.string else {
                throw SettingsError(
                    file: file, line: keyNode.mark?.line, message: "a key must be a word")
            }
            if entries.contains(where: { $0.key == key }) {
                throw SettingsError(
                    file: file, line: keyNode.mark?.line, message: "'\(key)' is given twice")
            }
            entries.append((key, keyNode.mark?.line, value))
        }
    }

    /// The error for `key`, at its line or at that of the item that is wrong.
    func error(_ key: String, _ message: String, line place: Int? = nil) -> SettingsError {
        SettingsError(
            file: file, line: place ?? entries.first { $0.key == key }?.line ?? line,
            message: "'\(key)' \(message)")
    }

    /// To be called last: refuses what nobody asked for.
    func finish(known: [String]) throws(SettingsError) {
        for entry in entries where !taken.contains(entry.key) {
            throw SettingsError(
                file: file, line: entry.line,
                message: "unknown key '\(entry.key)'; known are \(known.joined(separator: ", "))")
        }
    }

    private mutating func node(_ key: String) -> Node? {
        taken.insert(key)
        guard let node = entries.first(where: { $0.key == key })?.node else { return nil }
        if let scalar = node.scalar, scalar.string.isEmpty || scalar.string == "~",
            scalar.style == .plain
        {
            return nil
        }
        return node
    }

    /// Every key, in the order of the file.
    var keys: [String] { entries.map(\.key) }

    /// The line of `key`.
    func line(of key: String) -> Int? { entries.first { $0.key == key }?.line }

    /// True where the key stands in the file with a value.
    mutating func has(_ key: String) -> Bool { node(key) != nil }

    mutating func string(_ key: String, maximum: Int = 4096) throws(SettingsError) -> String? {
        guard let node = node(key) else { return nil }
        guard let text = node.scalar?.string else { throw error(key, "must be text") }
        return try checked(text, key: key, maximum: maximum)
    }

    private func checked(_ text: String, key: String, maximum: Int) throws(SettingsError) -> String
    {
        guard text.utf8.count <= maximum else {
            throw error(key, "is longer than \(maximum) bytes")
        }
        guard !text.utf8.contains(0) else { throw error(key, "contains a NUL character") }
        return text
    }

    mutating func strings(_ key: String, maximum: Int = 256) throws(SettingsError) -> [String]? {
        try items(key, maximum: maximum)?.map(\.text)
    }

    /// The texts of a list, each with its line.
    mutating func items(_ key: String, maximum: Int) throws(SettingsError) -> [(
        text: String, line: Int?
    )]? {
        guard let node = node(key) else { return nil }
        guard let sequence = node.sequence else { throw error(key, "must be a list") }
        guard sequence.count <= maximum else { throw error(key, "has more than \(maximum) items") }
        var result: [(text: String, line: Int?)] = []
        for item in sequence {
            guard let text = item.scalar?.string else {
                throw error(key, "must be a list of texts")
            }
            result.append((try checked(text, key: key, maximum: 1 << 17), item.mark?.line))
        }
        return result
    }

    mutating func isList(_ key: String) -> Bool { node(key)?.sequence != nil }
    mutating func isMapping(_ key: String) -> Bool { node(key)?.mapping != nil }
    mutating func isText(_ key: String) -> Bool { node(key)?.scalar != nil }

    mutating func boolean(_ key: String) throws(SettingsError) -> Bool? {
        guard let node = node(key) else { return nil }
        switch node.scalar?.string {
        case "true"?: return true
        case "false"?: return false
        default: throw error(key, "must be true or false")
        }
    }

    mutating func integer(_ key: String, in range: ClosedRange<Int>) throws(SettingsError) -> Int? {
        guard let node = node(key) else { return nil }
        guard let value = node.scalar.flatMap({ Int($0.string) }) else {
            throw error(key, "must be a whole number")
        }
        guard range.contains(value) else {
            throw error(key, "must be between \(range.lowerBound) and \(range.upperBound)")
        }
        return value
    }

    mutating func seconds(_ key: String, in range: ClosedRange<Int>) throws(SettingsError) -> Int? {
        guard let text = try string(key) else { return nil }
        guard let value = Duration.seconds(parsing: text) else {
            throw error(key, "must be a duration such as 90, 90s, 29m, 2h or 30d")
        }
        guard range.contains(value) else {
            throw error(key, "must be between \(range.lowerBound) and \(range.upperBound) seconds")
        }
        return value
    }

    mutating func bytes(_ key: String, in range: ClosedRange<Int>) throws(SettingsError) -> Int? {
        guard let text = try string(key) else { return nil }
        guard let value = parseBytes(text) else {
            throw error(key, "must be a size such as 65536, 64KiB, 16MiB or 2GiB")
        }
        guard range.contains(value) else {
            throw error(key, "must be between \(range.lowerBound) and \(range.upperBound) bytes")
        }
        return value
    }

    mutating func dictionary(_ key: String, maximum: Int = 256) throws(SettingsError) -> [String:
        String]?
    {
        guard let node = node(key) else { return nil }
        let inner = try StrictMapping(node: node, file: file, what: "'\(key)'")
        guard inner.entries.count <= maximum else {
            throw error(key, "has more than \(maximum) entries")
        }
        var result: [String: String] = [:]
        for entry in inner.entries {
            guard let text = entry.node.scalar?.string else {
                throw SettingsError(
                    file: file, line: entry.line, message: "'\(key).\(entry.key)' must be text")
            }
            result[entry.key] = try checked(text, key: key, maximum: 1 << 17)
        }
        return result
    }

    mutating func mapping(_ key: String) throws(SettingsError) -> StrictMapping? {
        guard let node = node(key) else { return nil }
        return try StrictMapping(node: node, file: file, what: "'\(key)'")
    }

    /// The mappings of a mapping, each with its key and at the line of that key.
    mutating func mappings(
        _ key: String, maximum: Int
    ) throws(SettingsError) -> [(key: String, map: StrictMapping)]? {
        guard let outer = try mapping(key) else { return nil }
        guard outer.entries.count <= maximum else {
            throw error(key, "has more than \(maximum) entries")
        }
        var result: [(key: String, map: StrictMapping)] = []
        for entry in outer.entries {
            let what = "\(key).\(entry.key)"
            var inner = try StrictMapping(node: entry.node, file: file, what: what)
            inner.line = entry.line
            result.append((entry.key, inner))
        }
        return result
    }

    /// A mistake that no single key has.
    func mistake(_ message: String) -> SettingsError {
        SettingsError(file: file, line: line, message: message)
    }
}

/// Bytes of `65536`, `64KiB`, `16MiB` or `2GiB`; nil for anything else.
func parseBytes(_ text: String) -> Int? {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)]
    for (unit, shift) in units where text.hasSuffix(unit) {
        guard let value = Int(text.dropLast(3)), value >= 0, value < 1 << 30 else { return nil }
        return value << shift
    }
    return Int(text)
}

extension Duration {
    /// Whole seconds of `90`, `90s`, `29m`, `2h` or `30d`; nil for anything else.
    public static func seconds(parsing text: String) -> Int? {
        let units: [Character: Int] = ["s": 1, "m": 60, "h": 3600, "d": 86400]
        var digits = Substring(text)
        var factor = 1
        if let last = text.last, let unit = units[last] {
            digits = text.dropLast()
            factor = unit
        }
        guard !digits.isEmpty, digits.allSatisfy({ $0.isASCII && $0.isNumber }),
            let value = Int(digits)
        else { return nil }
        let (product, overflow) = value.multipliedReportingOverflow(by: factor)
        return overflow ? nil : product
    }
}

extension YamlError {
    fileprivate var line: Int? {
        switch self {
        case .reader(_, _, _, _): nil
        case .scanner(_, _, let mark, _), .parser(_, _, let mark, _), .composer(_, _, let mark, _):
            mark.line
        default: nil
        }
    }

    fileprivate var summary: String {
        switch self {
        case .scanner(_, let problem, _, _), .parser(_, let problem, _, _),
            .composer(_, let problem, _, _):
            problem.contains("alias") || problem.contains("alphabetic")
                ? "not YAML: \(problem); a text that begins with '*' or '&' stands in quotes"
                : "not YAML: \(problem)"
        case .reader(let problem, _, _, _): "not YAML: \(problem)"
        case .duplicatedKeysInMapping: "a key is given twice"
        default: "not YAML"
        }
    }
}
