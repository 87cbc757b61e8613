/// The text at the prompt and its cursor: a pure value, changed by keys.
struct LineEditor: Sendable {
    /// What a key leads to, beside the changed text.
    enum Outcome: Sendable, Equatable {
        case edited
        case submitted(String)
        /// Ctrl+D on an empty line.
        case endOfInput
        case interrupted
        case clearScreen
        /// The key changes nothing.
        case refused
    }

    /// Grapheme clusters: what the cursor steps over.
    private(set) var characters: [Character] = []
    /// From 0 to `characters.count`.
    private(set) var cursor = 0
    private var history: [String]
    /// Position in `history`; its count is the line being written.
    private var place: Int
    private var draft = ""
    private var killed = ""
    private let limit: Int

    /// - Parameters:
    ///   - history: earlier lines, the oldest first.
    ///   - limit: bytes that the text may have.
    init(history: [String] = [], limit: Int) {
        self.history = history
        self.limit = limit
        place = history.count
    }

    var text: String { String(characters) }
    var isEmpty: Bool { characters.isEmpty }

    /// Replaces the text and puts the cursor at its end.
    mutating func setText(_ text: String) {
        characters = Array(text)
        cursor = characters.count
    }

    /// Empties the line after it was taken.
    mutating func clear() {
        setText("")
        draft = ""
        place = history.count
    }

    /// Adds a line to the history, unless it repeats the last one.
    mutating func remember(_ line: String) {
        if history.last != line { history.append(line) }
        place = history.count
    }

    mutating func handle(_ key: Key) -> Outcome {
        switch key {
        case .text(let text), .paste(let text): return insert(text)
        case .pasteTooLong: return .refused
        case .newline: return insert("\n")
        case .enter: return .submitted(text)
        case .endOfInput: return isEmpty ? .endOfInput : erase(cursor..<min(cursor + 1, count))
        case .interrupt: return .interrupted
        case .clearScreen: return .clearScreen
        case .backspace: return erase(max(0, cursor - 1)..<cursor)
        case .delete: return erase(cursor..<min(cursor + 1, count))
        case .killToEnd: return kill(cursor..<lineEnd)
        case .killToStart: return kill(lineStart..<cursor)
        case .killWordLeft: return kill(wordStart..<cursor)
        case .killWordRight: return kill(cursor..<wordEnd)
        case .yank: return insert(killed)
        case .left: return move(to: cursor - 1)
        case .right: return move(to: cursor + 1)
        case .home: return move(to: lineStart)
        case .end: return move(to: lineEnd)
        case .wordLeft: return move(to: wordStart)
        case .wordRight: return move(to: wordEnd)
        case .up: return vertical(-1)
        case .down: return vertical(1)
        }
    }

    private var count: Int { characters.count }

    private mutating func insert(_ text: String) -> Outcome {
        guard !text.isEmpty, self.text.utf8.count + text.utf8.count <= limit else {
            return .refused
        }
        // A combining mark joins the character before it.
        let start = max(0, cursor - 1)
        let joined = Array(String(characters[start..<cursor]) + text)
        characters.replaceSubrange(start..<cursor, with: joined)
        cursor = start + joined.count
        return .edited
    }

    private mutating func erase(_ range: Range<Int>) -> Outcome {
        guard !range.isEmpty else { return .refused }
        characters.removeSubrange(range)
        cursor = range.lowerBound
        return .edited
    }

    private mutating func kill(_ range: Range<Int>) -> Outcome {
        if !range.isEmpty { killed = String(characters[range]) }
        return erase(range)
    }

    private mutating func move(to position: Int) -> Outcome {
        guard (0...count).contains(position), position != cursor else { return .refused }
        cursor = position
        return .edited
    }

    private var lineStart: Int {
        (characters[..<cursor].lastIndex(of: "\n") ?? -1) + 1
    }

    private var lineEnd: Int {
        characters[cursor...].firstIndex(of: "\n") ?? count
    }

    private var wordStart: Int {
        var index = cursor
        while index > 0, !Self.isWord(characters[index - 1]) { index -= 1 }
        while index > 0, Self.isWord(characters[index - 1]) { index -= 1 }
        return index
    }

    private var wordEnd: Int {
        var index = cursor
        while index < count, !Self.isWord(characters[index]) { index += 1 }
        while index < count, Self.isWord(characters[index]) { index += 1 }
        return index
    }

    private static func isWord(_ character: Character) -> Bool {
        character.isLetter || character.isNumber || character == "_"
    }

    /// A line up or down in a text of several lines, else back or forth in the history.
    private mutating func vertical(_ step: Int) -> Outcome {
        let column = cursor - lineStart
        if step < 0, lineStart > 0 {
            let end = lineStart - 1
            let start = (characters[..<end].lastIndex(of: "\n") ?? -1) + 1
            return move(to: min(start + column, end))
        }
        if step > 0, lineEnd < count {
            let start = lineEnd + 1
            let end = characters[start...].firstIndex(of: "\n") ?? count
            return move(to: min(start + column, end))
        }
        let next = place + step
        guard (0...history.count).contains(next) else { return .refused }
        if place == history.count { draft = text }
        place = next
        setText(next == history.count ? draft : history[next])
        return .edited
    }
}
