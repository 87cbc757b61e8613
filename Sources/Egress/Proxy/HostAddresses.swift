internal import NIOCore
internal import Settings
internal import Synchronization

/// The addresses of the host's own interfaces. Sessions do not reach them: what listens there was
/// not meant for them, be the address as public as it may.
final class HostAddresses: Sendable {
    private struct State {
        var addresses: Set<IPAddress> = []
        var readAt: ContinuousClock.Instant?
    }

    /// How old the list may be.
    private static let freshness = Duration.seconds(5)
    private let state = Mutex(State())

    /// True also when the interfaces cannot be read: the careful answer.
    func contain(_ address: IPAddress) -> Bool {
        state.withLock { state in
            let now = ContinuousClock.now
            if let readAt = state.readAt, now - readAt < Self.freshness {
                return state.addresses.contains(address)
            }
            guard let devices = try? System.enumerateDevices() else { return true }
            state.addresses = Set(devices.compactMap { $0.address.flatMap(IPAddress.init) })
            state.readAt = now
            return state.addresses.contains(address)
        }
    }
}

extension IPAddress {
    /// Nil for a Unix socket.
    init?(_ address: SocketAddress) {
        guard let text = address.ipAddress else { return nil }
        // With a zone where the address is link-local.
        self.init(text.prefix { $0 != "%" })
    }
}
