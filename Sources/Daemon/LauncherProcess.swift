internal import CSandbox
internal import Foundation
internal import Sandbox

extension Pipe {
    /// Read end and write end; neither is inherited unless a spawn says so.
    static func closedOnExec() throws(DaemonError) -> [Int32] {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw DaemonError("pipe: \(Directories.error)") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        return ends
    }
}

/// Starts the keeper, the small program that holds every sandbox.
struct LauncherProcess: Sendable {
    var executable: String
    var directories: Directories
    /// True where somebody else starts the keeper, such as a unit of its own.
    var isSeparate = false
    /// Ids for `--service-uid` and so on, when the keeper is started by root.
    var identityArguments: [String]

    /// True when a launcher takes connections.
    func answers() -> Bool {
        let descriptor = csandbox_connect(directories.launcherSocket)
        guard descriptor >= 0 else { return false }
        close(descriptor)
        return true
    }

    /// Starts a keeper and waits until it is ready; its errors come back in its own words.
    func start() throws(DaemonError) {
        guard access(executable, X_OK) == 0 else {
            throw DaemonError("the launcher \(executable) is missing; reinstall superserve")
        }
        let ends = try Pipe.closedOnExec()
        defer { close(ends[0]) }
        let words =
            [
                executable, "keeper", "--state-dir", directories.state, "--runtime-dir",
                directories.runtime, "--ready-fd", "\(ends[1])", "--move-starter",
            ] + identityArguments
        let environment = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
        let pid = Self.withCStrings(words) { arguments in
            Self.withCStrings(environment) { variables in
                csandbox_start_daemon(executable, arguments, variables, ends[1], STDERR_FILENO)
            }
        }
        close(ends[1])
        guard pid > 0 else {
            throw DaemonError("cannot start \(executable): \(String(cString: strerror(-pid)))")
        }
        let answer = Self.readAll(ends[0])
        guard answer == "ready\n" else {
            var status: Int32 = 0
            waitpid(pid, &status, 0)
            let text = answer.trimmingCharacters(in: .whitespacesAndNewlines)
            throw DaemonError("sandboxes cannot be made here: \(Self.explain(text))")
        }
    }

    private static func explain(_ text: String) -> String {
        guard text.hasPrefix("error ") else {
            return text.isEmpty ? "the launcher ended at once" : text
        }
        return String(text.dropFirst(6))
    }

    private static func readAll(_ descriptor: Int32) -> String {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1024)
        while bytes.count < 8192 {
            let count = read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            bytes += chunk[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func withCStrings<T>(
        _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> T
    ) -> T {
        let pointers = strings.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        return body(pointers)
    }
}
