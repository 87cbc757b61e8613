internal import Foundation

/// Work that Ctrl+C gives up in an orderly way instead of killing the program.
enum Interruptible {
    /// - Throws: `CLIError.cancelled` after Ctrl+C; a second Ctrl+C leaves at once.
    static func run<Value: Sendable>(
        _ work: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        try await withThrowingTaskGroup(of: Value?.self) { group in
            let interrupts = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingOldest(1))
            let counter = Counter()
            ProcessSignals.current?.setHandler { signal in
                guard signal == SIGINT || signal == SIGTERM else { return false }
                if counter.next() > 1 { return false }
                interrupts.continuation.yield()
                return true
            }
            defer {
                ProcessSignals.current?.setHandler(nil)
                interrupts.continuation.finish()
                group.cancelAll()
            }
            group.addTask { try await work() }
            group.addTask {
                for await _ in interrupts.stream { throw CLIError.cancelled }
                return nil
            }
            while let result = try await group.next() {
                if let value = result { return value }
            }
            throw CLIError.cancelled
        }
    }
}
