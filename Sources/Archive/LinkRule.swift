/// Which symbolic links of an archive are made.
///
/// Links are made after everything else, so no entry is ever written through one.
public struct LinkRule: Sendable {
    /// Decides about a link by its place below the root of the extracted tree and its target.
    public var allows: @Sendable (_ link: ArchivePath, _ target: [UInt8]) -> Bool

    public init(_ allows: @escaping @Sendable (_ link: ArchivePath, _ target: [UInt8]) -> Bool) {
        self.allows = allows
    }

    /// Only links that resolve inside the tree.
    public static let insideTree = LinkRule { staysInside($0, $1) }

    /// Links that resolve inside the tree, and absolute ones at or below one of `prefixes`.
    ///
    /// - Parameter prefixes: for example `/usr`. A `*` at the end takes every name that begins so:
    ///   `/lib*` takes `/lib64/x`.
    public static func insideTree(orBelow prefixes: [String]) -> LinkRule {
        LinkRule { staysInside($0, $1) || isBelow($1, prefixes) }
    }

    /// `..` may only lead the target. A link's directory is a real one, so leading `..` climb real
    /// directories; after a name they could climb out of the place a second link points to.
    private static func staysInside(_ link: ArchivePath, _ target: [UInt8]) -> Bool {
        guard !target.isEmpty, target.first != 0x2F, !target.contains(0) else { return false }
        let parts = target.split(separator: 0x2F).map(Array.init).filter { $0 != [0x2E] }
        let climbs = parts.prefix { $0 == [0x2E, 0x2E] }.count
        guard !parts.dropFirst(climbs).contains([0x2E, 0x2E]) else { return false }
        return climbs < link.components.count
    }

    private static func isBelow(_ target: [UInt8], _ prefixes: [String]) -> Bool {
        guard target.first == 0x2F, !target.contains(0) else { return false }
        let parts = target.split(separator: 0x2F).map(Array.init)
        guard !parts.contains([0x2E, 0x2E]), !parts.contains([0x2E]) else { return false }
        return prefixes.contains { prefix in
            let wanted = prefix.utf8.split(separator: 0x2F).map { Array($0) }
            guard let last = wanted.last, parts.count >= wanted.count else { return false }
            let head = wanted.dropLast()
            guard parts.starts(with: head) else { return false }
            let name = parts[head.count]
            return last.last == UInt8(ascii: "*")
                ? name.starts(with: last.dropLast()) : name == last
        }
    }
}
