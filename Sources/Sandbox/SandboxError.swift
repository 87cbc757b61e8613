internal import Glibc

/// What went wrong at the boundary to launcher and init.
public struct SandboxError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The kinds a caller can act on.
    public enum Code: Sendable, Hashable {
        /// The other end refused or failed the request; `stage` and `errno` say where.
        case refused
        /// The connection is gone.
        case disconnected
        /// Something came that the protocol does not allow.
        case protocolViolation
        /// The process at the other end of a control socket is not the session's init.
        case impostor
        /// No answer in time.
        case timedOut
    }

    public var code: Code
    /// Name of the step that failed, for example `exec`, `mount proc`, `connect`.
    public var stage: String
    /// The kernel's error number, 0 where there is none.
    public var errno: Int32
    /// More for people: which path, what to do.
    public var detail: String

    public init(_ code: Code, stage: String, errno: Int32 = 0, detail: String = "") {
        self.code = code
        self.stage = stage
        self.errno = errno
        self.detail = detail
    }

    public var description: String {
        var text = stage
        if !detail.isEmpty { text += ": \(detail)" }
        if errno != 0 { text += ": \(Self.name(of: errno))" }
        return text
    }

    /// `No such file or directory (errno 2)`.
    public static func name(of errno: Int32) -> String {
        guard let text = strerror(errno) else { return "errno \(errno)" }
        return "\(String(cString: text)) (errno \(errno))"
    }
}

extension SandboxError {
    /// Whether an attempt to reach an init means that it is gone, rather than busy, or that this
    /// process is short of something.
    public var isLost: Bool {
        switch code {
        case .impostor, .protocolViolation: true
        case .timedOut: false
        case .disconnected, .refused:
            ![EMFILE, ENFILE, EAGAIN, ENOMEM, ENOBUFS, EINTR].contains(errno)
        }
    }
}
