internal import Foundation
internal import Synchronization

/// Named places at which a test can have the supervisor killed, to see that the next one finishes
/// what was begun. Debug builds only: release builds contain neither the names nor the check.
///
/// `SUPERSERVE_FAULT=turn.accepted` kills at the first time that place is reached,
/// `turn.accepted:3` at the third.
public enum FaultPoint {
    /// The row of a new session is stored; nothing else of it exists.
    public static func createStored() { reached("create.stored") }
    /// The sandbox runs; the store does not know its process.
    public static func sandboxStarted() { reached("sandbox.started") }
    /// The process is stored; the connection to init stands.
    public static func sandboxStored() { reached("sandbox.stored") }
    /// The session is idle; the client has no answer yet.
    public static func createDone() { reached("create.done") }
    /// A message has come; nothing is stored.
    public static func turnAccepting() { reached("turn.accepting") }
    /// The message is stored; the agent has not got it.
    public static func turnAccepted() { reached("turn.accepted") }
    /// The agent may have got the message; the client has no answer yet.
    public static func turnActed() { reached("turn.acted") }
    /// Output has come from init; nothing is stored.
    public static func turnOutput() { reached("turn.output") }
    /// Output is stored; init does not know.
    public static func turnStreamed() { reached("turn.streamed") }
    /// The end of the turn is stored; init does not know.
    public static func turnEnded() { reached("turn.ended") }
    /// The end of a session is stored; its sandbox lives.
    public static func endStored() { reached("end.stored") }
    /// Its processes are gone; its tree is there.
    public static func endKilled() { reached("end.killed") }
    /// Its tree is gone; the row still holds the id block.
    public static func endDestroyed() { reached("end.destroyed") }
    /// Everything is done; the client has no answer yet.
    public static func endDone() { reached("end.done") }
    /// A timeout is due; nothing is stored.
    public static func timeoutDue() { reached("timeout.due") }
    /// An unused session's sandbox is gone; its row is there.
    public static func discardDestroyed() { reached("discard.destroyed") }
    /// The store is open; no session has been looked at.
    public static func recoveryBegun() { reached("recovery.begun") }
    /// A session's init is connected; what must be repeated has not been.
    public static func recoveryAttached() { reached("recovery.attached") }
    /// A tree that nobody knows is about to be deleted.
    public static func sweepFound() { reached("sweep.found") }
    /// An upload is unpacked; the agent is not registered.
    public static func deployUnpacked() { reached("deploy.unpacked") }
    /// The agent is registered; older versions have not been dropped.
    public static func deployStored() { reached("deploy.stored") }
    /// In the transaction of a migration.
    public static func migration() { reached("migration") }

    #if SUPERSERVE_FAULT_POINTS
        private static let plan = Plan(ProcessInfo.processInfo.environment["SUPERSERVE_FAULT"])

        private static func reached(_ name: String) { plan?.reached(name) }

        private final class Plan: Sendable {
            private let name: String
            private let count: Int
            private let seen = Mutex(0)

            init?(_ text: String?) {
                guard let text else { return nil }
                let parts = text.split(separator: ":")
                name = String(parts.first ?? "")
                count = parts.count > 1 ? Int(parts[1]) ?? 1 : 1
            }

            func reached(_ name: String) {
                guard name == self.name else { return }
                let number = seen.withLock { seen -> Int in
                    seen += 1
                    return seen
                }
                guard number == count else { return }
                kill(getpid(), SIGKILL)
                while true { pause() }
            }
        }
    #else
        @inline(__always) private static func reached(_ name: StaticString) {}
    #endif
}
