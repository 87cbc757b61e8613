internal import API
internal import Foundation

/// Reads a value that nobody shall see: from a terminal without echo, or the whole of standard
/// input.
enum SecretInput {
    static func read(_ prompt: String) async throws -> String {
        let signals = ProcessSignals.current
        let result: Result<String, CLIError> = await withCheckedContinuation { continuation in
            Thread {
                do throws(CLIError) {
                    continuation.resume(returning: .success(try blockingRead(prompt, signals)))
                } catch {
                    continuation.resume(returning: .failure(error))
                }
            }.start()
        }
        return try result.get()
    }

    private static func blockingRead(
        _ prompt: String, _ signals: ProcessSignals?
    ) throws(CLIError) -> String {
        var modes = termios()
        guard tcgetattr(STDIN_FILENO, &modes) == 0 else {
            return try checked(try readAll(untilLine: false))
        }
        // Whatever ends the reading, the terminal gets its echo back.
        let before = modes
        let restore: @Sendable () -> Void = {
            var modes = before
            tcsetattr(STDIN_FILENO, TCSADRAIN, &modes)
        }
        modes.c_lflag &= ~tcflag_t(ECHO)
        modes.c_lflag |= tcflag_t(ECHONL | ICANON)
        // A job that comes back from being stopped would find the echo switched on.
        withUnsafeMutableBytes(of: &modes.c_cc) { $0[Int(VSUSP)] = 0 }
        signals?.setCleanup(restore)
        defer {
            restore()
            signals?.setCleanup(nil)
        }
        guard tcsetattr(STDIN_FILENO, TCSAFLUSH, &modes) == 0 else {
            throw CLIError("Cannot switch off the terminal's echo.")
        }
        try? FileWriting.write(Array(prompt.utf8), to: STDERR_FILENO)
        return try checked(try readAll(untilLine: true))
    }

    private static func readAll(untilLine: Bool) throws(CLIError) -> [UInt8] {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while bytes.count <= APILimits.secretBytes + 2 {
            let count = Foundation.read(STDIN_FILENO, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else {
                throw CLIError(
                    "Cannot read standard input: \(String(cString: strerror(errno)))")
            }
            guard count > 0 else { break }
            bytes += buffer[..<count]
            if untilLine, bytes.last == 10 { break }
        }
        return bytes
    }

    /// Without the line's end; nothing else is taken away.
    private static func checked(_ all: [UInt8]) throws(CLIError) -> String {
        var bytes = all
        if bytes.last == 10 { bytes.removeLast() }
        if bytes.last == 13 { bytes.removeLast() }
        guard !bytes.isEmpty else { throw CLIError("The value is empty.") }
        guard bytes.count <= APILimits.secretBytes else {
            throw CLIError("The value is longer than \(APILimits.secretBytes) bytes.")
        }
        guard !bytes.contains(where: { [0, 10, 13].contains($0) }) else {
            throw CLIError("The value has more than one line, or a NUL character.")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw CLIError("The value is no UTF-8 text.")
        }
        return text
    }
}
