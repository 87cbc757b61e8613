internal import API
internal import Foundation

/// Asks for one message at the prompt, for a single answer on a terminal.
struct Question: Sendable {
    let console: Console

    private enum Input: Sendable {
        case keys([UInt8])
        case resized(PromptScreen.Size)
        case over
    }

    /// - Returns: nil when the person leaves without a message.
    func ask() async throws -> String? {
        let modes = TerminalModes(output: STDERR_FILENO)
        let mailbox = Mailbox<Input>()
        let signals = ProcessSignals.current
        signals?.setCleanup { modes.restore() }
        modes.enter()
        signals?.setHandler { signal in
            switch signal {
            case SIGINT: mailbox.post(.over)
            case SIGWINCH: mailbox.post(.resized(modes.size))
            case SIGCONT:
                modes.enter()
                mailbox.post(.resized(modes.size))
            default: return false
            }
            return true
        }
        let keyboard = try Keyboard { mailbox.post($0.map(Input.keys) ?? .over) }
        defer {
            signals?.setHandler(nil)
            keyboard.stop()
            modes.restore()
            signals?.setCleanup(nil)
        }
        return await edit(mailbox, modes.size)
    }

    private func edit(_ mailbox: Mailbox<Input>, _ size: PromptScreen.Size) async -> String? {
        var keys = KeyDecoder(pasteLimit: APILimits.messageBytes)
        var editor = LineEditor(limit: APILimits.messageBytes)
        var screen = PromptScreen(size: size)
        await console.err(TerminalModes.pasteOn)
        while true {
            await console.err(
                screen.draw(above: "", prompt: Conversation.prompt, editor: editor))
            switch await mailbox.next() {
            case .over:
                await console.err(screen.leave())
                return nil
            case .resized(let size):
                screen.size = size
            case .keys(let bytes):
                for key in keys.feed(bytes) {
                    switch editor.handle(key) {
                    case .submitted(let text) where !CellText.fold(text).isEmpty:
                        await console.err(screen.leave())
                        return String(text.trimmingSuffix(while: \.isNewline))
                    case .endOfInput, .interrupted:
                        await console.err(screen.leave())
                        return nil
                    default:
                        continue
                    }
                }
            }
        }
    }
}
