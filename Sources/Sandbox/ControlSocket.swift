internal import CSandbox
internal import Glibc

/// A session's control socket, seen without speaking to it.
public enum ControlSocket {
    /// The init that listens on the socket at `path`, nil where nobody does. The launcher makes
    /// these sockets in a directory that only the service may enter, so whoever listens is an init
    /// of ours, also one that the store does not know because its supervisor died before it could
    /// write it down.
    public static func owner(path: String) -> ProcessIdentity? {
        let descriptor = csandbox_connect(path)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var pid: pid_t = 0
        var uid: uid_t = 0
        var gid: gid_t = 0
        var ticks: UInt64 = 0
        guard csandbox_peer(descriptor, &pid, &uid, &gid) == 0, pid > 0,
            csandbox_start_time(pid, &ticks) == 0
        else { return nil }
        return ProcessIdentity(pid: pid, startTime: ticks)
    }
}
