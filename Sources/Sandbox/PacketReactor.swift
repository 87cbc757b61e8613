internal import CSandbox
internal import Foundation
internal import Glibc
internal import Synchronization

/// One thread that reads every control socket of the supervisor. It never blocks on one of them,
/// and hands what it reads to each connection's handler in order.
public final class PacketReactor: Sendable {
    private struct State {
        var connections: [UInt64: PacketConnection] = [:]
        var nextKey: UInt64 = 1
    }

    private let epoll: Int32
    private let state = Mutex(State())

    /// Throws when the process has no descriptor left for an epoll instance.
    public init() throws(SandboxError) {
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard epoll >= 0 else { throw SandboxError(.refused, stage: "epoll_create1", errno: errno) }
        let thread = Thread { [self] in run() }
        thread.name = "packets"
        thread.start()
    }

    /// Connects to the seqpacket socket at `path`. `handler` is called on the reactor's thread for
    /// each packet and once with nil at the end; it must not block.
    func connect(
        path: String, handler: @escaping @Sendable (Packet?) -> Void
    ) throws(SandboxError) -> PacketConnection {
        let descriptor = csandbox_connect(path)
        guard descriptor >= 0 else {
            throw SandboxError(.disconnected, stage: "connect", errno: -descriptor, detail: path)
        }
        let connection = PacketConnection(OwnedDescriptor(descriptor), handler: handler)
        let key = state.withLock { state in
            let key = state.nextKey
            state.nextKey += 1
            state.connections[key] = connection
            return key
        }
        connection.attach(to: self, key: key)
        return connection
    }

    /// Starts the delivery of packets of a new connection.
    func register(_ connection: PacketConnection, key: UInt64) throws(SandboxError) {
        var event = epoll_event(
            events: EPOLLIN.rawValue | EPOLLRDHUP.rawValue, data: epoll_data_t(u64: key))
        guard epoll_ctl(epoll, EPOLL_CTL_ADD, connection.rawDescriptor, &event) == 0 else {
            let code = errno
            _ = state.withLock { $0.connections.removeValue(forKey: key) }
            throw SandboxError(.refused, stage: "epoll_ctl", errno: code)
        }
    }

    /// Forgets a connection that was never started.
    func abandon(key: UInt64) {
        _ = state.withLock { $0.connections.removeValue(forKey: key) }
    }

    func watchWritable(_ connection: PacketConnection, key: UInt64, _ wanted: Bool) {
        let events = EPOLLIN.rawValue | EPOLLRDHUP.rawValue | (wanted ? EPOLLOUT.rawValue : 0)
        var event = epoll_event(events: events, data: epoll_data_t(u64: key))
        _ = epoll_ctl(epoll, EPOLL_CTL_MOD, connection.rawDescriptor, &event)
    }

    private func run() {
        var events = [epoll_event](repeating: epoll_event(), count: 256)
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Int(CSANDBOX_FRAME_MAX), alignment: 16)
        defer { buffer.deallocate() }
        while true {
            let count = epoll_wait(epoll, &events, Int32(events.count), -1)
            guard count >= 0 else { continue }
            for event in events[..<Int(count)] {
                let key = event.data.u64
                guard let connection = state.withLock({ $0.connections[key] }) else { continue }
                if event.events & EPOLLOUT.rawValue != 0 { connection.flush() }
                if !connection.drain(into: buffer) {
                    _ = state.withLock { $0.connections.removeValue(forKey: key) }
                    _ = epoll_ctl(epoll, EPOLL_CTL_DEL, connection.rawDescriptor, nil)
                    connection.finish()
                }
            }
        }
    }
}
