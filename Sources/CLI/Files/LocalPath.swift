internal import Foundation

/// What is known about a path on this host.
enum LocalPath {
    static func exists(_ path: String) -> Bool {
        var info = stat()
        return stat(path, &info) == 0
    }

    static func isDirectory(_ path: String) -> Bool {
        var info = stat()
        return stat(path, &info) == 0 && info.st_mode & S_IFMT == S_IFDIR
    }

    /// The last part of a path; for `.`, `..` and `/` that of the directory they lead to.
    static func name(of path: String) -> String {
        let last = path.split(separator: "/").last.map(String.init)
        if let last, last != ".", last != ".." { return last }
        guard let resolved = realpath(path, nil) else { return "files" }
        defer { free(resolved) }
        return String(cString: resolved).split(separator: "/").last.map(String.init) ?? "root"
    }

    /// The directory that a path is in.
    static func parent(of path: String) -> String {
        let trimmed = path.trimmingSuffix { $0 == "/" }
        guard let slash = trimmed.lastIndex(of: "/") else { return "." }
        let parent = trimmed[..<slash].trimmingSuffix { $0 == "/" }
        return parent.isEmpty ? "/" : String(parent)
    }
}
