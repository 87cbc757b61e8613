import API
import Testing

@testable import CLI

/// A conversation on a fake terminal.
struct Stage {
    var conversation: Conversation
    var terminal: FakeTerminal
    /// Everything that is neither drawn nor written.
    var effects: [Conversation.Effect] = []

    init(_ session: WireSession = Fixture.session(), columns: Int = 80, rows: Int = 24) {
        conversation = Conversation(
            session: session, uid: Fixture.alice.uid, history: [],
            size: .init(columns: columns, rows: rows), palette: Palette(isEnabled: false))
        terminal = FakeTerminal(columns: columns)
    }

    mutating func start(_ start: Conversation.Start) { show(conversation.start(start)) }

    mutating func give(_ inputs: Conversation.Input...) {
        for input in inputs { show(conversation.handle(input)) }
    }

    mutating func type(_ text: String) { give(.keys(Array(text.utf8))) }

    mutating func accept(turn: Int, firstSeq: Int64) {
        give(.sent(.success(WireAccepted(sessionId: "x", turn: turn, firstSeq: firstSeq))))
    }

    private mutating func show(_ effects: [Conversation.Effect]) {
        for effect in effects {
            switch effect {
            case .write(let piece): terminal.write(piece.text.replacing("\n", with: "\r\n"))
            case .draw(let text): terminal.write(text)
            default: self.effects.append(effect)
            }
        }
    }
}

@Suite struct ConversationTests {
    private func answered() -> Stage {
        var stage = Stage()
        stage.start(.prompt)
        stage.type("What is the capital of France?\r")
        stage.accept(turn: 1, firstSeq: 1)
        stage.give(
            .event(
                Fixture.event(1, .runStarted, "What is the capital of France?", by: Fixture.alice)),
            .event(Fixture.event(2, .messageDelta, "The capital of ")),
            .event(Fixture.event(nil, .heartbeat, turn: nil)),
            .event(Fixture.event(3, .messageDelta, "France is Paris.\n")),
            .event(Fixture.event(4, .runCompleted, ms: 1200)))
        return stage
    }

