internal import ArgumentParser
internal import Foundation

/// The `superserve` program.
public enum CommandLineTool {
    /// Parses the arguments of the process, runs the command and exits.
    public static func main() async -> Never {
        let signals = ProcessSignals()
        var command: any ParsableCommand
        do {
            command = try Superserve.parseAsRoot()
        } catch {
            Superserve.exit(withError: error)
        }
        let status = await ProcessSignals.$current.withValue(signals) {
            do {
                if var asynchronous = command as? any AsyncParsableCommand {
                    try await asynchronous.run()
                } else {
                    try command.run()
                }
                return Int32(0)
            } catch {
                return await report(error, of: type(of: command))
            }
        }
        exit(status)
    }

    private static func report(
        _ error: any Error, of command: any ParsableCommand.Type
    ) async -> Int32 {
        // The parser's own errors know how to print usage and which code to exit with.
        if error is ValidationError || error is CleanExit || error is ExitCode {
            command.exit(withError: error)
        }
        let failure = CLIError(error)
        let console = Console()
        await console.err(failure.text(console.errPalette))
        return failure.exitCode
    }
}
