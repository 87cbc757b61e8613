import API
import AgentProtocols
import Sandbox
import Settings
import Testing

/// Reads like a transcript: what comes in, what must follow.
struct Transcript {
    var machine: AgentMachine

    init(_ yaml: String, maximumLine: Int = 4096) throws {
        machine = AgentMachine(
            try AgentDefinition(yaml: "name: a\n" + yaml, file: "t"), maximumLine: maximumLine)
    }

    mutating func callAsFunction(_ input: AgentInput, now: UInt64 = 0) -> [AgentEffect] {
        machine.handle(input, now: now)
    }

    mutating func out(_ text: String, generation: UInt64 = 1, now: UInt64 = 0) -> [AgentEffect] {
        machine.handle(.record(.stdout(Array(text.utf8)), generation: generation), now: now)
    }

    mutating func exit(_ status: Int32, signal: Int32 = 0, generation: UInt64 = 1) -> [AgentEffect]
    {
        machine.handle(
            .record(.exited(AgentExit(status: status, signal: signal)), generation: generation),
            now: 0)
    }

    mutating func started(_ generation: UInt64 = 1) -> [AgentEffect] {
        machine.handle(.record(.started(pid: 2), generation: generation), now: 0)
    }
}

func delta(_ text: String) -> AgentEffect {
    var event = WireEvent(type: .messageDelta)
    event.content = text
    return .emit(event)
}

func failed(_ code: String, in effects: [AgentEffect]) -> Bool {
    effects.contains {
        if case .finish(.failed(let error)) = $0 { return error.code == code }
        return false
    }
}

@Suite("Native agents")
struct NativeTests {
    static func message(turn: Int = 1) -> AgentEffect {
        .write(Array("{\"content\":\"hi\",\"turn\":\(turn),\"type\":\"message\"}\n".utf8))
    }

    func running() throws -> Transcript {
        var t = try Transcript("command: [x]")
        _ = t(.message("hi"))
        _ = t.started()
        _ = t.out("{\"type\":\"ready\"}\n")
        return t
    }

