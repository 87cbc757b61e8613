import Foundation
import Sessions
import Testing

@Suite("Ids, titles, deadlines")
struct RecordTests {
    @Test func idsHaveTheirForms() throws {
        let id = SessionID()
        #expect(
            id.description.wholeMatch(
                of: /ses_[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/)
                != nil)
        #expect(SessionID(id.description) == id)
        #expect(id.short == String(id.hex.prefix(12)))
        #expect(RandomID.agent().wholeMatch(of: /agt_[0-9a-f]{16}/) != nil)
    }

    @Test(arguments: [
        ("a1b2", "a1b2"), ("ses_a1b2", "a1b2"), ("SES_A1B2", "a1b2"),
        ("a1b2c3d4-e5f6", "a1b2c3d4e5f6"), ("", nil), ("ses_", nil), ("xyz", nil), ("a1 b2", nil),
        ("a1%", nil), ("--", nil), (String(repeating: "a", count: 33), nil), ("a1\u{0}", nil),
    ])
    func prefixes(_ typed: String, _ expected: String?) {
        #expect(SessionID.normalise(prefix: typed) == expected)
    }

    @Test(arguments: [
        ("  What is\n\tthe   capital? ", "What is the capital?"),
        ("a\u{1b}[31mred\u{7}", "a[31mred"), ("\u{202e}abc", "abc"), (" \n ", nil),
    ])
    func titles(_ message: String, _ expected: String?) {
        #expect(TerminalText.title(message) == expected)
    }

    @Test func titlesAreStoredUpTo200Characters() {
        #expect(TerminalText.title(String(repeating: "é", count: 500))?.count == 200)
    }

    static let start = IdleDeadline(
        since: BootInstant(bootID: "a", nanoseconds: 1_000_000_000_000),
        sinceWall: Date(timeIntervalSince1970: 1_000_000), seconds: 1740)

    @Test func sameBootIgnoresTheWallClock() {
        let later = BootInstant(bootID: "a", nanoseconds: 1_000_000_000_000 + 1739 * 1_000_000_000)
        for jump in [-86400.0, 0, 86400] {
            let wall = Date(timeIntervalSince1970: 1_000_000 + 1739 + jump)
            #expect(Self.start.remaining(later, wall: wall) == 1)
        }
        let due = BootInstant(bootID: "a", nanoseconds: 1_000_000_000_000 + 1740 * 1_000_000_000)
        #expect(Self.start.remaining(due, wall: Date(timeIntervalSince1970: 0)) == 0)
    }

    @Test func afterARebootTheWallClockCountsButNotAtOnce() {
        let wall = Date(timeIntervalSince1970: 1_000_000 + 5000)
        let early = BootInstant(bootID: "b", nanoseconds: 10_000_000_000)
        #expect(Self.start.remaining(early, wall: wall) == 290)
        let settled = BootInstant(bootID: "b", nanoseconds: 301_000_000_000)
        #expect(Self.start.remaining(settled, wall: wall) == 0)
        let backwards = Date(timeIntervalSince1970: 0)
        #expect(Self.start.remaining(settled, wall: backwards) == 1740)
    }
}
