internal import Foundation

/// How this process stands to its terminal (spec row 11).
struct TerminalSituation: Sendable, Equatable {
    var inputIsTerminal: Bool
    var outputIsTerminal: Bool
    /// This process is in the terminal's foreground process group.
    var isForeground: Bool

    static func current() -> TerminalSituation {
        let input = isatty(STDIN_FILENO) == 1
        return TerminalSituation(
            inputIsTerminal: input, outputIsTerminal: isatty(STDOUT_FILENO) == 1,
            isForeground: input && tcgetpgrp(STDIN_FILENO) == getpgrp())
    }

    /// Whether a conversation can be held; a background job never reads the terminal.
    var allowsConversation: Bool { inputIsTerminal && outputIsTerminal && isForeground }

    /// Whether the person at the terminal can be asked something.
    var allowsQuestions: Bool { inputIsTerminal && isForeground }
}
