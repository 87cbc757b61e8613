import Testing

@testable import CLI

@Suite struct KeyTests {
    private func keys(_ text: String, piece: Int = .max, limit: Int = 1000) -> [Key] {
        var decoder = KeyDecoder(pasteLimit: limit)
        var bytes = Array(text.utf8)[...]
        var result: [Key] = []
        while !bytes.isEmpty {
            result += decoder.feed(bytes.prefix(piece))
            bytes = bytes.dropFirst(piece)
        }
        return result
    }

    @Test(arguments: [1, 2, 3, 100])
    func bytesMayBeCutAnywhere(piece: Int) {
        let text = "a\u{E9}\u{4E2D}\u{1F600}\u{1B}[A\u{1B}OB\u{1B}[1;5C\u{1B}[3~\u{1B}b\u{7F}\r"
        #expect(
            keys(text, piece: piece) == [
                .text("a"), .text("\u{E9}"), .text("\u{4E2D}"), .text("\u{1F600}"), .up, .down,
                .wordRight, .delete, .wordLeft, .backspace, .enter,
            ])
    }

    @Test(arguments: [1, 4, 100])
    func aPasteIsOneKey(piece: Int) {
        let text = "x\u{1B}[200~one\rtwo\r\nthree\n\u{1B}[31mfour\t\u{3}\u{1B}[201~\r"
        #expect(
            keys(text, piece: piece) == [
                .text("x"), .paste("one\ntwo\nthree\n[31mfour\t"), .enter,
            ])
    }

    @Test func pastesAreBounded() {
        let long = "\u{1B}[200~" + String(repeating: "x", count: 2000) + "\u{1B}[201~y"
        #expect(keys(long, limit: 1000) == [.pasteTooLong, .text("y")])
        let fits = "\u{1B}[200~" + String(repeating: "x", count: 1000) + "\u{1B}[201~"
        #expect(keys(fits, limit: 1000) == [.paste(String(repeating: "x", count: 1000))])
    }

    @Test(arguments: [
        "\u{1B}[?1;2c", "\u{1B}[999~", "\u{1B}x", "\u{1B}OZ", "\u{1B}[200;1X", "\u{0}", "\u{1F}",
    ])
    func whatIsUnknownIsDropped(text: String) {
        #expect(keys(text + "a") == [.text("a")])
    }

    @Test func invalidBytesAreDropped() {
        var decoder = KeyDecoder(pasteLimit: 10)
        #expect(
            decoder.feed([0xFF, 0xC3, 0x61, 0xE4, 0xB8, 0x0D, 0x80, 0x62]) == [
                .text("a"), .enter, .text("b"),
            ])
        // U+009B would begin a control sequence.
        #expect(decoder.feed([0xC2, 0x9B, 0x41]) == [.text("A")])
    }

    @Test func randomBytesNeverCrash() {
        var decoder = KeyDecoder(pasteLimit: 100)
        var editor = LineEditor(limit: 1000)
        for _ in 0..<20_000 {
            for key in decoder.feed([UInt8.random(in: 0...255)]) { _ = editor.handle(key) }
            #expect((0...editor.characters.count).contains(editor.cursor))
        }
    }
}

@Suite struct LineEditorTests {
    private func edit(
        _ keys: [Key], history: [String] = [], limit: Int = 1000
    ) -> (text: String, cursor: Int, outcome: LineEditor.Outcome) {
        var editor = LineEditor(history: history, limit: limit)
        var outcome = LineEditor.Outcome.refused
        for key in keys { outcome = editor.handle(key) }
        return (editor.text, editor.cursor, outcome)
    }

    private func typed(_ text: String) -> [Key] { text.map { .text(String($0)) } }

    @Test(
        arguments: [
            ([Key.left, .left, .text("X")], "hello worXld", 10),
            ([.home, .delete], "ello world", 0),
            ([.killWordLeft], "hello ", 6), ([.home, .killToEnd], "", 0),
            ([.wordLeft, .killToStart, .end, .yank], "worldhello ", 11),
            ([.wordLeft, .wordLeft, .wordRight, .text("!")], "hello! world", 6),
            ([.backspace, .backspace, .end, .home, .right], "hello wor", 1),
            ([.left, .endOfInput], "hello worl", 10),
        ] as [([Key], String, Int)])
    func editing(keys: [Key], text: String, cursor: Int) {
        let result = edit(typed("hello world") + keys)
        #expect(result.text == text)
        #expect(result.cursor == cursor)
    }

    @Test func graphemesAreOneStep() {
        let result = edit(
            typed("e") + [.text("\u{301}"), .text("\u{1F1E9}"), .text("\u{1F1EA}"), .left, .left])
        #expect(result.text == "e\u{301}\u{1F1E9}\u{1F1EA}")
        #expect(result.cursor == 0)
    }

    @Test func severalLines() {
        let lines: [Key] = [.paste("one\ntwo three\nfour")]
        #expect(edit(lines + [.up, .home, .text(">")]).text == "one\n>two three\nfour")
        #expect(edit(lines + [.up, .up, .end, .text("<")]).text == "one<\ntwo three\nfour")
        #expect(edit(lines + [.up, .killToEnd]).text == "one\ntwo \nfour")
        #expect(edit(lines + [.enter]).outcome == .submitted("one\ntwo three\nfour"))
        #expect(edit(typed("a") + [.newline] + typed("b")).text == "a\nb")
    }

    @Test func history() {
        let past = ["first", "second\nline"]
        #expect(edit([.up], history: past).text == "second\nline")
        #expect(edit([.up, .up, .up], history: past).text == "first")
        #expect(edit(typed("draft") + [.up, .down], history: past).text == "draft")
        #expect(edit([.up, .up, .up, .up], history: past).outcome == .refused)
        var editor = LineEditor(limit: 100)
        editor.remember("a")
        editor.remember("a")
        editor.remember("b")
        _ = editor.handle(.up)
        _ = editor.handle(.up)
        #expect(editor.text == "a")
        #expect(editor.handle(.up) == .refused)
    }

    @Test func endsOfInput() {
        #expect(edit([.endOfInput]).outcome == .endOfInput)
        #expect(edit(typed("x") + [.endOfInput]).outcome == .refused)
        #expect(edit([.interrupt]).outcome == .interrupted)
        #expect(edit([.enter]).outcome == .submitted(""))
    }

    @Test func theTextIsBounded() {
        #expect(edit([.paste(String(repeating: "x", count: 11))], limit: 10).outcome == .refused)
        #expect(
            edit([.paste(String(repeating: "x", count: 10)), .text("y")], limit: 10).text.count
                == 10)
        #expect(edit([.pasteTooLong]).outcome == .refused)
    }
}
