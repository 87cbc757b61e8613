internal import Archive
internal import Foundation

/// Directories that only their owner may enter.
enum PrivateDirectory {
    /// Makes the directory with mode 0700, and its parents where they are missing.
    static func create(_ path: String) throws(CLIError) {
        var existing = ""
        for component in path.split(separator: "/") {
            existing += "/" + component
            if mkdir(existing, 0o700) == 0 || errno == EEXIST || errno == EISDIR { continue }
            // A parent that exists may be unwritable or unreadable; the last word is opening it.
            if errno == EACCES || errno == EROFS || errno == EPERM { continue }
            throw failure(path)
        }
        guard let status = FileStatus(path: path) else { throw failure(path) }
        guard status.isDirectory else {
            throw CLIError("\(path) is not a directory")
        }
    }

    private static func failure(_ path: String) -> CLIError {
        CLIError("Cannot make the directory \(path): \(String(cString: strerror(errno)))")
    }
}
