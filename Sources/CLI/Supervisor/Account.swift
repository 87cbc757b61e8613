internal import Archive
internal import Foundation

/// Names of users and groups on this host.
enum Account {
    /// Login name of the caller, or the number.
    static var name: String { entry.map { String(cString: $0.pw_name) } ?? String(getuid()) }

    /// Home directory of the caller in the user database.
    static var home: String { entry.map { String(cString: $0.pw_dir) } ?? "/" }

    private static var entry: passwd? { getpwuid(getuid())?.pointee }

    /// The group that may use a socket; where the socket is hidden, that of its directory. Nil for
    /// the group of root, which nobody should join.
    static func group(owning path: String) -> String? {
        let directory = (path as NSString).deletingLastPathComponent
        guard let gid = (FileStatus(path: path) ?? FileStatus(path: directory))?.gid, gid != 0
        else {
            return nil
        }
        return getgrgid(gid).map { String(cString: $0.pointee.gr_name) } ?? String(gid)
    }
}
