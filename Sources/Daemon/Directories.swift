internal import API
internal import CDispatch
internal import Foundation
internal import Glibc
internal import Sessions

/// The supervisor's places on disk.
public struct Directories: Sendable {
    public var state: String
    public var runtime: String

    public var socket: String { runtime + "/superserved.sock" }
    var launcherSocket: String { runtime + "/launcher.sock" }
    /// Where the keeper writes down that it was told to end everything.
    var stopRecord: String { runtime + "/stopped" }
    var database: String { state + "/superserve.sqlite" }
    var agentCopies: String { state + "/agents" }
    var networkLogs: String { state + "/network" }
    var secretsKey: String { state + "/secrets.key" }
    private var shippedAgents: String { state + "/shipped" }

    /// Refused as mounts, with all that contains them.
    var secret: [String] { [state, runtime] }

    /// Control socket of a session (`hex`: 32 digits).
    func controlSocket(_ hex: String) -> String { "\(runtime)/s/\(hex).sock" }

    /// The sessions that have a control socket.
    func sessionsWithSockets() -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: runtime + "/s")) ?? []
        return names.compactMap { name in
            let hex = name.hasSuffix(".sock") ? String(name.dropLast(5)) : ""
            return SessionID(hex: hex)?.hex
        }
    }

    /// Bytes of `sun_path` that are left for a path (unix(7)).
    static let longestSocketPath = 107

    /// Absolute paths, or an error that says what is wrong with them.
    public init(state: String, runtime: String) throws(DaemonError) {
        self.state = Self.absolute(state)
        self.runtime = Self.absolute(runtime)
        let longest = controlSocket(String(repeating: "0", count: 32)).utf8.count
        guard longest <= Self.longestSocketPath else {
            throw DaemonError(
                """
                the runtime directory \(self.runtime) is too long: control sockets would have \
                \(longest) of at most \(Self.longestSocketPath) bytes; choose a shorter --runtime-dir
                """
            )
        }
    }

    private static func absolute(_ path: String) -> String {
        var path =
            path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        return path
    }

    /// Creates what is missing and gives it to the service's ids. `group` may enter the runtime
    /// directory.
    func prepare(owner: (uid: uid_t, gid: gid_t)?, group: gid_t?) throws(DaemonError) {
        for path in [state, state + "/sessions", agentCopies, networkLogs] {
            try make(path, mode: 0o700, owner: owner)
        }
        let shared = group != nil
        try make(
            runtime, mode: shared ? 0o2750 : 0o700,
            owner: owner.map { ($0.uid, group ?? $0.gid) } ?? group.map { (uid_t.max, $0) })
        try make(runtime + "/s", mode: 0o700, owner: owner)
    }

    private func make(_ path: String, mode: mode_t, owner: (uid_t, gid_t)?) throws(DaemonError) {
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true,
                attributes: [.posixPermissions: NSNumber(value: mode & 0o777)])
        } catch {
            throw DaemonError("cannot create \(path): \((error as NSError).localizedDescription)")
        }
        let found = try? FileManager.default.attributesOfItem(atPath: path)
        guard found?[.type] as? FileAttributeType == .typeDirectory else {
            throw DaemonError("\(path) is not a directory")
        }
        let uid = (found?[.ownerAccountID] as? NSNumber)?.uint32Value
        guard geteuid() == 0 || uid == geteuid() else {
            throw DaemonError("\(path) belongs to another user (uid \(uid ?? 0))")
        }
        // What is so already is left alone: a service manager that has made the directory may allow
        // neither call.
        var status = stat()
        guard lstat(path, &status) == 0 else { throw DaemonError("\(path): \(Self.error)") }
        if let owner, !Self.belongs(status, to: owner), lchown(path, owner.0, owner.1) != 0 {
            throw DaemonError("cannot give \(path) to uid \(owner.0): \(Self.error)")
        }
        if lstat(path, &status) == 0, status.st_mode & 0o7777 == mode { return }
        guard chmod(path, mode) == 0 else {
            throw DaemonError("cannot set the mode of \(path): \(Self.error)")
        }
    }

    private static func belongs(_ status: stat, to owner: (uid: uid_t, gid: gid_t)) -> Bool {
        (owner.uid == uid_t.max || owner.uid == status.st_uid) && owner.gid == status.st_gid
    }

    /// Bytes of the shipped agents; ours have a few thousand.
    private static let maximumShipped = 1 << 30

    /// Copies the shipped agents to where the service can read them: started by root, the programs
    /// may lie below a directory that is closed to everybody else, such as root's home.
    func adopt(shipped source: String) throws(DaemonError) -> String {
        try? FileManager.default.removeItem(atPath: shippedAgents)
        guard mkdir(shippedAgents, 0o755) == 0, chmod(shippedAgents, 0o755) == 0 else {
            throw DaemonError("\(shippedAgents): \(Self.error)")
        }
        var copy = TreeCopy(of: source, maximumBytes: Self.maximumShipped)
        do {
            try copy.run(into: shippedAgents)
        } catch {
            throw DaemonError("the shipped agents cannot be copied: \(error.message)")
        }
        return shippedAgents
    }

    /// With every symbolic link followed: mounts of what lies below are opened without following
    /// any.
    func resolved() throws(DaemonError) -> Directories {
        guard let realState = realpath(state, nil), let realRuntime = realpath(runtime, nil) else {
            throw DaemonError("cannot resolve \(state) and \(runtime): \(Self.error)")
        }
        defer {
            free(realState)
            free(realRuntime)
        }
        return try Directories(
            state: String(cString: realState), runtime: String(cString: realRuntime))
    }

    static var error: String { String(cString: strerror(errno)) }

    /// After privileges are dropped: the directories must be usable by what the process is now.
    func checkReachable() throws(DaemonError) {
        for path in [state, runtime] where access(path, R_OK | W_OK | X_OK) != 0 {
            throw DaemonError(
                """
                \(path) cannot be used by uid \(geteuid()): \(Self.error); a directory above it may \
                be closed, choose another place with --state-dir and --runtime-dir
                """
            )
        }
    }

    /// One supervisor a state directory: takes the lock, before anything else is touched. The
    /// descriptor holds it for the life of the process.
    func lock() throws(DaemonError) -> Int32 {
        do {
            try FileManager.default.createDirectory(
                atPath: state, withIntermediateDirectories: true,
                attributes: [.posixPermissions: NSNumber(value: 0o700)])
        } catch {
            throw DaemonError("cannot create \(state): \((error as NSError).localizedDescription)")
        }
        return try lock(file: "lock", in: state, "state")
    }

    /// One supervisor a runtime directory: two with different state directories would share the
    /// socket and the launcher.
    func lockRuntime() throws(DaemonError) -> Int32 {
        try lock(file: "superserved.lock", in: runtime, "runtime")
    }

    private func lock(
        file: String, in directory: String, _ kind: String
    ) throws(DaemonError) -> Int32 {
        let path = directory + "/" + file
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else {
            throw DaemonError("the \(kind) directory \(directory) is not writable: \(Self.error)")
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            throw DaemonError("another supervisor is already running on \(directory)")
        }
        return descriptor
    }
}
