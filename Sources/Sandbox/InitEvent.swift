/// How an agent process ended.
public struct AgentExit: Codable, Sendable, Hashable {
    /// Exit status, or -1 when a signal ended it.
    public var status: Int32
    /// 0, or the signal.
    public var signal: Int32
    /// Microseconds of processor time.
    public var userMicroseconds: UInt64
    public var systemMicroseconds: UInt64
    public var maximumResidentKiB: UInt64

    public init(
        status: Int32, signal: Int32, userMicroseconds: UInt64 = 0, systemMicroseconds: UInt64 = 0,
        maximumResidentKiB: UInt64 = 0
    ) {
        self.status = status
        self.signal = signal
        self.userMicroseconds = userMicroseconds
        self.systemMicroseconds = systemMicroseconds
        self.maximumResidentKiB = maximumResidentKiB
    }
}

/// One record of a session's log, and the log offset after it.
public struct LogRecord: Sendable, Hashable {
    /// What happened.
    public enum Event: Sendable, Hashable {
        case started(pid: Int32)
        case startFailed(stage: String, errno: Int32, detail: String)
        case stdout([UInt8])
        case stderr([UInt8])
        case exited(AgentExit)
        case stdoutEnd
        case stderrEnd
    }

    public var event: Event
    /// The agent process it is about, counted from 1 in the session.
    public var generation: UInt64
    /// Offset of the first byte after the record: what to acknowledge.
    public var end: UInt64

    public init(event: Event, generation: UInt64, end: UInt64) {
        self.event = event
        self.generation = generation
        self.end = end
    }
}

/// What init said when the supervisor connected.
public struct InitState: Sendable, Hashable {
    public var generation: UInt64
    public var running: Bool
    public var logStart: UInt64
    public var logEnd: UInt64
    public var inputAccepted: UInt64
    public var isolation: Isolation

    public init(
        generation: UInt64, running: Bool, logStart: UInt64, logEnd: UInt64, inputAccepted: UInt64,
        isolation: Isolation = Isolation(measures: 0, landlock: 0)
    ) {
        self.generation = generation
        self.running = running
        self.logStart = logStart
        self.logEnd = logEnd
        self.inputAccepted = inputAccepted
        self.isolation = isolation
    }
}

/// What comes from init on its own.
public enum InitEvent: Sendable {
    case records([LogRecord])
    /// Bytes of input up to this absolute offset have reached the agent.
    case inputAccepted(UInt64)
    /// A TCP connection that a process of the session opened to a port that init listens on.
    case connection(PassedDescriptor)
    /// A datagram that a process of the session sent to 127.0.0.1:53. Every one must be answered
    /// with its token (`InitLink.answer`), also where nothing is to be sent.
    case query(token: UInt64, [UInt8])
    /// The connection is gone: init has ended or been lost.
    case disconnected
}
