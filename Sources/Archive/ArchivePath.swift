/// The components of a name in an archive, checked: none is empty, `.`, `..` or holds a slash or
/// NUL.
public struct ArchivePath: Sendable, Hashable {
    /// Longest names that Linux takes, in bytes.
    static let byteLimit = 4096
    static let depthLimit = 256

    /// File names as bytes; none for the top of the archive itself.
    public let components: [[UInt8]]

    init(unchecked components: [[UInt8]]) { self.components = components }

    /// Checks a name as it stands in an archive.
    ///
    /// - Throws: `unsafeName` for absolute names, for `..` anywhere and for names out of bounds.
    public init(_ name: [UInt8]) throws(ArchiveError) {
        func refuse(_ reason: String) -> ArchiveError {
            let text = String(decoding: name.prefix(200), as: UTF8.self)
            return ArchiveError(.unsafeName, "The archive has an unsafe name, '\(text)': \(reason)")
        }
        guard name.first != 0x2F else { throw refuse("it is absolute") }
        guard name.count <= Self.byteLimit else { throw refuse("it is too long") }
        guard !name.contains(0) else { throw refuse("it has a NUL") }
        let parts = name.split(separator: 0x2F).map(Array.init).filter { $0 != [0x2E] }
        guard !parts.contains([0x2E, 0x2E]) else { throw refuse("it has '..'") }
        guard parts.count <= Self.depthLimit else { throw refuse("it is too deep") }
        guard parts.allSatisfy({ $0.count <= 255 }) else { throw refuse("a part is too long") }
        components = parts
    }

    /// The components after `prefix`, or nil where this is not at or below it.
    func below(_ prefix: ArchivePath) -> ArchivePath? {
        guard components.starts(with: prefix.components) else { return nil }
        return ArchivePath(unchecked: Array(components.dropFirst(prefix.components.count)))
    }

    /// For messages.
    var text: String {
        components.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "/")
    }
}
