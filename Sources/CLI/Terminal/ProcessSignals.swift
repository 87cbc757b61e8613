internal import Foundation
internal import Synchronization

/// The signals of this process, taken by one thread that waits for them.
///  They are blocked in every thread, so this must be made before any other thread. Whoever wants
/// to act on a signal sets a handler; without one, the terminal is put right and the signal does
/// what it does by default. A signal that was ignored when the program started stays ignored
/// (nohup, `&` in shells without job control).
final class ProcessSignals: Sendable {
    /// Returns true when the signal needs nothing more. Runs on the signal thread.
    typealias Handler = @Sendable (CInt) -> Bool

    /// The signals of the process that runs this task.
    @TaskLocal static var current: ProcessSignals?

    private static let all = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH]

    private let handler = Mutex<Handler?>(nil)
    private let cleanup = Mutex<(@Sendable () -> Void)?>(nil)

    init() {
        signal(SIGPIPE, SIG_IGN)
        let taken = Self.all.filter { !Self.isIgnored($0) }
        var set = Self.set(of: taken)
        pthread_sigmask(SIG_BLOCK, &set, nil)
        let thread = Thread { [self] in
            var waited = Self.set(of: taken)
            while true {
                var number: CInt = 0
                if sigwait(&waited, &number) == 0 { receive(number) }
            }
        }
        thread.name = "signals"
        thread.start()
    }

    /// Sets who is told about signals, or nobody.
    func setHandler(_ handler: Handler?) {
        self.handler.withLock { $0 = handler }
    }

    /// Sets what is done before a signal stops or ends the process: restoring the terminal.
    func setCleanup(_ cleanup: (@Sendable () -> Void)?) {
        self.cleanup.withLock { $0 = cleanup }
    }

    /// Ends the process by the signal, as if it had not been handled.
    func die(by number: CInt) {
        cleanup.withLock { $0 }?()
        signal(number, SIG_DFL)
        deliver(number)
    }

    private func receive(_ number: CInt) {
        if let handler = handler.withLock({ $0 }), handler(number) { return }
        switch number {
        case SIGWINCH, SIGCONT: break
        case SIGTSTP:
            cleanup.withLock { $0 }?()
            deliver(number)
        default:
            die(by: number)
        }
    }

    /// Lets a blocked signal through on this thread.
    private func deliver(_ number: CInt) {
        var set = Self.set(of: [number])
        kill(getpid(), number)
        pthread_sigmask(SIG_UNBLOCK, &set, nil)
        pthread_sigmask(SIG_BLOCK, &set, nil)
    }

    private static func isIgnored(_ number: CInt) -> Bool {
        var action = sigaction()
        guard sigaction(number, nil, &action) == 0 else { return false }
        let handler = action.__sigaction_handler.sa_handler
        return unsafeBitCast(handler, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self)
    }

    private static func set(of numbers: [CInt]) -> sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        for number in numbers { sigaddset(&set, number) }
        return set
    }
}
