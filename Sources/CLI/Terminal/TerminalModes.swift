internal import Foundation
internal import Synchronization

/// The modes of the terminal on standard input, and putting them back whatever happens.
final class TerminalModes: Sendable {
    private let original = Mutex<termios?>(nil)
    private let descriptor: CInt
    /// Where escape sequences for the terminal go.
    private let output: CInt

    /// - Parameter output: a descriptor of the same terminal.
    init(descriptor: CInt = STDIN_FILENO, output: CInt) {
        self.descriptor = descriptor
        self.output = output
    }

    static let pasteOn = "\u{1B}[?2004h"
    static let pasteOff = "\u{1B}[?2004l"

    /// Keys arrive one by one and are not echoed; Ctrl+C and Ctrl+Z still send signals.
    ///
    /// - Returns: false where the terminal belongs to another job by now.
    @discardableResult
    func enter() -> Bool {
        guard isForeground else { return false }
        return original.withLock { original in
            var modes = termios()
            guard tcgetattr(descriptor, &modes) == 0 else { return false }
            if original == nil { original = modes }
            modes.c_lflag &= ~tcflag_t(ICANON | ECHO | ECHONL | IEXTEN)
            modes.c_lflag |= tcflag_t(ISIG | NOFLSH)
            modes.c_iflag &= ~tcflag_t(IXON | ICRNL | INLCR | IGNCR | ISTRIP)
            modes.c_oflag |= tcflag_t(OPOST | ONLCR)
            withUnsafeMutableBytes(of: &modes.c_cc) { bytes in
                bytes[Int(VMIN)] = 1
                bytes[Int(VTIME)] = 0
            }
            return tcsetattr(descriptor, TCSADRAIN, &modes) == 0
        }
    }

    /// Puts back the modes that `enter` found; does nothing otherwise.
    func restore() {
        // A job in the background must not touch the terminal; its shell has set its own modes.
        guard isForeground else { return }
        let taken = original.withLock { original in
            defer { original = nil }
            return original
        }
        guard var modes = taken else { return }
        try? FileWriting.write(Array(Self.pasteOff.utf8), to: output)
        tcsetattr(descriptor, TCSADRAIN, &modes)
    }

    /// Rows and columns, or 80 by 24 where the terminal does not know.
    var size: PromptScreen.Size {
        var window = winsize()
        guard ioctl(output, UInt(TIOCGWINSZ), &window) == 0, window.ws_col > 0, window.ws_row > 0
        else { return .fallback }
        return PromptScreen.Size(columns: Int(window.ws_col), rows: Int(window.ws_row))
    }

    private var isForeground: Bool { tcgetpgrp(descriptor) == getpgrp() }
}
