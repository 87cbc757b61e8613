import Testing

@testable import CLI

@Suite struct PromptScreenTests {
    /// Draws the text on a terminal, the cursor `back` characters before its end.
    private func draw(
        _ text: String, above: String = "", back: Int = 0, columns: Int = 20, rows: Int = 10
    ) -> FakeTerminal {
        var terminal = FakeTerminal(columns: columns)
        var screen = PromptScreen(size: .init(columns: columns, rows: rows))
        var editor = LineEditor(limit: 10_000)
        editor.setText(text)
        for _ in 0..<back { _ = editor.handle(.left) }
        terminal.write(screen.draw(above: above, prompt: "You > ", editor: editor))
        return terminal
    }

    @Test(arguments: [
        ("", "You >", 0, 6), ("hello", "You > hello", 0, 11),
        ("12345678901234", "You > 12345678901234", 1, 0),
        ("123456789012345", "You > 12345678901234\n5", 1, 1),
        ("one\ntwo", "You > one\ntwo", 1, 3), ("\u{4E2D}\u{6587}", "You > \u{4E2D}\u{6587}", 0, 10),
        ("1234567890123\u{4E2D}", "You > 1234567890123\n\u{4E2D}", 1, 2),
    ])
    func layout(text: String, shown: String, row: Int, column: Int) {
        let terminal = draw(text)
        #expect(terminal.text == shown)
        #expect(terminal.row == row)
        #expect(terminal.column == column)
    }

    @Test func theCursorStandsOnItsCharacter() {
        let terminal = draw("abc\ndef", back: 5)
        #expect(terminal.row == 0)
        #expect(terminal.column == 8)
    }

    @Test func unfinishedTextStandsAbove() {
        #expect(draw("typed", above: "Agent > some").text == "Agent > some\n\nYou > typed")
    }

    @Test func tallTextShowsTheRowsAroundTheCursor() {
        let text = (1...30).map(String.init).joined(separator: "\n")
        #expect(draw(text, rows: 5).text == "26\n27\n28\n29\n30")
        #expect(draw(text, back: text.count, rows: 5).text.hasPrefix("You > 1\n2\n3"))
    }

    @Test func redrawingLeavesNothingBehind() {
        var terminal = FakeTerminal(columns: 20)
        var screen = PromptScreen(size: .init(columns: 20, rows: 10))
        var editor = LineEditor(limit: 10_000)
        terminal.write("before\r\n")
        let keys: [Key] = [
            .paste("a line that is longer than a row\nand a second"), .up, .home, .killToEnd,
            .end, .text("\u{4E2D}"), .killToStart, .backspace, .text("x"), .newline, .text("y"),
        ]
        for key in keys {
            _ = editor.handle(key)
            terminal.write(screen.draw(above: "", prompt: "You > ", editor: editor))
            var fresh = FakeTerminal(columns: 20)
            var other = PromptScreen(size: .init(columns: 20, rows: 10))
            fresh.write("before\r\n")
            fresh.write(other.draw(above: "", prompt: "You > ", editor: editor))
            #expect(terminal.text == fresh.text)
            #expect(terminal.row == fresh.row)
            #expect(terminal.column == fresh.column)
        }
        terminal.write(screen.erase())
        #expect(terminal.text == "before")
        #expect(terminal.row == 1)
    }

    @Test func leavingGoesBelow() {
        var terminal = FakeTerminal(columns: 20)
        var screen = PromptScreen(size: .init(columns: 20, rows: 10))
        var editor = LineEditor(limit: 100)
        editor.setText("one\ntwo\nthree")
        _ = editor.handle(.up)
        _ = editor.handle(.up)
        terminal.write(screen.draw(above: "", prompt: "You > ", editor: editor))
        terminal.write(screen.leave() + "after")
        #expect(terminal.text == "You > one\ntwo\nthree\nafter")
    }

    @Test func nonsenseSizesAreSurvived() {
        _ = draw("some text", above: "more", columns: 0, rows: 0)
        _ = draw("\u{4E2D}\u{6587}", columns: 1, rows: 1)
    }
}
