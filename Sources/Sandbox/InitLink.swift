internal import CSandbox
internal import Synchronization

/// The supervisor's end of a session's control socket.
public final class InitLink: Sendable {
    /// Which processes a signal goes to.
    public enum SignalScope: UInt64, Sendable {
        case agent = 0
        case group = 1
        case all = 2
    }

    typealias Answer = Result<(Fields, PassedDescriptor?), SandboxError>

    struct State {
        var nextRequest: UInt32 = 1
        var waiting: [UInt32: CheckedContinuation<Answer, Never>] = [:]
        var transfers: [UInt32: CheckedContinuation<SandboxError?, Never>] = [:]
        var finished: [UInt32: SandboxError?] = [:]
        var hello: CheckedContinuation<Result<InitState, SandboxError>, Never>?
        var closed = false
    }

    /// How long init may take to answer; one that is stopped or starved must not hold up the
    /// others.
    private static let answerLimit = Duration.seconds(10)

    private let mutex = Mutex(State())
    private let connection: PacketConnection
    private let inbox: Inbox

    /// Where the reactor's handler finds the link, which is made after the connection.
    private final class Inbox: Sendable {
        let link = Mutex<InitLink?>(nil)
        let onEvent: @Sendable (InitEvent) -> Void
        init(onEvent: @escaping @Sendable (InitEvent) -> Void) { self.onEvent = onEvent }
    }

    private init(connection: PacketConnection, inbox: Inbox) {
        self.connection = connection
        self.inbox = inbox
    }

    /// Connects to the init of a session, checks that it is the process it should be, and says
    /// hello. `onEvent` is called on the reactor's thread, in order, from the replayed log on.
    public static func connect(
        path: String, process: ProcessIdentity, nonce: [UInt8], reactor: PacketReactor,
        onEvent: @escaping @Sendable (InitEvent) -> Void
    ) async throws(SandboxError) -> (link: InitLink, state: InitState) {
        let inbox = Inbox(onEvent: onEvent)
        let connection = try reactor.connect(path: path) { packet in
            inbox.link.withLock { $0 }?.take(packet)
        }
        let link = InitLink(connection: connection, inbox: inbox)
        inbox.link.withLock { $0 = link }
        do throws(SandboxError) {
            try link.checkPeer(process)
        } catch {
            connection.close()
            inbox.link.withLock { $0 = nil }
            throw error
        }
        let limit = Task {
            try await Task.sleep(for: answerLimit)
            link.answerHello(.failure(SandboxError(.timedOut, stage: "control socket")))
            connection.close()
        }
        defer { limit.cancel() }
        let answer: Result<InitState, SandboxError> = await withCheckedContinuation {
            continuation in
            link.mutex.withLock { $0.hello = continuation }
            do throws(SandboxError) {
                try connection.start()
                var fields = Fields()
                fields.add(CSANDBOX_TAG_NONCE, nonce)
                try connection.send(Packet(CSANDBOX_INIT_HELLO, payload: fields.payload))
            } catch {
                link.answerHello(.failure(error))
            }
        }
        return (link, try answer.get())
    }

    private func checkPeer(_ process: ProcessIdentity) throws(SandboxError) {
        let peer = try connection.peer()
        guard peer.pid == process.pid,
            try ProcessIdentity.startTime(of: peer.pid) == process.startTime
        else {
            throw SandboxError(.impostor, stage: "control socket", detail: "pid \(peer.pid)")
        }
    }

    private func answerHello(_ result: Result<InitState, SandboxError>) {
        let waiter = mutex.withLock { state in
            defer { state.hello = nil }
            return state.hello
        }
        waiter?.resume(returning: result)
    }

    private func take(_ packet: Packet?) {
        guard let packet else { return end() }
        switch packet.type {
        case UInt16(CSANDBOX_INIT_STATE.rawValue):
            guard let fields = Fields(packet.payload) else { return close() }
            answerHello(
                .success(
                    InitState(
                        generation: fields.number(CSANDBOX_TAG_GENERATION) ?? 0,
                        running: fields.number(CSANDBOX_TAG_RUNNING) == 1,
                        logStart: fields.number(CSANDBOX_TAG_LOG_START) ?? 0,
                        logEnd: fields.number(CSANDBOX_TAG_LOG_END) ?? 0,
                        inputAccepted: fields.number(CSANDBOX_TAG_INPUT_ACCEPTED) ?? 0,
                        isolation: Isolation(
                            measures: fields.number(CSANDBOX_TAG_MEASURES) ?? 0,
                            landlock: fields.number(CSANDBOX_TAG_LANDLOCK) ?? 0))))
        case UInt16(CSANDBOX_INIT_LOG.rawValue):
            guard let records = LogRecord.parse(packet.payload, offset: packet.offset) else {
                return close()
            }
            inbox.onEvent(.records(records))
        case UInt16(CSANDBOX_INIT_INPUT_ACCEPTED.rawValue):
            inbox.onEvent(.inputAccepted(packet.offset))
        case UInt16(CSANDBOX_INIT_CONNECTION.rawValue):
            if let descriptor = packet.descriptor { inbox.onEvent(.connection(descriptor)) }
        case UInt16(CSANDBOX_INIT_QUERY.rawValue):
            inbox.onEvent(.query(token: packet.offset, packet.payload))
        case UInt16(CSANDBOX_INIT_FILES_DONE.rawValue):
            finishTransfer(packet)
        case UInt16(CSANDBOX_OK.rawValue), UInt16(CSANDBOX_FAILED.rawValue):
            answer(packet)
        default: break
        }
    }

