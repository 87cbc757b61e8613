internal import CSandbox
internal import Glibc

/// A session's control socket, seen without speaking to it.
public enum ControlSocket {
    /// The init that listens on the socket at `path`, nil where nobody does. The launcher makes
    /// these sockets in a directory that only the service may enter, so whoever listens is an init
    /// of ours, also one that the store does not know because its supervisor died before it could
    /// write it down.
    /// Throws where that cannot be found out now, for want of a descriptor for example.
    public static func owner(path: String) throws(SandboxError) -> ProcessIdentity? {
        let descriptor = csandbox_connect(path)
        guard descriptor >= 0 else {
            let error = SandboxError(.disconnected, stage: "connect", errno: -descriptor)
            guard error.isLost else { throw error }
            return nil
        }
        defer { close(descriptor) }
        var pid: pid_t = 0
        var uid: uid_t = 0
        var gid: gid_t = 0
        guard csandbox_peer(descriptor, &pid, &uid, &gid) == 0, pid > 0,
            let ticks = try ProcessIdentity.startTime(of: pid)
        else { return nil }
        return ProcessIdentity(pid: pid, startTime: ticks)
    }
}
