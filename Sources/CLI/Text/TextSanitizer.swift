/// Makes text from an agent or another client harmless for a terminal, piece by piece.
///
/// Colour and cursor sequences (`ESC [ … letter`) are dropped; every other control character is
/// replaced by a visible sign, so that nothing is hidden. Newlines and tabs stay.
struct TextSanitizer: Sendable {
    /// Longer sequences are shown instead of dropped: no terminal program writes them.
    static let sequenceLimit = 64

    private enum State: Sendable, Equatable {
        case text
        case carriageReturn
        case escape
        /// What followed `ESC [` so far.
        case sequence(String)
    }

    private var state = State.text

    /// The whole of `text` made harmless.
    static func clean(_ text: String) -> String {
        var sanitizer = TextSanitizer()
        return sanitizer.feed(text) + sanitizer.finish()
    }

    /// `clean` on one line: white space is folded, for names and titles.
    static func line(_ text: String) -> String {
        CellText.fold(clean(text))
    }

    /// Takes the next piece and returns what can be shown by now.
    mutating func feed(_ text: String) -> String {
        var result = String.UnicodeScalarView()
        for scalar in text.unicodeScalars { step(scalar, &result) }
        return String(result)
    }

    /// Returns what was held back.
    mutating func finish() -> String {
        defer { state = .text }
        switch state {
        case .text: return ""
        case .carriageReturn: return "\u{240D}"
        case .escape: return "\u{241B}"
        case .sequence(let parameters): return "\u{241B}[" + parameters
        }
    }

    private mutating func step(_ scalar: Unicode.Scalar, _ result: inout String.UnicodeScalarView) {
        switch state {
        case .text:
            plain(scalar, &result)
        case .carriageReturn:
            state = .text
            if scalar != "\n" { result.append("\u{240D}") }
            plain(scalar, &result)
        case .escape:
            if scalar == "[" {
                state = .sequence("")
            } else {
                state = .text
                result.append("\u{241B}")
                plain(scalar, &result)
            }
        case .sequence(let parameters):
            switch scalar.value {
            case 0x40...0x7E:
                state = .text
            case 0x20...0x3F where parameters.utf8.count < Self.sequenceLimit:
                state = .sequence(parameters + String(scalar))
            default:
                state = .text
                result.append(contentsOf: "\u{241B}[\(parameters)".unicodeScalars)
                plain(scalar, &result)
            }
        }
    }

    private mutating func plain(
        _ scalar: Unicode.Scalar, _ result: inout String.UnicodeScalarView
    ) {
        switch scalar.value {
        case 0x0A, 0x09:
            result.append(scalar)
        case 0x0D:
            state = .carriageReturn
        case 0x1B:
            state = .escape
        case 0x00..<0x20:
            result.append(Unicode.Scalar(0x2400 + scalar.value) ?? "\u{FFFD}")
        case 0x7F:
            result.append("\u{2421}")
        case 0x80..<0xA0:
            result.append("\u{FFFD}")
        default:
            result.append(scalar)
        }
    }
}
