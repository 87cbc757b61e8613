internal import Egress
internal import Settings
internal import Synchronization

/// What sessions have used of the network, as it is counted. The store follows within seconds; a
/// driver that comes back finds what its predecessor had, also where that was not stored yet.
final class MeterTable: Sendable {
    private struct Entry {
        let meter: NetworkMeter
        var drivers = 1
    }

    private let entries = Mutex<[SessionID: Entry]>([:])

    /// The meter of a session that a driver leaves or has left and that is not stored yet.
    func join(_ id: SessionID) -> NetworkMeter? {
        entries.withLock { entries in
            entries[id]?.drivers += 1
            return entries[id]?.meter
        }
    }

    /// A new one, after `join` found none and the store was read.
    func add(_ id: SessionID, _ meter: NetworkMeter) {
        entries.withLock { $0[id] = Entry(meter: meter) }
    }

    /// What is counted now; nil for a session without a driver.
    func usage(_ id: SessionID) -> NetworkUsage? {
        entries.withLock { $0[id]?.meter.usage }
    }

    /// A driver is done; its meter stays until all of it is stored.
    func leave(_ id: SessionID) { entries.withLock { $0[id]?.drivers -= 1 } }

    /// What the store does not have.
    func unsaved() -> [SessionID: NetworkUsage] {
        entries.withLock { entries in
            var found: [SessionID: NetworkUsage] = [:]
            for (id, entry) in entries {
                if let usage = entry.meter.unsaved() {
                    found[id] = usage
                } else if entry.drivers <= 0 {
                    entries[id] = nil
                }
            }
            return found
        }
    }

    /// The store has failed: all of this is to be stored again.
    func notSaved(_ ids: some Sequence<SessionID>) {
        entries.withLock { entries in for id in ids { entries[id]?.meter.notSaved() } }
    }
}
