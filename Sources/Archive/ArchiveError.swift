internal import Glibc

/// Why an archive could not be read, written or extracted.
public struct ArchiveError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The closed set of causes.
    public enum Code: Sendable, Equatable {
        /// The archive ends in the middle.
        case truncated
        /// A header is not one of a tar archive.
        case malformed
        /// A kind of entry that is not supported, for example a sparse file.
        case unsupported
        /// A name that leaves the target: absolute, with `..`, empty.
        case unsafeName
        /// Something in the way: a symbolic link, a file where a directory must be.
        case obstructed
        /// More entries or bytes than allowed.
        case tooLarge
        /// An entry that this archive should not have here.
        case unexpected
        /// A system call failed; `errno` says why.
        case system
    }

    public var code: Code
    /// What happened, to which entry; one line.
    public var message: String
    /// The underlying errno, or 0.
    public var errno: Int32

    public init(_ code: Code, _ message: String, errno: Int32 = 0) {
        self.code = code
        self.message = message
        self.errno = errno
    }

    public var description: String { message }

    /// The failure of a system call just now.
    static func system(_ action: String, _ number: Int32) -> ArchiveError {
        ArchiveError(
            .system, "Cannot \(action): \(String(cString: strerror(number)))", errno: number)
    }
}
