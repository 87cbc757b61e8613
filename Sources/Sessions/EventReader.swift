public import API

/// The events of a session after a number, in order: what is stored, then what comes. A reader that
/// is slow or gone costs the session nothing.
public struct EventReader: AsyncSequence, Sendable {
    public typealias Element = WireEvent

    let id: SessionID
    let after: Int64
    /// Ends after the terminal event of this turn; nil: goes on until the session is over.
    let turn: Int?
    /// False: ends at the newest stored event.
    let follow: Bool
    let store: any SessionStore
    let hub: EventHub

    public func makeAsyncIterator() -> Iterator {
        Iterator(reader: self, changes: hub.changes(of: id).makeAsyncIterator(), position: after)
    }

    /// Reads from the store in pages and waits for the hub in between.
    public struct Iterator: AsyncIteratorProtocol {
        private static let page = 64

        let reader: EventReader
        var changes: AsyncStream<Void>.Iterator
        var position: Int64
        private var buffer: ArraySlice<WireEvent> = []
        private var finished = false
        private var lastYield = ContinuousClock.now

        init(reader: EventReader, changes: AsyncStream<Void>.Iterator, position: Int64) {
            self.reader = reader
            self.changes = changes
            self.position = position
        }

        public mutating func next() async throws(WireError) -> WireEvent? {
            while true {
                if let event = buffer.popFirst() { return deliver(event) }
                if finished { return nil }
                if try await readPage() { continue }
                if let last = try await overEvent() {
                    finished = true
                    return last
                }
                guard reader.follow, await changes.next(isolation: #isolation) != nil else {
                    return nil
                }
                let isHeartbeat =
                    lastYield.duration(to: .now) > .seconds(APILimits.heartbeatSeconds - 1)
                if try await !readPage(), isHeartbeat {
                    lastYield = .now
                    return WireEvent(type: .heartbeat)
                }
            }
        }

        private mutating func readPage() async throws(WireError) -> Bool {
            do throws(StoreError) {
                let events = try await reader.store.events(
                    reader.id, after: position, limit: Self.page)
                buffer = events[...]
                return !events.isEmpty
            } catch {
                throw WireError(error, "The events could not be read")
            }
        }

        private mutating func deliver(_ event: WireEvent) -> WireEvent {
            position = event.seq ?? position
            lastYield = .now
            if event.type == .sessionEnded { finished = true }
            if let turn = reader.turn, event.turn == turn, event.type.isTerminal { finished = true }
            return event
        }

        /// The last event of a session whose history is gone with it.
        private func overEvent() async throws(WireError) -> WireEvent? {
            let record: SessionRecord?
            do throws(StoreError) {
                record = try await reader.store.session(reader.id)
            } catch {
                throw WireError(error, "The session could not be read")
            }
            if let record, record.phase.isLive { return nil }
            if let turn = reader.turn {
                var event = WireEvent(type: .runFailed, turn: turn)
                event.error = WireEventError(
                    code: "session_ended", message: "The session was ended during the turn")
                return event
            }
            var event = WireEvent(type: .sessionEnded)
            event.status = record?.phase.status ?? .ended
            event.reason = record?.reason?.rawValue
            return event
        }
    }
}
