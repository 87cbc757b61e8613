internal import CSandbox
internal import Synchronization

/// Names a process beyond the reuse of its pid.
public struct ProcessIdentity: Codable, Sendable, Hashable {
    public var pid: Int32
    /// Field 22 of `/proc/<pid>/stat`: clock ticks after boot.
    public var startTime: UInt64

    public init(pid: Int32, startTime: UInt64) {
        self.pid = pid
        self.startTime = startTime
    }

    /// Nil where there is no such process; throws where that cannot be found out now.
    static func startTime(of pid: Int32) throws(SandboxError) -> UInt64? {
        var ticks: UInt64 = 0
        let result = csandbox_start_time(pid, &ticks)
        if result == 0 { return ticks }
        let error = SandboxError(.disconnected, stage: "process \(pid)", errno: -result)
        guard error.isLost else { throw error }
        return nil
    }
}

/// What a session's sandbox is made of; the launcher turns it into mounts and id maps.
public struct SandboxPlan: Sendable, Hashable {
    /// 32 lower-case hex digits.
    public var session: String
    /// Index of the session's id block.
    public var block: Int
    /// 16 random bytes that init will ask for.
    public var nonce: [UInt8]
    /// Host directory that becomes `/agent`.
    public var source: String?
    /// Host directory that becomes the root.
    public var root: String?
    public var mounts: [(host: String, inside: String)] {
        get { mountPairs.map { ($0.host, $0.inside) } }
        set { mountPairs = newValue.map { Pair(host: $0.host, inside: $0.inside) } }
    }
    /// Seconds without a supervisor after which init leaves; 0 = never.
    public var linger: Int
    /// Names of measures that the session goes without.
    public var loosened: [String] = []

    /// What its agent may use; nil: no limit.
    public var limits: SandboxLimits?
    /// It starts only where the file system limits what it stores.
    public var needsDiskQuota = false

    /// TCP ports on which connections that leave the session are taken, beside those of proxy and
    /// names; nil: the session has no way out.
    public var egressPorts: [UInt16]?

    private struct Pair: Hashable, Sendable {
        var host: String
        var inside: String
    }
    private var mountPairs: [Pair] = []

    public init(session: String, block: Int, nonce: [UInt8], linger: Int) {
        self.session = session
        self.block = block
        self.nonce = nonce
        self.linger = linger
    }
}

/// The supervisor's end of the launcher's socket: one request, one answer.
public final class Launcher: Sendable {
    private struct State {
        var nextRequest: UInt32 = 1
        var waiting: [UInt32: CheckedContinuation<Result<Fields, SandboxError>, Never>] = [:]
        /// Fragments of an answer that is not complete yet.
        var fragments: [UInt32: Fields] = [:]
        var connection: PacketConnection?
        var closed = false
    }

    /// How many id blocks there are: sessions that can exist at once.
    public let blocks: Int
    /// Real path of the state directory whose sessions it keeps.
    public let stateDirectory: String
    /// Limits that can be enforced on this host, and why not all.
    public let enforcement: LimitEnforcement
    private let inbox: Inbox

    /// Shared with the reactor's handler before the launcher itself exists.
    private final class Inbox: Sendable {
        let state = Mutex<State>(State())
        let onExit: @Sendable (String, ProcessIdentity?) -> Void
        let onClose: @Sendable () -> Void

        init(
            onExit: @escaping @Sendable (String, ProcessIdentity?) -> Void,
            onClose: @escaping @Sendable () -> Void
        ) {
            self.onExit = onExit
            self.onClose = onClose
        }

        func take(_ packet: Packet?) {
            guard let packet else { return close() }
            guard let fields = Fields(packet.payload) else { return }
            if packet.is(CSANDBOX_LAUNCHER_EXITED) {
                guard let session = fields.text(CSANDBOX_TAG_SESSION) else { return }
                onExit(session, nil)
                return
            }
            let (waiter, answer) = state.withLock {
                state -> (Waiter?, Result<Fields, SandboxError>) in
                if packet.is(CSANDBOX_FAILED) {
                    state.fragments[packet.request] = nil
                    return (
                        state.waiting.removeValue(forKey: packet.request), .failure(fields.failure)
                    )
                }
                var whole = state.fragments.removeValue(forKey: packet.request) ?? Fields()
                whole.append(fields)
                if fields.number(CSANDBOX_TAG_FRAGMENT) == 1 {
                    state.fragments[packet.request] = whole
                    return (nil, .success(whole))
                }
                return (state.waiting.removeValue(forKey: packet.request), .success(whole))
            }
            waiter?.resume(returning: answer)
        }

