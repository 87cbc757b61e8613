internal import Foundation
internal import Synchronization

/// Runs an actor's work on a thread of its own, where blocking system calls do no harm.
final class ThreadExecutor: SerialExecutor {
    private let state = QueueBox()

    /// - Parameter name: of the thread, up to 15 characters are visible in /proc.
    init(_ name: String) {
        let state = state
        let thread = Thread {
            while let jobs = state.take() {
                for job in jobs { job.run() }
            }
        }
        thread.name = name
        thread.start()
    }

    deinit { state.stop() }

    func enqueue(_ job: consuming ExecutorJob) {
        let unowned = UnownedJob(job)
        let executor = asUnownedSerialExecutor()
        state.put(Item(job: unowned, executor: executor))
    }

    private struct Item: Sendable {
        var job: UnownedJob
        var executor: UnownedSerialExecutor

        func run() { job.runSynchronously(on: executor) }
    }

    private final class QueueBox: Sendable {
        private let items = Mutex<[Item]>([])
        private let isStopped = Mutex(false)
        private let ready = DispatchSemaphore(value: 0)

        func put(_ item: Item) {
            items.withLock { $0.append(item) }
            ready.signal()
        }

        func stop() {
            isStopped.withLock { $0 = true }
            ready.signal()
        }

        /// Waits for work; nil after `stop`.
        func take() -> [Item]? {
            ready.wait()
            let taken = items.withLock { items in
                defer { items = [] }
                return items
            }
            return taken.isEmpty && isStopped.withLock { $0 } ? nil : taken
        }
    }
}