    @Test func aTurn() throws {
        var t = try Transcript("command: [x, y]\nstart_timeout: 7")
        #expect(
            t(.message("hi")) == [
                .start(generation: 1, arguments: ["x", "y"]), .setTimer(.start, seconds: 7),
            ])
        #expect(t.started() == [])
        #expect(t.out("{\"type\":\"ready\"}\n") == [.clearTimer, Self.message()])
        #expect(t.out("{\"type\":\"text\",\"con") == [])
        #expect(
            t.out("tent\":\"he\"}\n{\"type\":\"text\",\"content\":\"y\"}\n") == [
                delta("he"), delta("y"),
            ])
        #expect(t.out("{\"type\":\"turn_done\"}\n") == [.clearTimer, .finish(.completed)])
        #expect(
            t(.message("hi")) == [.clearTimer, Self.message(turn: 2)],
            "the same process takes the next one")
    }

    @Test func toolsAreTimed() throws {
        var t = try running()
        _ = t.out(
            "{\"type\":\"tool_start\",\"tool\":\"ls\",\"input\":{\"a\":[1,null]}}\n", now: 100)
        let effects = t.out("{\"type\":\"tool_end\",\"tool\":\"ls\",\"output\":\"x\"}\n", now: 350)
        var end = WireEvent(type: .toolEnd)
        end.tool = "ls"
        end.output = .string("x")
        end.success = true
        end.durationMs = 250
        #expect(effects == [.emit(end)])
    }

    @Test func garbageIsLoggedAndNothingElse() throws {
        var t = try running()
        for line in [
            "hello", "{}", "[1]", "{\"type\":5}", "\u{0}\u{1b}[2J", "{\"type\":\"text\"", "null",
        ] {
            let effects = t.out(line + "\n")
            #expect(effects.allSatisfy { if case .note = $0 { true } else { false } }, "\(line)")
        }
        #expect(t.out("{\"type\":\"surprise\",\"x\":1}\n") == [], "unknown types are ignored")
        #expect(t.out("{\"type\":\"turn_done\"}\n") == [.clearTimer, .finish(.completed)])
    }

    @Test func aLineOverTheLimitIsDroppedWhole() throws {
        var t = try running()
        for _ in 0..<1000 { _ = t.out(String(repeating: "x", count: 100)) }
        #expect(t.out("yyy\n{\"type\":\"text\",\"content\":\"ok\"}\n") == [delta("ok")])
    }

    @Test func invalidUTF8IsNoReasonToFail() throws {
        var t = try running()
        let effects = t(.record(.stdout([0xff, 0xfe, 0x0a]), generation: 1))
        #expect(effects.count == 1)
        #expect(t.machine.isInTurn)
    }

    @Test func errorEndsTheTurnAndItsTurnDoneBelongsToIt() throws {
        var t = try running()
        #expect(failed("agent_error", in: t.out("{\"type\":\"error\",\"message\":\"no model\"}\n")))
        #expect(t.out("{\"type\":\"turn_done\"}\n") == [])
        _ = t(.message("hi"))
        #expect(t.out("{\"type\":\"turn_done\"}\n") == [.clearTimer, .finish(.completed)])
    }

    @Test func deathInATurnFailsItWithTheTailOfStderr() throws {
        var t = try running()
        _ = t(.record(.stderr(Array("Traceback: boom\n".utf8)), generation: 1))
        let effects = t.exit(3)
        guard case .finish(.failed(let error)) = effects.last else {
            Issue.record("no end"); return
        }
        #expect(error.code == "agent_exited")
        #expect(error.message.contains("status 3") && error.message.hasSuffix("Traceback: boom"))
        #expect(
            t(.message("hi")).first == .start(generation: 2, arguments: ["x"]),
            "the next message starts the agent again")
    }

    @Test func cancelEscalates() throws {
        var t = try running()
        #expect(
            t(.cancel) == [
                .write(Array("{\"turn\":1,\"type\":\"cancel\"}\n".utf8)),
                .setTimer(.cancel, seconds: 5),
            ])
        #expect(t(.cancel) == [], "a second cancel is no news")
        #expect(
            t(.timer(.cancel)) == [
                .signal(2, .group, generation: 1), .setTimer(.cancel, seconds: 5),
            ])
        #expect(t(.timer(.cancel)) == [.signal(9, .all, generation: 1)])
        #expect(t.exit(-1, signal: 9) == [.clearTimer, .finish(.cancelled)])
    }

    /// A cancel that arrives after the turn is answered as well; that is not the next turn's end.
    @Test func aLateAnswerToACancelEndsNothing() throws {
        var t = try running()
        _ = t(.cancel)
        #expect(t.out("{\"type\":\"turn_done\"}\n") == [.clearTimer, .finish(.cancelled)])
        #expect(t(.message("hi")) == [.clearTimer, Self.message(turn: 2)])
        let late = t.out("{\"type\":\"turn_done\",\"turn\":1}\n")
        #expect(late == [.note("turn_done of turn 1")])
        #expect(
            t.out("{\"type\":\"turn_done\",\"turn\":2}\n") == [.clearTimer, .finish(.completed)])
    }

    /// The unfinished line of a killed process is no answer to the message that waits.
    @Test func aKilledProcessSaysNothingToTheNextTurn() throws {
        var t = try running()
        _ = t(.abort(.init(code: "x", message: "x")))
        #expect(t(.message("next")) == [])
        _ = t.out("{\"type\":\"text\",\"content\":\"old\"}")
        let effects = t.exit(-1, signal: 9)
        #expect(effects.first == .start(generation: 2, arguments: ["x"]))
    }

    @Test func outputBetweenTurnsIsBounded() throws {
        var t = try running()
        _ = t.out("{\"type\":\"turn_done\"}\n")
        var bytes = 0
        let line = "{\"type\":\"text\",\"content\":\"\(String(repeating: "x", count: 4000))\"}\n"
        for _ in 0..<1000 {
            for case .emit(let event) in t.out(line) { bytes += event.content?.utf8.count ?? 0 }
        }
        #expect((900_000...1_100_000).contains(bytes))
    }

    @Test func deepJSONIsDropped() throws {
        var t = try running()
        let deep = String(repeating: "[", count: 500) + String(repeating: "]", count: 500)
        let effects = t.out("{\"type\":\"tool_start\",\"tool\":\"t\",\"input\":\(deep)}\n")
        #expect(effects == [.note("dropped a line that nests deeper than 64")])
        let text = t.out("{\"type\":\"text\",\"content\":\"\(deep)\"}\n")
        #expect(text == [delta(deep)], "brackets in a string are text")
    }

    @Test func cancelThatTheAgentTakes() throws {
        var t = try running()
        _ = t(.cancel)
        #expect(t.out("{\"type\":\"text\",\"content\":\"ok\"}\n") == [delta("ok")])
        #expect(t.out("{\"type\":\"turn_done\"}\n") == [.clearTimer, .finish(.cancelled)])
    }

    @Test func anAgentThatIsNeverReady() throws {
        var t = try Transcript("command: [x]")
        _ = t(.message("hi"))
        _ = t.started()
        let effects = t(.timer(.start))
        #expect(failed("agent_start_timeout", in: effects))
        #expect(effects.last == .signal(9, .all, generation: 1))
        #expect(t(.message("again")) == [], "waits for the old process to be gone")
        #expect(t.exit(-1, signal: 9).contains(.start(generation: 2, arguments: ["x"])))
    }

    @Test func startFailureNamesStageAndErrno() throws {
        var t = try Transcript("command: [x]")
        _ = t(.message("hi"))
        let effects = t(
            .record(.startFailed(stage: "exec", errno: 2, detail: "x"), generation: 1))
        guard case .finish(.failed(let error)) = effects.last else {
            Issue.record("no end"); return
        }
        #expect(error.code == "agent_start_failed")
        #expect(error.message.contains("exec: x: No such file or directory (errno 2)"))
    }

    @Test func outputAfterTheTurnIsBackground() throws {
        var t = try running()
        _ = t.out("{\"type\":\"turn_done\"}\n")
        var event = WireEvent(type: .backgroundOutput)
        event.content = "late"
        #expect(t.out("{\"type\":\"text\",\"content\":\"late\"}\n") == [.emit(event)])
    }

    @Test func lossOfTheSandboxFailsTheTurn() throws {
        var t = try running()
        #expect(
            failed("sandbox_lost", in: t(.sandboxLost(.init(code: "sandbox_lost", message: "")))))
        #expect(t(.message("hi")).first == .start(generation: 2, arguments: ["x"]))
    }

    @Test func resumedRepeatsWhatMayHaveBeenLost() throws {
        var t = try Transcript("command: [x]")
        _ = t(.message("hi"))
        #expect(
            t.machine.resumed() == [
                .start(generation: 1, arguments: ["x"]), .setTimer(.start, seconds: 60),
            ])
        var running = try running()
        #expect(running.machine.resumed() == [])
        _ = running(.cancel)
        _ = running(.timer(.cancel))
        #expect(
            running.machine.resumed() == [
                .signal(2, .group, generation: 1), .setTimer(.cancel, seconds: 5),
            ])
    }
}

