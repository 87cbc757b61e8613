/// What a key press or a paste means.
enum Key: Sendable, Equatable {
    case text(String)
    /// Pasted text: newlines as LF, no other control character but tabs.
    case paste(String)
    /// A paste over the limit; nothing of it was kept.
    case pasteTooLong
    case enter, newline
    case backspace, delete
    case left, right, up, down, home, end, wordLeft, wordRight
    case killToEnd, killToStart, killWordLeft, killWordRight, yank
    case clearScreen
    case endOfInput, interrupt
}

/// Decodes what a terminal sends: UTF-8, control characters, escape sequences, bracketed pastes.
///
/// Bytes may be cut anywhere. What is unknown is dropped, whole.
struct KeyDecoder: Sendable {
    private enum State: Sendable {
        case ground
        case utf8(bytes: [UInt8], missing: Int)
        case escape
        case control(parameters: [UInt8])
        case singleShift
        case paste
    }

    private static let pasteEnd = Array("\u{1B}[201~".utf8)
    private static let sequenceLimit = 64

    private let pasteLimit: Int
    private var state = State.ground
    private var pasted: [UInt8] = []
    private var pasteOverflow = false

    /// - Parameter pasteLimit: bytes that one paste may have.
    init(pasteLimit: Int) {
        self.pasteLimit = pasteLimit
    }

    /// Takes the next bytes and returns the keys that they complete.
    mutating func feed(_ bytes: some Sequence<UInt8>) -> [Key] {
        var keys: [Key] = []
        for byte in bytes {
            if let key = step(byte) { keys.append(key) }
        }
        return keys
    }

    private mutating func step(_ byte: UInt8) -> Key? {
        switch state {
        case .ground:
            return ground(byte)
        case .utf8(let bytes, let missing):
            guard byte & 0xC0 == 0x80 else {
                state = .ground
                return ground(byte)
            }
            state = missing == 1 ? .ground : .utf8(bytes: bytes + [byte], missing: missing - 1)
            guard missing == 1 else { return nil }
            return String(validating: bytes + [byte], as: UTF8.self).flatMap(Self.typed)
        case .escape:
            return escape(byte)
        case .control(let parameters):
            guard (0x40...0x7E).contains(byte) else {
                let isOver = byte < 0x20 || parameters.count > Self.sequenceLimit
                state = isOver ? .ground : .control(parameters: parameters + [byte])
                return isOver ? ground(byte) : nil
            }
            state = .ground
            return sequence(parameters, final: byte)
        case .singleShift:
            state = .ground
            return Self.cursor(byte)
        case .paste:
            return paste(byte)
        }
    }

    private mutating func ground(_ byte: UInt8) -> Key? {
        switch byte {
        case 0x1B:
            state = .escape
            return nil
        case 0x00..<0x20, 0x7F:
            return Self.controls[byte]
        case 0x20..<0x7F:
            return .text(String(Unicode.Scalar(byte)))
        case 0xC2...0xDF: return begin(byte, missing: 1)
        case 0xE0...0xEF: return begin(byte, missing: 2)
        case 0xF0...0xF4: return begin(byte, missing: 3)
        default: return nil
        }
    }

    private mutating func begin(_ byte: UInt8, missing: Int) -> Key? {
        state = .utf8(bytes: [byte], missing: missing)
        return nil
    }

    /// Text from the keyboard; C1 controls are not text.
    private static func typed(_ text: String) -> Key? {
        text.unicodeScalars.contains { $0.properties.generalCategory == .control }
            ? nil : .text(text)
    }

    private static let controls: [UInt8: Key] = [
        0x01: .home, 0x02: .left, 0x03: .interrupt, 0x04: .endOfInput, 0x05: .end, 0x06: .right,
        0x08: .backspace, 0x09: .text("\t"), 0x0A: .enter, 0x0B: .killToEnd, 0x0C: .clearScreen,
        0x0D: .enter, 0x0E: .down, 0x10: .up, 0x15: .killToStart, 0x17: .killWordLeft,
        0x19: .yank, 0x7F: .backspace,
    ]

    private mutating func escape(_ byte: UInt8) -> Key? {
        state = .ground
        switch byte {
        case UInt8(ascii: "["):
            state = .control(parameters: [])
            return nil
        case UInt8(ascii: "O"):
            state = .singleShift
            return nil
        case 0x1B:
            state = .escape
            return nil
        case 0x0D, 0x0A: return .newline
        case UInt8(ascii: "b"): return .wordLeft
        case UInt8(ascii: "f"): return .wordRight
        case UInt8(ascii: "d"): return .killWordRight
        case 0x08, 0x7F: return .killWordLeft
        default: return nil
        }
    }

    private mutating func sequence(_ parameters: [UInt8], final: UInt8) -> Key? {
        let text = String(decoding: parameters, as: UTF8.self)
        let isWord = text == "1;5" || text == "1;3" || text == "5"
        switch final {
        case UInt8(ascii: "C") where isWord: return .wordRight
        case UInt8(ascii: "D") where isWord: return .wordLeft
        case UInt8(ascii: "~"): return tilde(text)
        default: return Self.cursor(final)
        }
    }

    private mutating func tilde(_ parameters: String) -> Key? {
        switch parameters {
        case "1", "7": return .home
        case "4", "8": return .end
        case "3": return .delete
        case "3;5": return .killWordRight
        case "200":
            state = .paste
            pasted = []
            pasteOverflow = false
            return nil
        default: return nil
        }
    }

    private static func cursor(_ final: UInt8) -> Key? {
        switch final {
        case UInt8(ascii: "A"): .up
        case UInt8(ascii: "B"): .down
        case UInt8(ascii: "C"): .right
        case UInt8(ascii: "D"): .left
        case UInt8(ascii: "H"): .home
        case UInt8(ascii: "F"): .end
        default: nil
        }
    }

    private mutating func paste(_ byte: UInt8) -> Key? {
        pasted.append(byte)
        if byte == UInt8(ascii: "~"), pasted.suffix(Self.pasteEnd.count) == Self.pasteEnd[...] {
            state = .ground
            defer { pasted = [] }
            guard !pasteOverflow else { return .pasteTooLong }
            return .paste(Self.pastedText(pasted.dropLast(Self.pasteEnd.count)))
        }
        if pasted.count > pasteLimit + Self.pasteEnd.count {
            pasteOverflow = true
            pasted.removeFirst(pasted.count - Self.pasteEnd.count)
        }
        return nil
    }

    /// Terminals send CR for the newlines of a paste.
    private static func pastedText(_ bytes: ArraySlice<UInt8>) -> String {
        var result = String.UnicodeScalarView()
        var wasReturn = false
        for scalar in String(decoding: bytes, as: UTF8.self).unicodeScalars {
            defer { wasReturn = scalar == "\r" }
            switch scalar {
            case "\r": result.append("\n")
            case "\n" where wasReturn: continue
            case "\n", "\t": result.append(scalar)
            default:
                if scalar.properties.generalCategory != .control { result.append(scalar) }
            }
        }
        return String(result)
    }
}
