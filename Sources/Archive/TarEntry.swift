/// One member of a tar archive, without its data.
public struct TarEntry: Sendable, Hashable {
    /// What an entry is.
    public enum Kind: Sendable, Hashable {
        case file
        case directory
        case symbolicLink
        case hardLink
        case characterDevice
        case blockDevice
        case fifo
    }

    public var kind: Kind
    /// The name as it stands in the archive: bytes, for file names need not be UTF-8.
    public var name: [UInt8]
    /// Target of a link.
    public var linkTarget: [UInt8]
    /// Permission bits, set-id bits included: 0 to 0o7777.
    public var mode: UInt32
    /// Bytes of data that follow, for files.
    public var size: Int64
    /// Seconds since 1970.
    public var modified: Int64

    public init(
        kind: Kind, name: [UInt8], linkTarget: [UInt8] = [], mode: UInt32 = 0o644, size: Int64 = 0,
        modified: Int64 = 0
    ) {
        self.kind = kind
        self.name = name
        self.linkTarget = linkTarget
        self.mode = mode
        self.size = size
        self.modified = modified
    }

    /// The name for messages.
    public var nameText: String { String(decoding: name, as: UTF8.self) }
}
