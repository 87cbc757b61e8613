internal import ArgumentParser
internal import Foundation
internal import Synchronization

/// The `superserve` program.
public enum CommandLineTool {
    /// Parses the arguments of the process, runs the command and exits.
    ///  The main thread only waits: an asynchronous `main` would end in dispatch's `sigsuspend`,
    /// which lets every blocked signal through again.
    public static func main() -> Never {
        let signals = ProcessSignals()
        let finished = DispatchSemaphore(value: 0)
        let status = Mutex(Int32(1))
        Task {
            let result = await ProcessSignals.$current.withValue(signals) { await run() }
            status.withLock { $0 = result }
            finished.signal()
        }
        finished.wait()
        exit(status.withLock { $0 })
    }

    @concurrent
    private static func run() async -> Int32 {
        do {
            var command = try await Superserve.asyncParseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
            return 0
        } catch {
            return await report(error)
        }
    }

    private static func report(_ error: any Error) async -> Int32 {
        // Wrong usage, help and versions are the parser's errors; it knows how to print them.
        guard CLIError.canReport(error) else { Superserve.exit(withError: error) }
        let failure = CLIError(error)
        let console = Console()
        await console.err(failure.text(console.errPalette))
        return failure.exitCode
    }
}