        typealias Waiter = CheckedContinuation<Result<Fields, SandboxError>, Never>

        private func close() {
            let waiting = state.withLock { state in
                state.closed = true
                state.connection = nil  // which holds this inbox
                state.fragments = [:]
                defer { state.waiting = [:] }
                return state.waiting.values
            }
            for waiter in waiting {
                waiter.resume(
                    returning: .failure(SandboxError(.disconnected, stage: "launcher connection")))
            }
            onClose()
        }
    }

    /// Connects to the launcher's socket and asks for its id pool. `onExit` hears of every init
    /// that ended, `onClose` of the end of the connection; both on the reactor's thread.
    public static func connect(
        path: String, reactor: PacketReactor,
        onExit: @escaping @Sendable (String, ProcessIdentity?) -> Void,
        onClose: @escaping @Sendable () -> Void
    ) async throws(SandboxError) -> Launcher {
        let inbox = Inbox(onExit: onExit, onClose: onClose)
        let connection = try reactor.connect(path: path) { inbox.take($0) }
        inbox.state.withLock { $0.connection = connection }
        try connection.start()
        let hello = try await Self.ask(inbox, CSANDBOX_LAUNCHER_HELLO, Fields())
        return Launcher(
            inbox: inbox, blocks: Int(clamping: hello.number(CSANDBOX_TAG_BLOCKS) ?? 0),
            stateDirectory: hello.text(CSANDBOX_TAG_STATE_DIR) ?? "",
            enforcement: LimitEnforcement(hello))
    }

    private init(
        inbox: Inbox, blocks: Int, stateDirectory: String, enforcement: LimitEnforcement
    ) {
        self.inbox = inbox
        self.enforcement = enforcement
        self.blocks = blocks
        self.stateDirectory = stateDirectory
    }

    /// How long the launcher may take. Deleting a session's tree takes as long as it is large.
    private static let answerLimit = Duration.seconds(60)
    private static let destroyLimit = Duration.seconds(3600)

    private static func ask(
        _ inbox: Inbox, _ type: csandbox_frame_type, _ fields: Fields
    ) async throws(SandboxError) -> Fields {
        let request = inbox.state.withLock { state -> UInt32 in
            defer { state.nextRequest = state.nextRequest == .max ? 1 : state.nextRequest + 1 }
            return state.nextRequest
        }
        let limit = Task {
            try await Task.sleep(
                for: type == CSANDBOX_LAUNCHER_DESTROY ? destroyLimit : answerLimit)
            let waiter = inbox.state.withLock { $0.waiting.removeValue(forKey: request) }
            waiter?.resume(returning: .failure(SandboxError(.timedOut, stage: "launcher")))
        }
        defer { limit.cancel() }
        let answer = await withCheckedContinuation { continuation in
            let sending = inbox.state.withLock { state -> PacketConnection? in
                guard !state.closed, let connection = state.connection else { return nil }
                state.waiting[request] = continuation
                return connection
            }
            guard let connection = sending else {
                continuation.resume(
                    returning: .failure(SandboxError(.disconnected, stage: "launcher connection")))
                return
            }
            do throws(SandboxError) {
                try connection.send(Packet(type, request: request, payload: fields.payload))
            } catch {
                let waiter = inbox.state.withLock { $0.waiting.removeValue(forKey: request) }
                waiter?.resume(returning: .failure(error))
            }
        }
        return try answer.get()
    }

    private func ask(_ type: csandbox_frame_type, _ fields: Fields) async throws(SandboxError)
        -> Fields
    {
        try await Self.ask(inbox, type, fields)
    }

    private func fields(session: String) -> Fields {
        var fields = Fields()
        fields.add(CSANDBOX_TAG_SESSION, session)
        return fields
    }