    private func answer(_ packet: Packet) {
        let waiter = mutex.withLock { $0.waiting.removeValue(forKey: packet.request) }
        guard let fields = Fields(packet.payload) else {
            waiter?.resume(
                returning: .failure(SandboxError(.protocolViolation, stage: "init answer")))
            return close()
        }
        if packet.is(CSANDBOX_FAILED) {
            waiter?.resume(returning: .failure(fields.failure))
        } else {
            waiter?.resume(returning: .success((fields, packet.descriptor)))
        }
    }

    private func finishTransfer(_ packet: Packet) {
        guard let fields = Fields(packet.payload) else { return close() }
        let failure: SandboxError? =
            fields.number(CSANDBOX_TAG_STATUS) == 0
            ? nil
            : SandboxError(
                .refused, stage: "files",
                errno: Int32(truncatingIfNeeded: fields.number(CSANDBOX_TAG_ERRNO) ?? 0),
                detail: fields.text(CSANDBOX_TAG_DETAIL) ?? "")
        let waiter = mutex.withLock { state -> CheckedContinuation<SandboxError?, Never>? in
            if let waiter = state.transfers.removeValue(forKey: packet.request) { return waiter }
            // A download that nobody waits for leaves its outcome behind.
            if state.finished.count >= 64 { state.finished = [:] }
            state.finished[packet.request] = .some(failure)
            return nil
        }
        waiter?.resume(returning: failure)
    }

    private func end() {
        let lost = SandboxError(.disconnected, stage: "control socket")
        let (waiting, transfers) = mutex.withLock { state in
            state.closed = true
            defer {
                state.waiting = [:]
                state.transfers = [:]
            }
            return (state.waiting.values, state.transfers.values)
        }
        answerHello(.failure(lost))
        for waiter in waiting { waiter.resume(returning: .failure(lost)) }
        for waiter in transfers { waiter.resume(returning: lost) }
        inbox.onEvent(.disconnected)
        inbox.link.withLock { $0 = nil }
    }

    private func ask(
        _ type: csandbox_frame_type, _ fields: Fields
    ) async throws(SandboxError) -> (request: UInt32, fields: Fields, descriptor: PassedDescriptor?)
    {
        let request = mutex.withLock { state -> UInt32 in
            defer { state.nextRequest = state.nextRequest == .max ? 1 : state.nextRequest + 1 }
            return state.nextRequest
        }
        let limit = Task {
            try await Task.sleep(for: Self.answerLimit)
            let waiter = mutex.withLock { $0.waiting.removeValue(forKey: request) }
            waiter?.resume(returning: .failure(SandboxError(.timedOut, stage: "init")))
        }
        defer { limit.cancel() }
        let answer: Answer = await withCheckedContinuation { continuation in
            let open = mutex.withLock { state -> Bool in
                guard !state.closed else { return false }
                state.waiting[request] = continuation
                return true
            }
            guard open else {
                continuation.resume(
                    returning: .failure(SandboxError(.disconnected, stage: "control socket")))
                return
            }
            do throws(SandboxError) {
                try connection.send(Packet(type, request: request, payload: fields.payload))
            } catch {
                let waiter = mutex.withLock { $0.waiting.removeValue(forKey: request) }
                waiter?.resume(returning: .failure(error))
            }
        }
        let (found, descriptor) = try answer.get()
        return (request, found, descriptor)
    }

    /// Starts the agent process `generation`; repeating the newest one does nothing. Whether the
    /// program could be run comes as a log record.
    public func start(
        generation: UInt64, arguments: [String], environment: [String: String]
    ) async throws(SandboxError) {
        var fields = Fields()
        fields.add(CSANDBOX_TAG_GENERATION, generation)
        for argument in arguments { fields.add(CSANDBOX_TAG_ARG, argument) }
        for (name, value) in environment.sorted(by: { $0.key < $1.key }) {
            fields.add(CSANDBOX_TAG_ENV, "\(name)=\(value)")
        }
        _ = try await ask(CSANDBOX_INIT_START, fields)
    }

