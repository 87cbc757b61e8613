internal import CSandbox
internal import Foundation

/// The version that every program of this package reports.
public enum Version {
    public static let text = "0.1.0"
}

/// Where things live when nobody says otherwise: the system's directories for root, the XDG base
/// directories for everybody else.
public struct DefaultPlaces: Sendable {
    public var config: String
    public var state: String
    public var runtime: String

    /// For the user this process runs as.
    public static func current() throws(DaemonError) -> DefaultPlaces {
        let environment = ProcessInfo.processInfo.environment
        if geteuid() == 0 {
            return DefaultPlaces(
                config: "/etc/superserve/superserved.yaml", state: "/var/lib/superserve",
                runtime: "/run/superserve")
        }
        guard let home = environment["HOME"], home.hasPrefix("/") else {
            throw DaemonError("HOME is not set; use --state-dir and --runtime-dir")
        }
        let state = (environment["XDG_STATE_HOME"] ?? home + "/.local/state") + "/superserve"
        let config = (environment["XDG_CONFIG_HOME"] ?? home + "/.config") + "/superserve"
        let runtime = environment["XDG_RUNTIME_DIR"].map { $0 + "/superserve" } ?? state + "/run"
        return DefaultPlaces(config: config + "/superserved.yaml", state: state, runtime: runtime)
    }
}

/// Files that are found beside the running program, or where they are installed.
public struct Programs: Sendable {
    public var directory: String
    public var launcher: String
    public var shippedAgents: String?

    /// As seen from the running program.
    public static func current() -> Programs {
        let own =
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        let directory = (own as NSString).deletingLastPathComponent
        let above = (directory as NSString).deletingLastPathComponent
        let launchers = [
            directory + "/superserve-launcher", above + "/lib/superserve/superserve-launcher",
            "/usr/lib/superserve/superserve-launcher",
        ]
        let launcher = launchers.first { access($0, X_OK) == 0 } ?? launchers[0]
        return Programs(
            directory: directory, launcher: launcher, shippedAgents: agents(from: directory))
    }

    /// The installed share directory, or the one of the source tree that the program was built in.
    private static func agents(from directory: String) -> String? {
        var above = (directory as NSString).deletingLastPathComponent
        var candidates = [above + "/share/superserve/agents"]
        // Programs with libraries of their own lie in lib/superserve.
        if above.hasSuffix("/lib") {
            let prefix = (above as NSString).deletingLastPathComponent
            candidates.append(prefix + "/share/superserve/agents")
        }
        above = directory
        for _ in 0..<5 where above != "/" {
            above = (above as NSString).deletingLastPathComponent
            candidates.append(above + "/config/agents")
        }
        return candidates.first { access($0, R_OK) == 0 }
    }
}

/// Tells whoever started the program that it is ready, or why not: one line on a descriptor.
public struct Readiness: Sendable {
    let descriptor: Int32?

    public init(descriptor: Int32?) { self.descriptor = descriptor }

    /// Writes the line and closes the descriptor; a service manager is told an error.
    public func tell(_ line: String) {
        if line.hasPrefix("error ") { ServiceManager().status(String(line.dropFirst(6))) }
        guard let descriptor, fcntl(descriptor, F_GETFD) >= 0 else { return }
        let bytes = Array((line + "\n").utf8)
        _ = write(descriptor, bytes, bytes.count)
        close(descriptor)
    }
}

/// Starts this program once more, detached, and waits until it is ready.
public enum Background {
    public static func start(arguments: [String]) throws {
        let ends = try Pipe.closedOnExec()
        let words = ["/proc/self/exe"] + arguments + ["--ready-fd", "\(ends[1])"]
        let environment = ProcessInfo.processInfo.environment.map { "\($0.key)=\($0.value)" }
        let argv = words.map { strdup($0) } + [nil]
        let envp = environment.map { strdup($0) } + [nil]
        defer { for pointer in argv + envp { free(pointer) } }
        let pid = csandbox_start_daemon("/proc/self/exe", argv, envp, ends[1], STDERR_FILENO)
        close(ends[1])
        guard pid > 0 else { throw DaemonError("cannot start: \(String(cString: strerror(-pid)))") }
        let answer = FileHandle(fileDescriptor: ends[0], closeOnDealloc: true).readDataToEndOfFile()
        let text = String(decoding: answer, as: UTF8.self).trimmingCharacters(in: .newlines)
        guard text == "ready" else {
            throw DaemonError(
                text.hasPrefix("error ") ? String(text.dropFirst(6)) : "it ended at once")
        }
        print("superserved is running (pid \(pid))")
    }
}
