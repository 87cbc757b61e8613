import API
import Foundation
import Testing

@testable import CLI

@Suite struct TableTests {
    private let plain = Palette(isEnabled: false)

    @Test func theRowsOfTheReferencePage() {
        let sessions = [
            Fixture.session(
                title: "What is the capital of France?", status: .active, messages: 4, ago: 130),
            Fixture.session(
                "f6e5d4c3b2a100000000000000000000", agent: "code-agent", title: "Review PR #123",
                messages: 12, ago: 3700),
        ]
        let text = SessionTable(sessions: sessions, now: Fixture.now, palette: plain).text
        #expect(
            text == """
                ID            Agent          Title                    Status  Msgs  Last Active
                ────────────────────────────────────────────────────────────────────────────────
                a1b2c3d4e5f6  my-agent       What is the capital...   ACTIVE  4     2 minutes ago
                f6e5d4c3b2a1  code-agent     Review PR #123           IDLE    12    1 hour ago

                """)
    }

    @Test func whatWasUsedOfTheNetwork() {
        let budgets = [
            WireBudget(kind: "bytes_out", used: 1_572_864, limit: 20 << 20),
            WireBudget(kind: "bytes_in", used: 0, limit: nil),
            WireBudget(kind: "requests", used: 12, limit: nil),
            WireBudget(kind: "cost", used: 5_700, limit: 1_000_000),
        ]
        #expect(
            BudgetText.lines(budgets) == [
                "Used:     bytes_out    1.5 MiB of 20 MiB", "          requests     12",
                "          cost         $0.005700 of $1.00",
            ])
        #expect(BudgetText.summary([budgets[1]]) == nil)
        var session = Fixture.session()
        session.budget = budgets
        let text = SessionDetails(session: session, now: Fixture.now, palette: plain).text
        #expect(
            text.contains("Network:      bytes_out 1.5 MiB of 20 MiB, requests 12, cost $0.005700"))
    }

    @Test(arguments: [
        ("my-agent", "short"), ("an-agent-with-a-long-name", "Fix the thing"),
        (
            "\u{4E2D}\u{6587}\u{4E2D}\u{6587}\u{4E2D}\u{6587}\u{4E2D}\u{6587}",
            "\u{4E2D}\u{6587} " + String(repeating: "\u{6587}", count: 11)
        ),
        (
            "e\u{301}e\u{301}",
            "\u{1F600} emoji \u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467} family and more words"
        ),
        ("evil\u{1B}[2J", "\u{202E}\u{1B}]0;x\u{07}title\nwith lines"),
    ])
    func columnsStartWhereTheyMust(agent: String, title: String) {
        for status in SessionStatus.allCases {
            let session = Fixture.session(
                agent: agent, title: title, status: status, messages: 1234, ago: 500)
            let table = SessionTable(sessions: [session], now: Fixture.now, palette: plain)
            let line = table.text.split(separator: "\n")[2]
            #expect(cells(line, from: 0, to: 14) == "a1b2c3d4e5f6  ")
            #expect(
                cells(line, from: 54, to: 62).trimmingSuffix { $0 == " " }
                    == status.rawValue.uppercased())
            #expect(cells(line, from: 62, to: 68) == "1234  ")
            #expect(line.hasSuffix("8 minutes ago"))
            #expect(!line.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x202E })
        }
    }

    @Test func coloursDoNotMoveColumns() {
        let session = Fixture.session(title: "x", status: .timeout)
        let colourful = SessionTable(
            sessions: [session], now: Fixture.now, palette: Palette(isEnabled: true)
        ).text
        let bare = SessionTable(sessions: [session], now: Fixture.now, palette: plain).text
        #expect(colourful.contains("\u{1B}[2mTIMEOUT\u{1B}[0m"))
        #expect(TextSanitizer.clean(colourful) == bare)
    }

    @Test func detailsOfTheReferencePage() {
        let session = Fixture.session(
            title: "What is the capital of France?", messages: 8, ago: 128)
        let text = SessionDetails(session: session, now: Fixture.now, palette: plain).text
        #expect(
            text == """
                Agent:        my-agent (agt_1234567890abcdef)
                ID:           ses_a1b2c3d4-e5f6-7890-abcd-ef1234567890
                Status:       IDLE
                Messages:     8
                Created:      2026-03-09 14:23:15 UTC
                Title:        What is the capital of France?
                Last Active:  2026-03-09 14:45:32 UTC (2 minutes ago)

                """)
    }

    @Test func endedSessionsSayWhy() {
        var session = Fixture.session(status: .timeout)
        session.endedAt = Fixture.now
        session.reason = "idle_timeout"
        let text = SessionDetails(session: session, now: Fixture.now, palette: plain).text
        #expect(text.hasSuffix("Ended:        2026-03-09 14:47:40 UTC (idle_timeout)\n"))
        #expect(text.contains("Title:        Untitled\n"))
    }

    @Test func confirmationOfTheReferencePage() {
        #expect(
            EndCommand.confirmation("a1b2c3d4e5f6", .ended)
                == "✓ Session a1b2c3d4e5f6 ended (status: ENDED)\n")
    }

    @Test func transcripts() {
        func message(
            _ role: String, _ content: String, user: WireUser? = nil, status: String? = nil,
            ms: Int64? = nil, error: WireEventError? = nil
        ) -> WireMessage {
            WireMessage(
                role: role, turn: 1, content: content, createdAt: Fixture.now, user: user,
                status: status, durationMs: ms, error: error)
        }
        let history = WireHistory(
            session: Fixture.session(title: "Hello"),
            messages: [
                message("user", "hello", user: Fixture.alice),
                message("agent", "hi\u{1B}[31m!\n", status: "completed", ms: 1200),
                message("user", "more", user: Fixture.bob),
                message(
                    "agent", "", status: "failed",
                    error: WireEventError(code: "agent_crashed", message: "The agent died")),
                message("agent", "par", status: "cancelled"),
            ])
        let transcript = Transcript(history: history, uid: Fixture.alice.uid)
        #expect(
            transcript.text == """
                You > hello

                Agent > hi!

                Completed in 1.2s

                bob > more

                Failed: The agent died

                Agent > par

                Cancelled


                """)
        #expect(transcript.markdown.hasPrefix("# Hello\n\n- Session: a1b2c3d4e5f6\n"))
        #expect(transcript.markdown.contains("## bob (2026-03-09 14:47:40 UTC)\n\nmore\n\n"))
        #expect(transcript.markdown.hasSuffix("par\n\n*Cancelled*\n\n"))
    }

    /// The text between two columns.
    private func cells(_ line: Substring, from: Int, to: Int) -> String {
        var column = 0
        return String(
            line.filter { character in
                defer { column += CellWidth.of(character) }
                return (from..<to).contains(column)
            })
    }
}
