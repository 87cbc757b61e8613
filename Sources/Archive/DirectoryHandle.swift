internal import Glibc

/// A held directory: what is opened through it stays below it, whatever happens to its path.
public struct DirectoryHandle: ~Copyable {
    let descriptor: CInt

    /// Takes over an open descriptor and closes it in the end.
    public init(adopting descriptor: CInt) { self.descriptor = descriptor }

    /// Opens a directory by a path that is trusted: links in it are followed.
    public init(path: String) throws(ArchiveError) {
        descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .system("open the directory \(path)", errno) }
    }

    deinit { close(descriptor) }

    /// Opens a directory in this one; never through a link.
    ///
    /// - Returns: nil with errno set.
    borrowing func directory(_ name: [UInt8]) -> DirectoryHandle? {
        let opened = Self.withName(name) {
            openat(descriptor, $0, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        }
        return opened >= 0 ? DirectoryHandle(adopting: opened) : nil
    }

    /// Type and mode of a name in this directory, links not followed; nil with errno set.
    borrowing func status(_ name: [UInt8]) -> stat? {
        var info = stat()
        let result = Self.withName(name) { fstatat(descriptor, $0, &info, AT_SYMLINK_NOFOLLOW) }
        return result == 0 ? info : nil
    }

    /// Calls `body` with a NUL-terminated name.
    static func withName<Result>(
        _ name: [UInt8], _ body: (UnsafePointer<CChar>) -> Result
    ) -> Result {
        (name + [0]).withUnsafeBufferPointer { bytes in
            bytes.withMemoryRebound(to: CChar.self) { characters in
                // An array with its terminator is never empty.
                characters.baseAddress.map(body) ?? body("")
            }
        }
    }
}

extension stat {
    var type: mode_t { st_mode & S_IFMT }
    var isDirectory: Bool { type == S_IFDIR }
    var isRegular: Bool { type == S_IFREG }
    var isLink: Bool { type == S_IFLNK }
}
