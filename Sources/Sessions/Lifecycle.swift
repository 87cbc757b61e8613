/// What happens to a session as a whole.
public enum LifecycleEvent: Sendable, Hashable, CaseIterable {
    /// The sandbox of a new session stands.
    case created
    case messageAccepted
    case turnFinished
    case resumed
    case endRequested
    /// The idle deadline has passed.
    case deadlinePassed
}

/// What follows from an event, in order.
public enum LifecycleEffect: Sendable, Hashable {
    case startIdleClock
    case stopIdleClock
    /// Kill every process and delete workspace and home.
    case destroySandbox
    case deleteHistory
}

/// Why an event is not possible.
public enum LifecycleRefusal: Error, Sendable, Hashable {
    /// A turn is in progress.
    case active
    /// Ended or timed out.
    case over
    /// `end` of a session that has ended.
    case alreadyEnded
    /// The event does not belong to this phase: a mistake of the caller.
    case impossible
}

extension SessionPhase {
    /// Takes one event. Total: every pair of phase and event has an answer.
    public mutating func handle(_ event: LifecycleEvent) throws(LifecycleRefusal)
        -> [LifecycleEffect]
    {
        switch (self, event) {
        case (.creating, .created):
            self = .idle
            return [.startIdleClock]
        case (.idle, .messageAccepted):
            self = .active
            return [.stopIdleClock]
        case (.active, .turnFinished):
            self = .idle
            return [.startIdleClock]
        case (.idle, .resumed):
            return [.startIdleClock]
        case (.active, .resumed):
            return []
        case (.creating, .endRequested), (.idle, .endRequested), (.active, .endRequested):
            self = .ended
            return [.stopIdleClock, .destroySandbox, .deleteHistory]
        case (.timeout, .endRequested):
            self = .ended
            return [.deleteHistory]
        case (.idle, .deadlinePassed):
            self = .timeout
            return [.stopIdleClock, .destroySandbox]
        case (.active, .messageAccepted):
            throw .active
        case (.ended, .endRequested):
            throw .alreadyEnded
        case (.ended, .messageAccepted), (.timeout, .messageAccepted), (.ended, .resumed),
            (.timeout, .resumed):
            throw .over
        case (.creating, .messageAccepted), (.creating, .resumed), (.creating, .turnFinished),
            (.creating, .deadlinePassed), (.idle, .created), (.active, .created),
            (.ended, .created),
            (.timeout, .created), (.idle, .turnFinished), (.ended, .turnFinished),
            (.timeout, .turnFinished), (.active, .deadlinePassed), (.ended, .deadlinePassed),
            (.timeout, .deadlinePassed):
            throw .impossible
        }
    }
}
