internal import Glibc
internal import Synchronization

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

/// A descriptor that came with a packet; closed when nobody holds it any more and nobody took it.
public final class PassedDescriptor: Sendable {
    private let descriptor: Mutex<Int32?>

    init(_ rawValue: Int32) { descriptor = Mutex(rawValue) }

    deinit {
        if let rawValue = descriptor.withLock({ $0 }) { close(rawValue) }
    }

    /// The descriptor, owned by the caller from here on; once.
    public func take() throws(SandboxError) -> OwnedDescriptor {
        let taken = descriptor.withLock { value in
            defer { value = nil }
            return value
        }
        guard let taken else {
            throw SandboxError(.protocolViolation, stage: "descriptor taken twice")
        }
        return OwnedDescriptor(taken)
    }
}
