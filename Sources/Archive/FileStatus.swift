internal import Glibc

/// What stat(2) says of a file, as far as this package asks.
///  Kept here, beside nothing but Glibc: under `MemberImportVisibility` the fields of `struct stat`
/// belong to whichever module the compiler met first where Foundation is imported as well.
public struct FileStatus: Sendable {
    public let isDirectory: Bool
    public let isRegularFile: Bool
    public let uid: UInt32
    public let gid: UInt32

    /// Nil where the file does not exist or cannot be asked; `errno` says why.
    public init?(path: String, followingLinks: Bool = true) {
        var info = stat()
        guard (followingLinks ? stat(path, &info) : lstat(path, &info)) == 0 else { return nil }
        self.init(info)
    }

    /// Nil where the descriptor is not open.
    public init?(descriptor: Int32) {
        var info = stat()
        guard fstat(descriptor, &info) == 0 else { return nil }
        self.init(info)
    }

    private init(_ info: stat) {
        isDirectory = info.st_mode & S_IFMT == S_IFDIR
        isRegularFile = info.st_mode & S_IFMT == S_IFREG
        uid = info.st_uid
        gid = info.st_gid
    }
}
