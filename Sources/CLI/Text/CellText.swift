/// Text for the cells of a table: one line, nothing invisible, cut to a width.
enum CellText {
    private static let marksPerCharacter = 4

    /// `text` on one line without control, direction and zero-width characters.
    static func clean(_ text: String) -> String {
        var result = String.UnicodeScalarView()
        var marks = 0
        for scalar in fold(stripped(text)).unicodeScalars {
            switch scalar.properties.generalCategory {
            case .control, .format, .surrogate:
                continue
            case .nonspacingMark, .enclosingMark:
                marks += 1
                if marks <= marksPerCharacter { result.append(scalar) }
            default:
                marks = 0
                result.append(scalar)
            }
        }
        return String(result)
    }

    /// White space of any kind becomes one space; none at the ends.
    static func fold(_ text: String) -> String {
        text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }

    /// The longest beginning of `text` that fits `cells`, ended by `...` where something was cut.
    ///
    /// - Parameter atWord: cut between words, where that leaves anything.
    static func cut(_ text: String, to cells: Int, atWord: Bool = false) -> String {
        guard CellWidth.of(text) > cells else { return text }
        var head = ""
        var width = 0
        var afterWord = ""
        for character in text {
            if character == " " { afterWord = head }
            width += CellWidth.of(character)
            if width > cells - 3 { break }
            head.append(character)
        }
        // The cut is between words too when the character that did not fit is a space.
        let kept = atWord && !afterWord.isEmpty ? afterWord : head
        return String(kept.trimmingSuffix { $0 == " " }) + "..."
    }

    /// `text` followed by spaces up to `cells`, at least one.
    static func pad(_ text: String, to cells: Int) -> String {
        text + String(repeating: " ", count: max(1, cells - CellWidth.of(text)))
    }

    private static func stripped(_ text: String) -> String {
        // Sequences are dropped here as well, or their letters would stay as text.
        TextSanitizer.clean(text).unicodeScalars.reduce(into: "") { result, scalar in
            let isPicture = (0x2400...0x2421).contains(scalar.value)
            if !isPicture { result.unicodeScalars.append(scalar) }
        }
    }
}

extension String {
    /// The text without the longest suffix whose characters all satisfy `predicate`.
    func trimmingSuffix(while predicate: (Character) -> Bool) -> Substring {
        guard let last = lastIndex(where: { !predicate($0) }) else { return "" }
        return self[...last]
    }
}
