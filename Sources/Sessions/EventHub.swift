internal import Synchronization

/// Tells readers of event streams that there is more to read. It carries no events: readers take
/// them from the store at their own pace, so a slow reader costs no memory.
public final class EventHub: Sendable {
    private struct State {
        var nextKey: UInt64 = 0
        var readers: [SessionID: [UInt64: AsyncStream<Void>.Continuation]] = [:]
        var closed = false
    }

    private let state = Mutex(State())

    public init() {}

    /// A stream that yields after each change of the session; changes that come together yield
    /// once. It ends when the hub is closed.
    public func changes(of session: SessionID) -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream.makeStream(
            of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let key = state.withLock { state -> UInt64? in
            guard !state.closed else { return nil }
            state.nextKey += 1
            state.readers[session, default: [:]][state.nextKey] = continuation
            return state.nextKey
        }
        guard let key else {
            continuation.finish()
            return stream
        }
        continuation.onTermination = { [weak self] _ in self?.remove(session, key) }
        return stream
    }

    private func remove(_ session: SessionID, _ key: UInt64) {
        state.withLock { state in
            state.readers[session]?[key] = nil
            if state.readers[session]?.isEmpty == true { state.readers[session] = nil }
        }
    }

    /// Wakes the readers of a session.
    func wake(_ session: SessionID) {
        let readers = state.withLock { Array(($0.readers[session] ?? [:]).values) }
        for reader in readers { reader.yield() }
    }

    /// Wakes everybody: for heartbeats.
    public func wakeAll() {
        let readers = state.withLock { $0.readers.values.flatMap(\.values) }
        for reader in readers { reader.yield() }
    }

    /// Ends every stream; later ones end at once.
    public func close() {
        let readers = state.withLock { state in
            state.closed = true
            return state.readers.values.flatMap(\.values)
        }
        for reader in readers { reader.finish() }
    }
}