    /// Makes the session's directories, owned by the ids of its block. Nothing happens where they
    /// exist. What the file system lets the session own there; nil where the launcher is of a
    /// version that does not say.
    public func prepare(session: String, block: Int) async throws(SandboxError) -> DiskQuota? {
        var fields = fields(session: session)
        fields.add(CSANDBOX_TAG_BLOCK, UInt64(block))
        return DiskQuota(try await ask(CSANDBOX_LAUNCHER_PREPARE, fields))
    }

    /// Starts the session's sandbox; when this returns, its init listens on the control socket.
    public func spawn(_ plan: SandboxPlan) async throws(SandboxError) -> StartedSandbox {
        var fields = fields(session: plan.session)
        fields.add(CSANDBOX_TAG_BLOCK, UInt64(plan.block))
        fields.add(CSANDBOX_TAG_NONCE, plan.nonce)
        if let source = plan.source { fields.add(CSANDBOX_TAG_SOURCE, source) }
        if let root = plan.root { fields.add(CSANDBOX_TAG_ROOT, root) }
        for mount in plan.mounts {
            fields.add(CSANDBOX_TAG_MOUNT, Array(mount.host.utf8) + [0] + Array(mount.inside.utf8))
        }
        fields.add(CSANDBOX_TAG_LINGER, UInt64(plan.linger))
        for name in plan.loosened { fields.add(CSANDBOX_TAG_LOOSEN, name) }
        if let ports = plan.egressPorts {
            fields.add(CSANDBOX_TAG_NETWORK, 1)
            for port in ports { fields.add(CSANDBOX_TAG_PORT, UInt64(port)) }
        }
        if let limits = plan.limits { fields.add(CSANDBOX_TAG_LIMITS, limits.bytes) }
        let answer = try await ask(CSANDBOX_LAUNCHER_SPAWN, fields)
        guard let pid = answer.number(CSANDBOX_TAG_PID),
            let start = answer.number(CSANDBOX_TAG_START_TIME)
        else { throw SandboxError(.protocolViolation, stage: "spawn") }
        return StartedSandbox(
            process: ProcessIdentity(pid: Int32(truncatingIfNeeded: pid), startTime: start),
            enforcement: LimitEnforcement(answer))
    }

    /// What the session's agent has used since its sandbox was started.
    public func usage(session: String) async throws(SandboxError) -> SandboxUsage {
        SandboxUsage(try await ask(CSANDBOX_LAUNCHER_USAGE, fields(session: session)))
    }

    /// Kills an init, and with it every process of its session, and waits for its end.
    public func kill(_ process: ProcessIdentity) async throws(SandboxError) {
        var fields = Fields()
        fields.add(CSANDBOX_TAG_PID, UInt64(process.pid))
        fields.add(CSANDBOX_TAG_START_TIME, process.startTime)
        _ = try await ask(CSANDBOX_LAUNCHER_KILL, fields)
    }

    /// Deletes the session's tree. Nothing happens where there is none.
    public func destroy(session: String) async throws(SandboxError) {
        _ = try await ask(CSANDBOX_LAUNCHER_DESTROY, fields(session: session))
    }

    /// Bytes and files of the session's tree.
    public func measure(session: String) async throws(SandboxError) -> (
        bytes: UInt64, files: UInt64
    ) {
        let answer = try await ask(CSANDBOX_LAUNCHER_MEASURE, fields(session: session))
        return (answer.number(CSANDBOX_TAG_BYTES) ?? 0, answer.number(CSANDBOX_TAG_FILES) ?? 0)
    }

    /// The sessions that have a tree on disk.
    public func list() async throws(SandboxError) -> [String] {
        try await ask(CSANDBOX_LAUNCHER_LIST, Fields()).texts(CSANDBOX_TAG_SESSION)
    }

    /// Ends launcher, keeper and every sandbox; their trees stay.
    public func stop() async throws(SandboxError) {
        _ = try await ask(CSANDBOX_LAUNCHER_STOP, Fields())
    }

    /// Ends the connection; the launcher itself goes on.
    public func close() {
        inbox.state.withLock { $0.connection }?.close()
    }
}

extension Fields {
    mutating func append(_ other: Fields) {
        for item in other.items { add(csandbox_tag(rawValue: UInt32(item.tag)), item.value) }
    }
}
