internal import Archive
internal import Foundation

/// Asks whether somebody listens on a unix socket, without sending anything.
enum SocketProbe {
    enum Result: Equatable {
        case answers
        /// No socket, or one that nobody listens on.
        case absent
        case denied
        /// With the errno.
        case failed(CInt)
    }

    /// True when the path exists, or when it is hidden from the caller.
    static func exists(_ path: String) -> Bool {
        FileStatus(path: path, followingLinks: false) != nil || errno == EACCES
    }

    /// Connects and closes again; does not wait.
    static func connect(_ path: String) -> Result {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        let capacity = MemoryLayout.size(ofValue: address.sun_path) - 1
        guard bytes.count <= capacity else { return .failed(ENAMETOOLONG) }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let type = CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        let descriptor = socket(AF_UNIX, type, 0)
        guard descriptor >= 0 else { return .failed(errno) }
        defer { close(descriptor) }
        let size = socklen_t(MemoryLayout<sockaddr_un>.size)
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Foundation.connect(descriptor, $0, size)
            }
        }
        if status == 0 { return .answers }
        switch errno {
        // EAGAIN: the queue of a busy supervisor is full.
        case EAGAIN, EINPROGRESS: return .answers
        case ENOENT, ECONNREFUSED, ENOTDIR: return .absent
        case EACCES, EPERM: return .denied
        default: return .failed(errno)
        }
    }
}
