internal import CSandbox
internal import Glibc
internal import Synchronization

/// One seqpacket connection. Sending never blocks: what the socket does not take waits in a bounded
/// queue.
final class PacketConnection: Sendable {
    /// Bytes that may wait for a peer that does not read.
    static let maximumQueued = 4 << 20
    /// Packets read in one go before other connections get their turn.
    private static let fairShare = 32

    private struct State {
        var queue: [[UInt8]] = []
        var queuedBytes = 0
        var reactor: PacketReactor?
        var key: UInt64 = 0
        var started = false
        var closed = false
    }

    private let descriptor: OwnedDescriptor
    private let handler: @Sendable (Packet?) -> Void
    private let state = Mutex(State())

    init(_ descriptor: consuming OwnedDescriptor, handler: @escaping @Sendable (Packet?) -> Void) {
        self.descriptor = descriptor
        self.handler = handler
    }

    var rawDescriptor: Int32 { descriptor.rawValue }

    func attach(to reactor: PacketReactor, key: UInt64) {
        state.withLock {
            $0.reactor = reactor
            $0.key = key
        }
    }

    /// Starts the delivery of packets.
    func start() throws(SandboxError) {
        let (reactor, key) = state.withLock { state in
            state.started = true
            return (state.reactor, state.key)
        }
        try reactor?.register(self, key: key)
    }

    /// Sends or queues one packet; the connection is given up when the peer leaves too much unread.
    func send(_ packet: Packet) throws(SandboxError) {
        let bytes = packet.encoded()
        guard bytes.count <= Int(CSANDBOX_FRAME_MAX) else {
            // The peer would give up the whole connection for it.
            throw SandboxError(
                .refused, stage: "request", errno: EMSGSIZE,
                detail: "\(bytes.count) bytes of at most \(CSANDBOX_FRAME_MAX)")
        }
        let failure: SandboxError? = state.withLock { state in
            guard !state.closed else { return SandboxError(.disconnected, stage: "send") }
            if state.queue.isEmpty {
                let sent = csandbox_send(descriptor.rawValue, bytes, bytes.count, -1)
                if sent >= 0 { return nil }
                guard sent == -Int(EAGAIN) else {
                    return SandboxError(.disconnected, stage: "send", errno: Int32(-sent))
                }
            }
            guard state.queuedBytes + bytes.count <= Self.maximumQueued else {
                return SandboxError(.disconnected, stage: "send", errno: ENOBUFS)
            }
            state.queue.append(bytes)
            state.queuedBytes += bytes.count
            state.reactor?.watchWritable(self, key: state.key, true)
            return nil
        }
        if let failure {
            close()
            throw failure
        }
    }

    /// Sends what waits, as far as the socket takes it.
    func flush() {
        state.withLock { state in
            var sent = 0
            while sent < state.queue.count {
                let bytes = state.queue[sent]
                guard csandbox_send(descriptor.rawValue, bytes, bytes.count, -1) >= 0 else { break }
                state.queuedBytes -= bytes.count
                sent += 1
            }
            state.queue.removeFirst(sent)
            if state.queue.isEmpty { state.reactor?.watchWritable(self, key: state.key, false) }
        }
    }

    /// Reads packets; false at the end of the connection.
    func drain(into buffer: UnsafeMutableRawBufferPointer) -> Bool {
        guard let base = buffer.baseAddress else { return false }
        for _ in 0..<Self.fairShare {
            var passed: Int32 = -1
            let count = csandbox_receive(descriptor.rawValue, base, buffer.count, &passed)
            let received = passed >= 0 ? PassedDescriptor(passed) : nil
            if count == -Int(EAGAIN) || count == -Int(EINTR) { return true }
            guard count > 0,
                let packet = Packet(
                    bytes: UnsafeRawBufferPointer(rebasing: buffer[..<Int(count)]),
                    descriptor: received)
            else { return false }
            handler(packet)
        }
        return true
    }

    /// Asks the reactor to end the connection; the handler still gets its nil, where the connection
    /// was started.
    func close() {
        state.withLock { state in
            guard !state.closed else { return }
            if !state.started { state.reactor?.abandon(key: state.key) }
            state.closed = true
            state.queue = []
            shutdown(descriptor.rawValue, Int32(SHUT_RDWR))
        }
    }

    /// Called once by the reactor after the last packet.
    func finish() {
        state.withLock {
            $0.closed = true
            $0.reactor = nil
        }
        handler(nil)
    }

    /// Process and user at the other end, as the kernel recorded them at `listen`.
    func peer() throws(SandboxError) -> (pid: Int32, uid: UInt32) {
        var pid: pid_t = 0
        var uid: uid_t = 0
        var gid: gid_t = 0
        let result = csandbox_peer(descriptor.rawValue, &pid, &uid, &gid)
        guard result == 0 else { throw SandboxError(.disconnected, stage: "peer", errno: -result) }
        return (pid, uid)
    }
}