    /// Bytes for the agent's standard input, of which the first has the absolute offset `offset`.
    public func input(_ bytes: ArraySlice<UInt8>, offset: UInt64) throws(SandboxError) {
        var rest = bytes
        var position = offset
        while !rest.isEmpty {
            let chunk = rest.prefix(Int(CSANDBOX_CHUNK_MAX))
            try connection.send(
                Packet(CSANDBOX_INIT_INPUT, offset: position, payload: Array(chunk)))
            rest = rest.dropFirst(chunk.count)
            position += UInt64(chunk.count)
        }
    }

    /// Bytes of input that may be under way beyond the last `inputAccepted`.
    public static let inputWindow = UInt64(CSANDBOX_INPUT_WINDOW)

    /// Closes the agent's standard input once everything before `offset` is written.
    public func closeInput(offset: UInt64) throws(SandboxError) {
        try connection.send(Packet(CSANDBOX_INIT_INPUT_EOF, offset: offset))
    }

    /// Lets init forget the log before `offset`: everything there is committed.
    public func acknowledge(_ offset: UInt64) throws(SandboxError) {
        try connection.send(Packet(CSANDBOX_INIT_ACK, offset: offset))
    }

    /// Lets init hand over `total` connections, counted from the connection to init on.
    public func admit(_ total: UInt64) throws(SandboxError) {
        try connection.send(Packet(CSANDBOX_INIT_ADMIT, offset: total))
    }

    /// Answers a name query; with no bytes, the query is dropped.
    public func answer(_ token: UInt64, _ datagram: [UInt8]) throws(SandboxError) {
        try connection.send(Packet(CSANDBOX_INIT_ANSWER, offset: token, payload: datagram))
    }

    /// Signals processes of the session.
    public func signal(_ number: Int32, generation: UInt64, scope: SignalScope)
        async throws(SandboxError)
    {
        var fields = Fields()
        fields.add(CSANDBOX_TAG_GENERATION, generation)
        fields.add(CSANDBOX_TAG_SIGNAL, UInt64(number))
        fields.add(CSANDBOX_TAG_SCOPE, scope.rawValue)
        _ = try await ask(CSANDBOX_INIT_SIGNAL, fields)
    }

    /// Asks init to kill everything and leave; `disconnected` follows.
    public func shutdown() throws(SandboxError) {
        try connection.send(Packet(CSANDBOX_INIT_SHUTDOWN, payload: Fields().payload))
    }

    /// Ends the connection; init and agent go on.
    public func close() { connection.close() }
}

/// A file transfer under way: a pipe with a tar stream, and its outcome.
public struct FileTransfer: Sendable {
    /// Read (get) or write (put) end of the stream.
    public let pipe: PassedDescriptor
    let request: UInt32
}

extension InitLink {
    /// Opens a tar stream of `path` in the session, read with the session's rights.
    public func readFiles(_ path: String) async throws(SandboxError) -> FileTransfer {
        try await transfer(CSANDBOX_INIT_FILES_GET, path)
    }

    /// Opens a tar stream that the session's helper unpacks at `path`.
    public func writeFiles(_ path: String) async throws(SandboxError) -> FileTransfer {
        try await transfer(CSANDBOX_INIT_FILES_PUT, path)
    }

    private func transfer(
        _ type: csandbox_frame_type, _ path: String
    ) async throws(SandboxError) -> FileTransfer {
        var fields = Fields()
        fields.add(CSANDBOX_TAG_PATH, path)
        let answer = try await ask(type, fields)
        guard let pipe = answer.descriptor else {
            throw SandboxError(.protocolViolation, stage: "files", detail: "no descriptor came")
        }
        return FileTransfer(pipe: pipe, request: answer.request)
    }

    /// Waits for the helper's end; throws its first failure.
    public func outcome(of transfer: FileTransfer) async throws(SandboxError) {
        let failure: SandboxError? = await withCheckedContinuation { continuation in
            let known: SandboxError?? = mutex.withLock { state in
                if let known = state.finished.removeValue(forKey: transfer.request) {
                    return .some(known)
                }
                if state.closed {
                    return .some(SandboxError(.disconnected, stage: "control socket"))
                }
                state.transfers[transfer.request] = continuation
                return nil
            }
            if let known { continuation.resume(returning: known) }
        }
        if let failure { throw failure }
    }
}
