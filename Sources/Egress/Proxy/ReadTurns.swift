internal import NIOCore

/// Shares an event loop among sessions: in each of its turns, the connections of one session may
/// read so often together; those beyond wait for the next turn, in order. However many tunnels a
/// session has, what another one sends is delayed by a few reads, not by all of them.
///
/// One for each session and event loop, on that loop only.
final class ReadTurns {
    /// Reads of one session in a turn; each takes what a few calls of recv(2) give, at most 256 KiB.
    static let readsPerTurn = 4

    private let eventLoop: any EventLoop
    private var left = ReadTurns.readsPerTurn
    private var waiting = CircularBuffer<FlowGate>()
    private var isScheduled = false

    init(on eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    /// True where the gate may read now; else it is told when its turn has come.
    func mayRead(_ gate: FlowGate) -> Bool {
        schedule()
        guard left > 0 else {
            waiting.append(gate)
            return false
        }
        left -= 1
        return true
    }

    private func schedule() {
        guard !isScheduled else { return }
        isScheduled = true
        eventLoop.assumeIsolated().execute { [self] in next() }
    }

    private func next() {
        isScheduled = false
        left = Self.readsPerTurn
        while left > 0, let gate = waiting.popFirst() {
            if gate.turnHasCome() { left -= 1 }
        }
        // Those that still wait, and those that read now and will ask again.
        if left < Self.readsPerTurn { schedule() }
    }
}
