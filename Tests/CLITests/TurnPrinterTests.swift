import API
import Testing

@testable import CLI

@Suite struct TurnPrinterTests {
    private func run(
        _ style: TurnPrinter.Style, _ events: [WireEvent]
    ) -> (out: String, err: String, both: String) {
        var printer = TurnPrinter(style: style, palette: Palette(isEnabled: false))
        let pieces = events.flatMap { printer.handle($0) }
        func text(_ stream: Console.Stream) -> String {
            pieces.filter { $0.stream == stream }.map(\.text).joined()
        }
        return (text(.out), text(.err), pieces.map(\.text).joined())
    }

    private func tool(_ seq: Int64, _ type: WireEventType, success: Bool? = nil) -> WireEvent {
        var event = Fixture.event(seq, type, ms: type == .toolEnd ? 300 : nil)
        event.tool = "Bash"
        event.input = .object(["command": .string("ls\u{1B}[2J\n")])
        event.success = success
        return event
    }

    @Test func whatTheNetworkSaysIsANotice() {
        var denied = Fixture.event(2, .networkDenied, "Network: a.example:443 was denied\u{1B}[2J")
        denied.destination = "a.example:443"
        let budget = Fixture.event(3, .networkBudget, "Network: used up")
        let shown = run(.answer(isTerminal: false), [answer[0], denied, budget])
        #expect(shown.out.isEmpty)
        #expect(shown.err == "Network: a.example:443 was denied\nNetwork: used up\n")
    }

    private var answer: [WireEvent] {
        [
            Fixture.event(1, .runStarted, "hi", by: Fixture.alice),
            Fixture.event(2, .messageDelta, "\u{1B}[1mone\n"),
            Fixture.event(3, .messageDelta, "two\n\n"), Fixture.event(4, .runCompleted, ms: 800),
        ]
    }

    @Test func aSingleAnswerIsExactlyTheAgentsText() {
        let piped = run(.answer(isTerminal: false), answer)
        #expect(piped.out == "\u{1B}[1mone\ntwo\n\n")
        #expect(piped.err == "Completed in 0.8s\n")
    }

    @Test func onATerminalItIsHarmless() {
        let shown = run(.answer(isTerminal: true), answer)
        #expect(shown.out == "one\ntwo\n\n")
        #expect(shown.err == "\nCompleted in 0.8s\n")
        let open = run(
            .answer(isTerminal: true),
            [Fixture.event(1, .messageDelta, "x"), Fixture.event(2, .runCompleted, ms: 1)])
        #expect(open.out == "x")
        #expect(open.both == "x\n\nCompleted in 0.0s\n")
    }

    @Test func aConversationKeepsItsLayout() {
        #expect(
            run(.conversation, answer).both
                == "\nAgent > one\ntwo\n\nCompleted in 0.8s\n\n")
        let silent = [answer[0], Fixture.event(2, .runCompleted, ms: 100)]
        #expect(run(.conversation, silent).both == "\nCompleted in 0.1s\n\n")
        let early = [
            answer[0], Fixture.event(2, .messageDelta, "\n\nlate"),
            Fixture.event(3, .runCompleted, ms: 100),
        ]
        #expect(run(.conversation, early).out == "Agent > late\n")
    }

    @Test func toolsStandOnLinesOfTheirOwn() {
        let events = [
            answer[0], Fixture.event(2, .messageDelta, "Let me look."), tool(3, .toolStart),
            tool(4, .toolEnd, success: false), Fixture.event(5, .messageDelta, "Done"),
            Fixture.event(6, .runCompleted, ms: 100),
        ]
        let both = run(.conversation, events).both
        #expect(
            both == """

                Agent > Let me look.
                [Bash] {"command":"ls\\u001b[2J\\n"}
                [Bash] failed (0.3s)
                Done

                Completed in 0.1s


                """)
        let piped = run(.answer(isTerminal: false), events)
        #expect(piped.out == "Let me look.Done")
    }

    @Test func unfinishedSequencesAreShown() {
        let events = [answer[0], Fixture.event(2, .messageDelta, "x\u{1B}"), answer[3]]
        #expect(run(.conversation, events).out == "Agent > x\u{241B}\n")
        #expect(run(.answer(isTerminal: true), events).out == "x\u{241B}")
    }
}
