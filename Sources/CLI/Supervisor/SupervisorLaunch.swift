internal import Client
internal import Foundation

/// Starts `superserved` as a daemon of the user.
struct SupervisorLaunch: Sendable {
    /// Seconds until a supervisor that says nothing counts as failed.
    static let readySeconds = 30

    let directories: SupervisorDirectories

    /// Why no supervisor came up.
    struct Failure: Error {
        var report: CLIError
        /// True where another supervisor may have been started at the same moment.
        var mayBeARace: Bool
    }

    /// Starts one and waits until it is ready.
    ///
    /// - Returns: its process id.
    func start() async throws(Failure) -> pid_t {
        let executable = try Self.executable()
        try prepareRuntimeDirectory()
        let (pid, ready) = try spawn(executable)
        let line = await ReadyLine.read(from: ready, seconds: Self.readySeconds)
        switch line {
        case "ready":
            return pid
        case nil:
            throw failure("it said nothing for \(Self.readySeconds) s")
        case "":
            throw failure(Self.end(of: pid), mayBeARace: true)
        case let line?:
            let prefix = "error "
            let reason = line.hasPrefix(prefix) ? String(line.dropFirst(prefix.count)) : line
            _ = Self.end(of: pid)
            throw failure(reason, mayBeARace: true)
        }
    }

    private var log: String { directories.runtime + "/superserved.log" }

    private func failure(_ reason: String, mayBeARace: Bool = false) -> Failure {
        Failure(
            report: CLIError("The supervisor did not start: \(reason)", hint: "See: \(log)"),
            mayBeARace: mayBeARace)
    }

    /// Beside this program, else in PATH, else where the package installs it.
    private static func executable() throws(Failure) -> String {
        let name = "superserved"
        var places: [String] = []
        if let own = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe") {
            places.append((own as NSString).deletingLastPathComponent)
        }
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin"
        places += path.split(separator: ":").map(String.init).filter { $0.hasPrefix("/") }
        places.append("/usr/lib/superserve")
        for place in places where access(place + "/" + name, X_OK) == 0 {
            return place + "/" + name
        }
        throw Failure(
            report: CLIError(
                "No supervisor answers, and superserved is not installed beside superserve",
                hint: "Put superserved into the directory of superserve, or into PATH"),
            mayBeARace: false)
    }

    private func prepareRuntimeDirectory() throws(Failure) {
        do {
            try PrivateDirectory.create(directories.runtime)
        } catch {
            throw Failure(report: error, mayBeARace: false)
        }
    }

    /// - Returns: the process and the descriptor to read its readiness from.
    private func spawn(_ executable: String) throws(Failure) -> (pid_t, CInt) {
        var ends: [CInt] = [-1, -1]
        guard pipe(&ends) == 0 else { throw system("pipe", errno) }
        defer { close(ends[1]) }
        _ = fcntl(ends[0], F_SETFD, FD_CLOEXEC)
        let arguments = [
            executable, "--state-dir", directories.state, "--runtime-dir", directories.runtime,
            "--ready-fd", "3",
        ]
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_APPEND | O_CREAT, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 3)
        // What the shell left open here is none of the daemon's business.
        for descriptor in Self.openDescriptors() where descriptor > 3 {
            posix_spawn_file_actions_addclose(&actions, descriptor)
        }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        Self.configure(&attributes)
        var pid: pid_t = 0
        let status = Self.withCStrings(arguments) { arguments in
            Self.withCStrings(DaemonEnvironment.current()) { environment in
                posix_spawn(&pid, executable, &actions, &attributes, arguments, environment)
            }
        }
        guard status == 0 else {
            close(ends[0])
            throw system("start \(executable)", status)
        }
        return (pid, ends[0])
    }

    /// A session of its own, no signal blocked, every signal with its default action.
    private static func configure(_ attributes: inout posix_spawnattr_t) {
        // POSIX_SPAWN_SETSID (glibc 2.26, spawn.h) is hidden behind _GNU_SOURCE.
        let setSession: Int16 = 0x80
        let flags = Int16(POSIX_SPAWN_SETSIGMASK) | Int16(POSIX_SPAWN_SETSIGDEF) | setSession
        posix_spawnattr_setflags(&attributes, flags)
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        var all = sigset_t()
        sigfillset(&all)
        posix_spawnattr_setsigdefault(&attributes, &all)
    }

    private func system(_ action: String, _ number: CInt) -> Failure {
        failure("cannot \(action): \(String(cString: strerror(number)))")
    }

    private static func openDescriptors() -> [CInt] {
        let names = try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")
        return (names ?? []).compactMap { CInt($0) }
    }

    private static func end(of pid: pid_t) -> String {
        var status: CInt = 0
        guard waitpid(pid, &status, 0) == pid else { return "it ended" }
        let signal = status & 0x7F
        return signal == 0
            ? "it ended with status \(status >> 8 & 0xFF)" : "it was killed by signal \(signal)"
    }

    private static func withCStrings<Result>(
        _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Result
    ) -> Result {
        let pointers = strings.map { strdup($0) }
        defer { pointers.forEach { free($0) } }
        return body(pointers + [nil])
    }
}

/// What a daemon gets to know of the environment it is started from.
enum DaemonEnvironment {
    private static let names: Set = ["PATH", "HOME", "LANG", "USER", "LOGNAME", "TMPDIR"]
    private static let prefixes = ["LC_", "XDG_"]

    /// `NAME=value` of the allowed variables.
    static func current() -> [String] {
        filter(ProcessInfo.processInfo.environment)
    }

    /// The allowed ones of `environment`, by name.
    static func filter(_ environment: [String: String]) -> [String] {
        environment
            .filter { name, _ in names.contains(name) || prefixes.contains { name.hasPrefix($0) } }
            .map { "\($0.key)=\($0.value)" }
            .sorted()
    }
}