@Suite("Exec agents")
struct ExecTests {
    @Test func messageAsArgument() throws {
        var t = try Transcript("command: [run, \"--say={message}\"]\nprotocol: exec")
        #expect(
            t(.message("a b")).first == .start(generation: 1, arguments: ["run", "--say=a b"]))
        #expect(t.started() == [.clearTimer, .closeInput])
        #expect(t.out("hi") == [delta("hi")])
        #expect(t.exit(0) == [.clearTimer, .finish(.completed)])
    }

    @Test func messageOnStandardInputAndContinue() throws {
        var t = try Transcript("command: [run]\nprotocol: exec\ncontinue: [run, --again]")
        _ = t(.message("one"))
        #expect(t.started() == [.clearTimer, .write(Array("one".utf8)), .closeInput])
        _ = t.exit(0)
        #expect(t(.message("two")).first == .start(generation: 2, arguments: ["run", "--again"]))
    }

    @Test func failureHasTheTailOfStderr() throws {
        var t = try Transcript("command: [run]\nprotocol: exec")
        _ = t(.message("x"))
        _ = t.started()
        _ = t(
            .record(
                .stderr(Array(repeating: 0x61, count: 100_000) + Array("END\n".utf8)), generation: 1
            ))
        let effects = t.exit(7)
        guard case .finish(.failed(let error)) = effects.last else {
            Issue.record("no end"); return
        }
        #expect(error.message.hasSuffix("END"))
        #expect(error.message.utf8.count < 5000)
    }

    @Test func charactersCutByAChunkAreJoined() throws {
        var t = try Transcript("command: [run]\nprotocol: exec")
        _ = t(.message("x"))
        _ = t.started()
        var text = ""
        for byte in Array("aé€😀z".utf8) {
            for effect in t(.record(.stdout([byte]), generation: 1)) {
                if case .emit(let event) = effect { text += event.content ?? "" }
            }
        }
        #expect(text == "aé€😀z")
    }

    @Test(
        arguments: [[0xff], [0xc3], [0xe2, 0x82], [0xf0, 0x9f, 0x98], [0xed, 0xa0, 0x80]]
            as [[UInt8]])
    func invalidBytesBecomeReplacementCharacters(_ bytes: [UInt8]) throws {
        var t = try Transcript("command: [run]\nprotocol: exec")
        _ = t(.message("x"))
        _ = t.started()
        var effects = t(.record(.stdout(bytes), generation: 1))
        effects += t.exit(0)
        let text = effects.compactMap { effect -> String? in
            if case .emit(let event) = effect { return event.content }
            return nil
        }.joined()
        #expect(text.contains("\u{fffd}"))
    }

    /// A process that was killed before it was seen to start gets no message.
    @Test func aKilledProcessThatStartsLate() throws {
        var t = try Transcript("command: [run]\nprotocol: exec")
        _ = t(.message("x"))
        _ = t(.cancel)
        #expect(t(.message("y")) == [])
        #expect(t.started() == [])
        #expect(t.exit(-1, signal: 9).first == .start(generation: 2, arguments: ["run"]))
        #expect(t.started(2) == [.clearTimer, .write(Array("y".utf8)), .closeInput])
    }

    @Test func messagesThatBecomeArgumentsAreBounded() throws {
        let argument = try Transcript("command: [run, '--say={message}']\nprotocol: exec")
        #expect(argument.machine.maximumMessage == 98304 - 15)
        let input = try Transcript("command: [run]\nprotocol: exec")
        #expect(input.machine.maximumMessage == nil)
        let native = try Transcript("command: ['{message}']")
        #expect(native.machine.maximumMessage == nil)
    }

    @Test func cancelInterruptsThenKills() throws {
        var t = try Transcript("command: [run]\nprotocol: exec\ncancel_grace: 1")
        _ = t(.message("x"))
        _ = t.started()
        #expect(t(.cancel) == [.signal(2, .group, generation: 1), .setTimer(.cancel, seconds: 1)])
        #expect(t(.timer(.cancel)) == [.signal(9, .all, generation: 1)])
        #expect(t.exit(-1, signal: 9) == [.clearTimer, .finish(.cancelled)])
    }

    @Test func outputOfAnOlderProcessIsBackground() throws {
        var t = try Transcript("command: [run]\nprotocol: exec")
        _ = t(.message("x"))
        _ = t.started()
        _ = t.exit(0)
        _ = t(.message("y"))
        _ = t.started(2)
        let effects = t.out("late", generation: 1)
        guard case .emit(let event) = effects.first else { Issue.record("nothing"); return }
        #expect(event.type == .backgroundOutput)
    }
}
