internal import Archive
internal import Foundation

/// What is known about a path on this host.
enum LocalPath {
    static func exists(_ path: String) -> Bool {
        FileStatus(path: path) != nil
    }

    static func isDirectory(_ path: String) -> Bool {
        FileStatus(path: path)?.isDirectory == true
    }

    /// The last part of a path; `.` for `.`, `..` and `/`, whose contents are meant.
    static func name(of path: String) -> String {
        guard let last = path.split(separator: "/").last, last != ".", last != ".." else {
            return "."
        }
        return String(last)
    }

    /// The directory that a path is in.
    static func parent(of path: String) -> String {
        let trimmed = path.trimmingSuffix { $0 == "/" }
        guard let slash = trimmed.lastIndex(of: "/") else { return "." }
        let parent = trimmed[..<slash].trimmingSuffix { $0 == "/" }
        return parent.isEmpty ? "/" : String(parent)
    }
}
