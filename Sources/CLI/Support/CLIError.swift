/// What a command fails with: one line for people, a second one with the next step, an exit code.
struct CLIError: Error, Sendable, Equatable {
    /// Without `Error: `; nil fails without a word.
    var message: String?
    /// The exact command that helps.
    var hint: String?
    var exitCode: Int32

    init(_ message: String?, hint: String? = nil, exitCode: Int32 = 1) {
        self.message = message
        self.hint = hint
        self.exitCode = exitCode
    }

    /// Wrong usage that shows only while the command runs.
    ///
    /// - Parameter command: without `superserve`, for example `sessions resume`.
    static func usage(_ message: String, of command: String) -> CLIError {
        CLIError(message, hint: "See: superserve \(command) --help", exitCode: 64)
    }

    /// The turn was cancelled from this terminal.
    static let cancelled = CLIError(nil, exitCode: 130)
    /// Nobody reads the output any more.
    static let outputClosed = CLIError(nil)

    /// The lines for standard error, each ended by a newline.
    func text(_ palette: Palette) -> String {
        guard let message else { return "" }
        let first = palette.red("Error:") + " " + TextSanitizer.clean(message) + "\n"
        return first + (hint.map { TextSanitizer.clean($0) + "\n" } ?? "")
    }
}
