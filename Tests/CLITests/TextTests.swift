import API
import Foundation
import Testing

@testable import CLI

@Suite struct TextTests {
    @Test(arguments: [
        (0.0, "just now"), (59.9, "just now"), (60, "1 minute ago"), (119, "1 minute ago"),
        (120, "2 minutes ago"), (3599, "59 minutes ago"), (3600, "1 hour ago"),
        (7200, "2 hours ago"), (86399, "23 hours ago"), (86400, "1 day ago"),
        (864_000, "10 days ago"), (-50, "just now"), (1e15, "11574074 days ago"),
    ])
    func relativeTimes(seconds: Double, expected: String) {
        let date = Fixture.now.addingTimeInterval(-seconds)
        #expect(TimeText.relative(date, now: Fixture.now) == expected)
    }

    @Test(arguments: [
        (0, "0.0s"), (49, "0.0s"), (50, "0.1s"), (800, "0.8s"), (1200, "1.2s"), (1249, "1.2s"),
        (59_949, "59.9s"), (59_950, "1m 0s"), (60_000, "1m 0s"), (90_000, "1m 30s"),
        (3_599_000, "59m 59s"), (3_600_000, "1h 0m"), (7_500_000, "2h 5m"), (-5, "0.0s"),
    ])
    func durations(milliseconds: Int64, expected: String) {
        #expect(TimeText.duration(milliseconds: milliseconds) == expected)
    }

    @Test(arguments: [
        (0, "0s"), (75, "1m 15s"), (1740, "29m"), (2_592_000, "30d"), (90061, "1d 1h"),
    ])
    func spans(seconds: Int, expected: String) {
        #expect(TimeText.span(seconds: seconds) == expected)
    }

    @Test func utcTimes() throws {
        let date = try #require(WireCoding.parse("2026-03-09T14:23:15.250Z"))
        #expect(TimeText.utc(date) == "2026-03-09 14:23:15 UTC")
    }

    @Test(arguments: [
        ("plain", 5), ("\u{4E2D}\u{6587}", 4), ("e\u{301}", 1), ("\u{1F600}", 2), ("", 0),
        ("\u{2764}\u{FE0F}", 2), ("\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}", 2),
        ("\u{1F1E9}\u{1F1EA}", 2), ("\u{D55C}", 2), ("\u{1112}\u{1161}\u{11AB}", 2),
        ("\u{FF21}", 2), ("─✓", 2), ("\u{200B}", 0), ("ß", 1),
    ])
    func widths(text: String, cells: Int) {
        #expect(CellWidth.of(text) == cells)
    }

    @Test(arguments: [
        ("What is the capital of France?", 23, "What is the capital..."),
        ("Review PR #123", 23, "Review PR #123"),
        ("exactly twenty three ch", 23, "exactly twenty three ch"),
        ("exactly twenty four char", 23, "exactly twenty four..."),
        ("Donaudampfschifffahrtsgesellschaft", 23, "Donaudampfschifffahr..."),
        ("\u{4E2D}\u{6587}\u{4E2D}\u{6587}\u{4E2D}\u{6587}", 9, "\u{4E2D}\u{6587}\u{4E2D}..."),
        ("one two", 6, "one..."),
    ])
    func titlesAreCutAtWords(title: String, cells: Int, expected: String) {
        let cut = CellText.cut(title, to: cells, atWord: true)
        #expect(cut == expected)
        #expect(CellWidth.of(cut) <= cells)
    }

    @Test(arguments: [
        ("a\u{1B}[31mred\u{1B}[0m b", "ared b"), ("\u{1B}]0;title\u{07}x", "]0;titlex"),
        ("line\nbreak\t tab", "line break tab"), ("\u{202E}evil\u{2066}", "evil"),
        ("zero\u{200B}width\u{FEFF}", "zerowidth"), ("c1\u{9B}31m", "c1\u{FFFD}31m"),
        (
            "a" + String(repeating: "\u{301}", count: 50),
            "a" + String(repeating: "\u{301}", count: 4)
        ),
        ("\u{7F}del", "del"), ("  x  ", "x"),
    ])
    func cellsShowNothingInvisible(text: String, expected: String) {
        #expect(CellText.clean(text) == expected)
    }

    @Test(arguments: [
        ("plain\n\ttext", "plain\n\ttext"), ("\u{1B}[2J\u{1B}[1;1Hx", "x"),
        ("\u{1B}]52;c;ZXZpbA==\u{07}", "\u{241B}]52;c;ZXZpbA==\u{2407}"),
        (
            "\u{1B}[" + String(repeating: "1", count: 70) + "m",
            "\u{241B}[" + String(repeating: "1", count: 70) + "m"
        ),
        ("\u{1B}P1\u{1B}\\", "\u{241B}P1\u{241B}\\"), ("a\r\nb\rc", "a\nb\u{240D}c"),
        ("\u{9B}31m\u{85}", "\u{FFFD}31m\u{FFFD}"),
        ("\u{08}\u{00}\u{7F}", "\u{2408}\u{2400}\u{2421}"),
        ("\u{1B}", "\u{241B}"), ("\u{1B}[12", "\u{241B}[12"), ("end\r", "end\u{240D}"),
        ("\u{1B}[1\u{1B}[2mx", "\u{241B}[1x"),
    ])
    func escapeSequencesAreNeutralised(text: String, expected: String) {
        #expect(TextSanitizer.clean(text) == expected)
        // The same, cut anywhere.
        var sanitizer = TextSanitizer()
        let pieces = text.unicodeScalars.map { sanitizer.feed(String($0)) }
        #expect(pieces.joined() + sanitizer.finish() == expected)
    }

    @Test func jsonHasNoControlCharacters() throws {
        let json = "{\"a\":\"\u{9B}31m\u{202E}\u{7F}\u{2028}\u{4E2D}\"}"
        let clean = JSONText.clean(json)
        #expect(clean == "{\"a\":\"\\u009b31m\\u202e\\u007f\\u2028\u{4E2D}\"}")
        let decoded = try JSONDecoder().decode([String: String].self, from: Data(clean.utf8))
        #expect(decoded["a"] == "\u{9B}31m\u{202E}\u{7F}\u{2028}\u{4E2D}")
        #expect(JSONText.clean(Array("{}\n".utf8)) == "{}")
    }

    @Test func coloursOnlyOnTerminals() {
        func isEnabled(_ isTerminal: Bool, _ environment: [String: String]) -> Bool {
            Palette.automatic(isTerminal: isTerminal, environment: environment).isEnabled
        }
        #expect(isEnabled(true, ["TERM": "xterm"]))
        #expect(!isEnabled(false, ["TERM": "xterm"]))
        #expect(!isEnabled(true, ["NO_COLOR": "1"]))
        #expect(isEnabled(true, ["NO_COLOR": ""]))
        #expect(!isEnabled(true, ["TERM": "dumb"]))
    }

    @Test func errorsHaveTwoLines() {
        let error = CLIError("No session found\u{1B}[31m", hint: "superserve sessions list")
        let plain = Palette(isEnabled: false)
        #expect(error.text(plain) == "Error: No session found\nsuperserve sessions list\n")
        #expect(CLIError.cancelled.text(plain).isEmpty)
    }
}
