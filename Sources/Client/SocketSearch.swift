public import Foundation

/// The directories and sockets that a user's calls are about.
///
/// Root's own directories are the system's, so that a supervisor started by root and the system
/// service are the same one.
public struct SupervisorDirectories: Sendable, Equatable {
    /// Where the supervisor of this user keeps its state.
    public var state: String
    /// Where the supervisor of this user has its socket and log.
    public var runtime: String

    /// The socket of the system service.
    public static let systemSocket = "/run/superserve/superserved.sock"

    public init(state: String, runtime: String) {
        self.state = state
        self.runtime = runtime
    }

    /// Finds them as the XDG base directory specification says.
    ///
    /// - Parameters:
    ///   - environment: HOME, XDG_STATE_HOME and XDG_RUNTIME_DIR are read; relative values are
    ///     ignored, as the specification asks.
    ///   - uid: the caller's user id; 0 takes the system's directories.
    ///   - home: the home directory where HOME is missing.
    public init(environment: [String: String], uid: uid_t, home: String) {
        guard uid != 0 else {
            self.init(state: "/var/lib/superserve", runtime: "/run/superserve")
            return
        }
        let state = Self.personalState(environment: environment, home: home)
        let runtime = Self.absolute("XDG_RUNTIME_DIR", environment).map { $0 + "/superserve" }
        self.init(state: state, runtime: runtime ?? state + "/run")
    }

    /// The state directory of the person, root included: what is theirs and not the supervisor's.
    public static func personalState(environment: [String: String], home: String) -> String {
        let base =
            absolute("XDG_STATE_HOME", environment)
            ?? (absolute("HOME", environment) ?? home) + "/.local/state"
        return base + "/superserve"
    }

    private static func absolute(_ name: String, _ environment: [String: String]) -> String? {
        environment[name].flatMap { $0.hasPrefix("/") ? $0 : nil }
    }

    /// The socket of this user's supervisor.
    public var socket: String { runtime + "/superserved.sock" }
}

/// Which sockets to try, in order.
public struct SocketSearch: Sendable, Equatable {
    /// Absolute paths.
    public var candidates: [String]
    /// True where the caller named the socket: then nothing is started for them.
    public var isExplicit: Bool

    /// - Parameters:
    ///   - host: `--host` or SUPERSERVE_HOST, for example `unix:///run/user/1000/s.sock`.
    ///   - local: true skips the system service.
    ///   - systemSocketExists: whether the system service has a socket.
    public init(
        host: String?, local: Bool, directories: SupervisorDirectories, systemSocketExists: Bool
    ) throws(ClientError) {
        if let host {
            candidates = [try Self.path(ofHost: host)]
            isExplicit = true
            return
        }
        var candidates = [directories.socket]
        let system = SupervisorDirectories.systemSocket
        if !local, systemSocketExists, system != directories.socket {
            candidates.insert(system, at: 0)
        }
        self.candidates = candidates
        isExplicit = false
    }

    /// The path in `unix:///path`.
    public static func path(ofHost host: String) throws(ClientError) -> String {
        let scheme = "unix://"
        guard host.hasPrefix(scheme + "/") else {
            throw ClientError(
                .address, "The host '\(host)' is not of the form unix:///path/to/socket")
        }
        return String(host.dropFirst(scheme.count))
    }
}
