internal import NIOCore

/// Shares an event loop among sessions. A loop serves whatever is ready before it looks again, so a
/// session with many busy tunnels would keep it from all others for as long as that takes. Here a
/// session that has used up its share of a turn reads on in the next turns, from two connections at
/// a time, in order; others are delayed by that much only.
///
/// One for each session and event loop, on that loop only.
final class ReadTurns {
    /// How long a session's connections may keep the loop in one turn before they wait.
    private static let share = TimeAmount.milliseconds(1)
    /// Connections that have waited and read in one turn.
    private static let readers = 2
    /// When the next ones read where those had nothing to read.
    private static let patience = TimeAmount.milliseconds(1)

    private let eventLoop: any EventLoop
    private var spent = TimeAmount.zero
    private var waiting = CircularBuffer<FlowGate>()
    private var turnIsEnding = false
    private var timer: Scheduled<Void>?

    init(on eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    /// True where the gate may read now; else it is told when its turn has come.
    func mayRead(_ gate: FlowGate) -> Bool {
        if waiting.isEmpty, spent < Self.share { return true }
        waiting.append(gate)
        wait()
        return false
    }

    /// A connection of the session was served since then.
    func spent(since began: NIODeadline) {
        spent = spent + (NIODeadline.now() - began)
        guard !turnIsEnding else { return }
        turnIsEnding = true
        // Runs when all that was ready has been served.
        eventLoop.assumeIsolated().execute { [self] in
            turnIsEnding = false
            spent = .zero
            next()
        }
    }

    private func next() {
        timer?.cancel()
        timer = nil
        var readers = 0
        while readers < Self.readers, let gate = waiting.popFirst() {
            if gate.turnHasCome() { readers += 1 }
        }
        wait()
    }

    private func wait() {
        guard !waiting.isEmpty, timer == nil else { return }
        timer = eventLoop.assumeIsolated().scheduleTask(in: Self.patience) { [self] in
            timer = nil
            next()
        }
    }
}
