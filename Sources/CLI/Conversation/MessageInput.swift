internal import API
internal import Foundation

/// Where the message of a single answer comes from (spec row 11).
enum MessageInput {
    /// The argument, else piped standard input up to its end, else one line asked at the terminal.
    ///
    /// - Returns: nil where there is none.
    static func read(argument: String?, console: Console) async throws -> String? {
        if let argument { return argument }
        let situation = TerminalSituation.current()
        if situation.allowsQuestions { return try await ask(console) }
        guard !situation.inputIsTerminal else { return nil }
        return try await readAll()
    }

    /// Standard input up to its end, without the newline that ends it.
    private static func readAll() async throws -> String? {
        let result: Result<[UInt8], CLIError> = await withCheckedContinuation { continuation in
            Thread { continuation.resume(returning: blockingRead()) }.start()
        }
        let bytes = try result.get()
        let text = String(decoding: bytes, as: UTF8.self).trimmingSuffix(while: \.isNewline)
        return CellText.fold(String(text)).isEmpty ? nil : String(text)
    }

    private static func blockingRead() -> Result<[UInt8], CLIError> {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = Foundation.read(STDIN_FILENO, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            if count < 0 {
                let reason = String(cString: strerror(errno))
                return .failure(CLIError("Cannot read standard input: \(reason)"))
            }
            guard count > 0 else { return .success(bytes) }
            bytes += buffer[..<count]
            if bytes.count > APILimits.messageBytes + 4 {
                return .failure(
                    CLIError(
                        "The message on standard input is over the limit of "
                            + "\(APILimits.messageBytes) bytes",
                        hint: "Put it into a file: superserve sessions cp FILE ID:/workspace/"))
            }
        }
    }

    /// Asks for one message with the line editor.
    private static func ask(_ console: Console) async throws -> String? {
        guard console.errIsTerminal else { return nil }
        return try await Question(console: console).ask()
    }
}