    @Test func theConversationOfTheReferencePage() {
        var stage = answered()
        #expect(
            stage.terminal.text == """
                You > What is the capital of France?

                Agent > The capital of France is Paris.

                Completed in 1.2s

                You >
                """)
        #expect(stage.terminal.column == 6)
        #expect(stage.terminal.pasteMode)
        stage.type("exit\r")
        #expect(!stage.terminal.pasteMode)
        #expect(
            stage.effects == [
                .followEvents(after: 0), .remember("What is the capital of France?"),
                .send("What is the capital of France?"), .leave(.left),
            ])
        #expect(stage.conversation.isUsed)
    }

    @Test func eventsMayComeBeforeTheAnswerToTheMessage() {
        var stage = Stage()
        stage.start(.message("hello"))
        stage.give(
            .event(Fixture.event(1, .runStarted, "hello", by: Fixture.alice)),
            .event(Fixture.event(2, .messageDelta, "hi")))
        stage.accept(turn: 1, firstSeq: 1)
        stage.give(.event(Fixture.event(3, .runCompleted, ms: 800)))
        #expect(
            stage.terminal.text
                == "You > hello\n\nAgent > hi\n\nCompleted in 0.8s\n\nYou >")
    }

    @Test(arguments: ["exit\r", "EXIT\r", " Exit \r", "\u{4}", "half\u{3}"])
    func waysOut(keys: String) {
        var stage = Stage()
        stage.start(.prompt)
        stage.type(keys)
        #expect(stage.effects.last == .leave(.left))
        #expect(!stage.conversation.isUsed)
        #expect(!stage.terminal.pasteMode)
        stage.type("more\r")
        #expect(stage.effects.count == 2, "nothing happens after leaving")
    }

    @Test func anEmptyLinePromptsAgain() {
        var stage = Stage()
        stage.start(.prompt)
        stage.type("\r   \r")
        #expect(stage.terminal.text == "You >\nYou >\nYou >")
        #expect(stage.effects == [.followEvents(after: 0)])
    }

    @Test func aPasteOfSeveralLinesIsOneMessage() {
        var stage = Stage()
        stage.start(.prompt)
        stage.type("\u{1B}[200~one\rtwo\rthree\r\u{1B}[201~\r")
        #expect(stage.effects.last == .send("one\ntwo\nthree"))
    }

    @Test func whatIsTypedDuringAnAnswerWaits() {
        var stage = Stage()
        stage.start(.message("first"))
        stage.accept(turn: 1, firstSeq: 1)
        stage.type("second\rthi")
        stage.give(.event(Fixture.event(1, .runStarted, "first", by: Fixture.alice)))
        stage.give(.event(Fixture.event(2, .runCompleted, ms: 100)))
        #expect(stage.effects.last == .send("second"))
        stage.accept(turn: 2, firstSeq: 3)
        stage.give(.event(Fixture.event(4, .runCompleted, turn: 2, ms: 100)))
        #expect(stage.terminal.text.hasSuffix("You > thi"))
    }

    @Test func controlCCancelsThenLeaves() {
        var stage = Stage()
        stage.start(.message("x"))
        stage.accept(turn: 1, firstSeq: 1)
        stage.give(.event(Fixture.event(1, .messageDelta, "part")), .interrupt)
        #expect(stage.effects.last == .cancel)
        var second = stage
        second.give(.interrupt)
        #expect(second.effects.last == .leave(.atOnce))
        stage.give(.event(Fixture.event(2, .runCancelled)))
        #expect(stage.terminal.text.contains("Agent > part\nCancelling"))
        #expect(stage.terminal.text.hasSuffix("Cancelled.\n\nYou >"))
        stage.give(.interrupt)
        #expect(stage.effects.last == .leave(.left))
    }

    @Test func controlCBeforeTheMessageIsAccepted() {
        var stage = Stage()
        stage.start(.message("x"))
        stage.give(.interrupt)
        #expect(!stage.effects.contains(.cancel))
        stage.accept(turn: 1, firstSeq: 1)
        #expect(stage.effects.last == .cancel)
        stage.give(.cancelFailed(CLIError("The supervisor is away")), .interrupt)
        #expect(stage.effects.filter { $0 == .cancel }.count == 2)
    }

    @Test func controlDDuringAnAnswerNeverCancels() {
        var stage = Stage()
        stage.start(.message("x"))
        stage.accept(turn: 1, firstSeq: 1)
        stage.type("\u{4}")
        #expect(stage.effects.last == .leave(.left))
        #expect(!stage.effects.contains(.cancel))
    }

    @Test func aFailedTurnPromptsAgain() {
        var stage = Stage()
        stage.start(.message("x"))
        stage.accept(turn: 1, firstSeq: 1)
        var failed = Fixture.event(2, .runFailed)
        failed.error = WireEventError(code: "agent_crashed", message: "The agent exited with 3")
        stage.give(.event(Fixture.event(1, .messageDelta, "part")), .event(failed))
        #expect(
            stage.terminal.text
                == "You > x\nAgent > part\n\nError: The agent exited with 3\n\nYou >")
    }

    @Test func aRefusedMessageComesBack() {
        var stage = Stage()
        stage.start(.prompt)
        stage.type("my message\r")
        stage.give(
            .sent(.failure(CLIError("Session 'a1b2c3d4e5f6' is processing a message"))))
        #expect(
            stage.terminal.text == """
                You > my message
                Error: Session 'a1b2c3d4e5f6' is processing a message

                You > my message
                """)
    }

    @Test func endingForGood() {
        var stage = Stage()
        stage.start(.prompt)
        stage.type("/end\r")
        #expect(stage.effects.last == .end)
        var refused = stage
        refused.give(.ended(.failure(CLIError("Only the creator may end it"))))
        #expect(refused.terminal.text.hasSuffix("Error: Only the creator may end it\n\nYou >"))
        stage.give(.event(Fixture.event(nil, .sessionEnded, turn: nil)))
        stage.give(.ended(.success(Fixture.session(status: .ended))))
        #expect(stage.effects.last == .leave(.ended))
    }

    @Test func theSessionTimesOutMeanwhile() {
        var stage = answered()
        stage.type("half")
        var over = Fixture.event(nil, .sessionEnded, turn: nil)
        over.status = .timeout
        over.reason = "idle_timeout"
        stage.give(.event(over))
        #expect(stage.effects.last == .leave(.over(.timeout, reason: "idle_timeout")))
    }

    @Test func attachingReplaysTheTurn() {
        let turn = WireTurn(number: 3, firstSeq: 10, user: Fixture.bob)
        let session = Fixture.session(status: .active, messages: 5, lastSeq: 14, turn: turn)
        var stage = Stage(session)
        stage.start(.attach(turn))
        #expect(stage.effects == [.followEvents(after: 9)])
        stage.give(
            .event(Fixture.event(10, .runStarted, turn: 3, "from bob", by: Fixture.bob)),
            .event(Fixture.event(11, .messageDelta, turn: 3, "answer")),
            .event(Fixture.event(12, .runCompleted, turn: 3, ms: 90_000)))
        #expect(
            stage.terminal.text
                == "bob > from bob\n\nAgent > answer\n\nCompleted in 1m 30s\n\nYou >")
    }

    @Test func somebodyElsesTurnIsShownAboveThePrompt() {
        var stage = answered()
        stage.type("half")
        stage.give(
            .event(Fixture.event(5, .runStarted, turn: 2, "from bob", by: Fixture.bob)),
            .event(Fixture.event(6, .messageDelta, turn: 2, "first line\nsecond ")))
        #expect(
            stage.terminal.text.hasSuffix(
                """
                bob > from bob

                Agent > first line
                second

                You > half
                """))
        stage.type(" more")
        stage.give(.event(Fixture.event(7, .messageDelta, turn: 2, "half")))
        #expect(stage.terminal.text.hasSuffix("second half\n\nYou > half more"))
        stage.give(.event(Fixture.event(8, .runCompleted, turn: 2, ms: 500)))
        #expect(
            stage.terminal.text.hasSuffix(
                """
                Agent > first line
                second half

                Completed in 0.5s

                You > half more
                """))
    }

    @Test func sendingDuringSomebodyElsesTurn() {
        var stage = answered()
        stage.give(
            .event(Fixture.event(5, .runStarted, turn: 2, "from bob", by: Fixture.bob)),
            .event(Fixture.event(6, .messageDelta, turn: 2, "some")))
        stage.type("mine\r")
        stage.give(.event(Fixture.event(7, .messageDelta, turn: 2, "thing")))
        stage.give(.sent(.failure(CLIError("Session 'x' is processing a message"))))
        #expect(
            stage.terminal.text.hasSuffix(
                """
                Error: Session 'x' is processing a message

                Agent > something

                You > mine
                """))
        stage.type("\r")
        stage.give(.event(Fixture.event(8, .runCompleted, turn: 2, ms: 100)))
        stage.accept(turn: 3, firstSeq: 9)
        stage.give(
            .event(Fixture.event(9, .runStarted, turn: 3, "mine", by: Fixture.alice)),
            .event(Fixture.event(10, .runCompleted, turn: 3, ms: 100)))
        #expect(
            stage.terminal.text.hasSuffix(
                """
                Agent > something

                Completed in 0.1s

                You > mine

                Completed in 0.1s

                You >
                """))
    }

    @Test func aLongUnfinishedLineDoesNotGrowWithoutEnd() {
        var stage = Stage(columns: 20, rows: 6)
        stage.start(.prompt)
        stage.give(.event(Fixture.event(1, .runStarted, "q", by: Fixture.bob)))
        for seq in 2..<60 {
            stage.give(.event(Fixture.event(Int64(seq), .messageDelta, "word ")))
            #expect(CellWidth.of(stage.conversation.live?.tail ?? "") <= 80)
        }
        #expect(stage.terminal.text.hasSuffix("You >"))
        let words = stage.terminal.text.split(whereSeparator: \.isWhitespace).filter {
            $0 == "word"
        }
        #expect(words.count >= 50, "rows may break a word")
    }

    @Test func aLostStreamIsFollowedAgainWithTheNextMessage() {
        var stage = answered()
        stage.give(.streamFailed(CLIError("The supervisor did not come back")))
        #expect(stage.terminal.text.hasSuffix("did not come back\nYou >"))
        stage.type("again\r")
        #expect(
            stage.effects.suffix(3) == [
                .remember("again"), .followEvents(after: 4), .send("again"),
            ])
        stage.accept(turn: 2, firstSeq: 5)
        stage.give(.streamFailed(CLIError("gap")))
        #expect(stage.effects.last == .leave(.failed(CLIError("gap"))))
    }

    @Test func signalsLeaveWithoutCancelling() {
        for input in [Conversation.Input.hangup, .terminate(15)] {
            var stage = Stage()
            stage.start(.message("x"))
            stage.accept(turn: 1, firstSeq: 1)
            stage.give(input)
            #expect(!stage.effects.contains(.cancel))
            guard case .leave = stage.effects.last else {
                Issue.record("not left")
                continue
            }
        }
    }

    @Test func comingBackRedrawsThePrompt() {
        var stage = Stage(columns: 30)
        stage.start(.prompt)
        stage.type("some text")
        stage.terminal.write("\r\n[1]+  Stopped\r\n")
        stage.give(.continued(.init(columns: 30, rows: 24)))
        #expect(stage.terminal.text.hasSuffix("Stopped\nYou > some text"))
        #expect(stage.terminal.pasteMode)
    }

    @Test func hostileNamesAndMessagesAreHarmless() {
        var stage = Stage()
        stage.start(.prompt)
        let evil = WireUser(uid: 9, name: "\u{1B}[2Jeve\u{202E}\n")
        stage.give(
            .event(Fixture.event(1, .runStarted, "\u{1B}]0;x\u{07}hi", by: evil)),
            .event(Fixture.event(2, .messageDelta, "\u{1B}[31")),
            .event(Fixture.event(3, .messageDelta, "mred\u{1B}[0m\n")))
        #expect(
            stage.terminal.text
                == "eve > \u{241B}]0;x\u{2407}hi\n\nAgent > red\n\nYou >")
    }
}
