internal import Synchronization

/// The bounds that every session looks up when it needs them, because they may change while it
/// lives.
final class SharedLimits: Sendable {
    private let limits: Mutex<SessionLimits>

    init(_ limits: SessionLimits) { self.limits = Mutex(limits) }

    var current: SessionLimits {
        get { limits.withLock { $0 } }
        set { limits.withLock { $0 = newValue } }
    }
}
