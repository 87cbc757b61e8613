internal import Glibc

/// A file descriptor with one owner, closed when the owner goes.
public struct OwnedDescriptor: ~Copyable, Sendable {
    /// The number, valid as long as this value lives.
    public let rawValue: Int32

    /// Takes ownership of `rawValue`.
    public init(_ rawValue: Int32) { self.rawValue = rawValue }

    /// Gives the ownership away.
    public consuming func release() -> Int32 {
        let value = rawValue
        discard self
        return value
    }

    deinit { close(rawValue) }
}

/// A descriptor that came with a packet; closed when nobody holds it any more.
public final class PassedDescriptor: Sendable {
    /// The number, valid as long as this object lives.
    public let rawValue: Int32

    init(_ rawValue: Int32) { self.rawValue = rawValue }

    deinit { close(rawValue) }

    /// A second descriptor of the same open file, owned by the caller.
    public func duplicate() throws(SandboxError) -> OwnedDescriptor {
        let copy = fcntl(rawValue, F_DUPFD_CLOEXEC, 3)
        guard copy >= 0 else { throw SandboxError(.refused, stage: "dup", errno: errno) }
        return OwnedDescriptor(copy)
    }
}
