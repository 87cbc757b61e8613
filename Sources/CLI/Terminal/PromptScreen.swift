/// Draws the prompt and what stands above it on a terminal: a pure value that remembers what it
/// drew.
///
/// Rows are broken here and not by the terminal, so that it is known how many there are.
struct PromptScreen: Sendable {
    struct Size: Sendable, Equatable {
        var columns: Int
        var rows: Int

        static let fallback = Size(columns: 80, rows: 24)
    }

    /// At least 10 by 4: a terminal that says 0 by 0 is drawn on as if it were small.
    var size: Size
    /// Rows of what is drawn now, and the cursor's row among them; nil while nothing is.
    private var drawn: (rows: Int, cursorRow: Int)?

    init(size: Size) {
        self.size = size
    }

    var isVisible: Bool { drawn != nil }

    /// Takes away what was drawn and leaves the cursor where it began.
    mutating func erase() -> String {
        guard let drawn else { return "" }
        self.drawn = nil
        let up = drawn.cursorRow > 0 ? "\u{1B}[\(drawn.cursorRow)A" : ""
        return up + "\r\u{1B}[J"
    }

    /// Draws the unfinished text above, the prompt and the line.
    mutating func draw(above: String, prompt: String, editor: LineEditor) -> String {
        let start = erase()
        var layout = Layout(columns: columns)
        if !above.isEmpty {
            layout.add(above)
            layout.newline()
            layout.newline()
        }
        layout.add(prompt)
        for (index, character) in editor.characters.enumerated() {
            if index == editor.cursor { layout.markCursor() }
            layout.add(character)
        }
        if editor.cursor == editor.characters.count { layout.markCursor() }
        return start + show(layout)
    }

    /// Moves below what was drawn, for what is printed next.
    mutating func leave() -> String {
        guard let drawn else { return "" }
        self.drawn = nil
        let down = drawn.rows - 1 - drawn.cursorRow
        return (down > 0 ? "\u{1B}[\(down)B" : "") + "\r\n"
    }

    /// Forgets what was drawn, after the screen was cleared or changed its size.
    mutating func forget() { drawn = nil }

    /// Cells of text that fit above the prompt; more is printed for good.
    var cellsAbove: Int { columns * max(1, height - 3) }

    private var columns: Int { max(10, size.columns) }
    private var height: Int { max(4, size.rows) }

    private mutating func show(_ layout: Layout) -> String {
        // Of a text taller than the screen, the rows around the cursor are shown.
        let cursor = layout.cursor
        let first = min(max(0, cursor.row - height + 1), max(0, layout.rows.count - height))
        let last = min(layout.rows.count, first + height)
        var result = layout.rows[first..<last].joined(separator: "\r\n")
        let up = last - 1 - cursor.row
        if up > 0 { result += "\u{1B}[\(up)A" }
        result += "\r"
        if cursor.column > 0 { result += "\u{1B}[\(cursor.column)C" }
        drawn = (rows: last - first, cursorRow: cursor.row - first)
        return result
    }

    /// Breaks text into rows of a terminal.
    private struct Layout {
        let columns: Int
        private(set) var rows = [""]
        private(set) var cursor = (row: 0, column: 0)
        private var column = 0

        init(columns: Int) { self.columns = columns }

        mutating func add(_ text: String) {
            for character in text { add(character) }
        }

        mutating func add(_ character: Character) {
            switch character {
            case "\n":
                newline()
            case "\t":
                for _ in 0..<(8 - column % 8) { put(" ", 1) }
            default:
                put(character, CellWidth.of(character))
            }
        }

        mutating func newline() {
            rows.append("")
            column = 0
        }

        /// The cursor stands on the next character, or after the last.
        mutating func markCursor() {
            if column >= columns { newline() }
            cursor = (rows.count - 1, column)
        }

        private mutating func put(_ character: Character, _ width: Int) {
            if column + width > columns { newline() }
            rows[rows.count - 1].append(character)
            column += width
        }
    }
}
