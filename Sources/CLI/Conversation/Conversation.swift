internal import API

/// A conversation on a terminal: a pure value that takes what happens and returns what to do.
struct Conversation: Sendable {
    /// What happens.
    enum Input: Sendable {
        case keys([UInt8])
        /// Ctrl+C.
        case interrupt
        case resized(PromptScreen.Size)
        /// The process was stopped and goes on.
        case continued(PromptScreen.Size)
        case event(WireEvent)
        case sent(Result<WireAccepted, CLIError>)
        case cancelFailed(CLIError)
        case ended(Result<WireSession, CLIError>)
        case streamFailed(CLIError)
        /// The terminal is gone.
        case hangup
        /// SIGTERM or SIGHUP.
        case terminate(Int32)
    }

    /// What to do, in this order.
    enum Effect: Sendable, Equatable {
        case write(TurnPrinter.Piece)
        /// Text and escape sequences for the terminal.
        case draw(String)
        /// Send a message.
        case send(String)
        case cancel
        case end
        /// Keep a line in the history.
        case remember(String)
        /// Follow the events after this number again.
        case followEvents(after: Int64)
        case leave(Departure)
    }

    /// Why the conversation is over.
    enum Departure: Sendable, Equatable {
        /// `exit`, Ctrl+D or Ctrl+C at the prompt.
        case left
        /// A second Ctrl+C.
        case atOnce
        /// `/end`.
        case ended
        /// The session ended or timed out meanwhile.
        case over(SessionStatus?, reason: String?)
        case failed(CLIError)
        case hangup
        case terminated(Int32)
    }

    /// What the conversation begins with.
    enum Start: Sendable {
        case prompt
        case message(String)
        /// A turn that is running already.
        case attach(WireTurn)
    }

    enum Phase: Sendable {
        case prompting
        /// Waits for the answer to a message; events are held, for they may belong to it.
        case sending(Submission)
        case following(turn: Int, interrupts: Int, showsMessage: Bool)
        case ending
        case over
    }

    struct Submission: Sendable {
        var message: String
        /// The message stands on the screen already.
        var isShown: Bool
        var interrupts = 0
        var held: [WireEvent] = []
    }

    /// A turn of somebody else, shown above the prompt.
    struct LiveTurn: Sendable {
        var printer: TurnPrinter
        /// The unfinished last line.
        var tail = ""
    }

    static let prompt = "You > "
    private static let keyLimit = 1 << 16

    var phase = Phase.over
    var editor: LineEditor
    var screen: PromptScreen
    var live: LiveTurn?
    var printer: TurnPrinter
    let palette: Palette
    let uid: UInt32
    private var keys: KeyDecoder
    /// Typed while there was no prompt.
    private var pendingKeys: [Key] = []
    /// Number of the last event seen.
    private(set) var lastSeq: Int64
    /// The session has got a message.
    private(set) var isUsed: Bool
    private var streamIsDown = false

    /// - Parameters:
    ///   - uid: the user at this terminal.
    ///   - palette: for standard error.
    init(
        session: WireSession, uid: UInt32, history: [String], size: PromptScreen.Size,
        palette: Palette
    ) {
        editor = LineEditor(history: history, limit: APILimits.messageBytes)
        screen = PromptScreen(size: size)
        printer = TurnPrinter(style: .conversation, palette: palette)
        keys = KeyDecoder(pasteLimit: APILimits.messageBytes)
        self.palette = palette
        self.uid = uid
        lastSeq = session.turn.map { $0.firstSeq - 1 } ?? session.lastSeq
        isUsed = session.messages > 0 || session.lastSeq > 0
    }

    /// Begins; to be called once.
    mutating func start(_ start: Start) -> [Effect] {
        let follow = Effect.followEvents(after: lastSeq)
        switch start {
        case .prompt:
            return [follow] + openPrompt()
        case .message(let message):
            let shown = TextSanitizer.clean(message)
            phase = .sending(Submission(message: message, isShown: true))
            return [follow, .draw(Self.prompt + shown + "\r\n"), .send(message)]
        case .attach(let turn):
            phase = .following(turn: turn.number, interrupts: 0, showsMessage: true)
            return [follow]
        }
    }

    mutating func handle(_ input: Input) -> [Effect] {
        if case .over = phase { return [] }
        switch input {
        case .keys(let bytes): return typed(keys.feed(bytes))
        case .interrupt: return interrupted()
        case .resized(let size): return resized(size)
        case .continued(let size):
            screen.forget()
            return resized(size)
        case .event(let event): return received(event)
        case .sent(let result): return sent(result)
        case .cancelFailed(let error): return cancelFailed(error)
        case .ended(.success): return leave(.ended)
        case .ended(.failure(let error)):
            guard case .ending = phase else { return [] }
            return report(error) + openPrompt()
        case .streamFailed(let error): return streamFailed(error)
        case .hangup: return leave(.hangup)
        case .terminate(let signal): return leave(.terminated(signal))
        }
    }

    // MARK: Typing

    private mutating func typed(_ typed: [Key]) -> [Effect] {
        guard case .prompting = phase else {
            // Ctrl+D during an answer leaves; the turn goes on.
            if pendingKeys.isEmpty, typed.first == .endOfInput { return leave(.left) }
            if typed.contains(.interrupt) { return interrupted() }
            pendingKeys += typed.prefix(max(0, Self.keyLimit - pendingKeys.count))
            return []
        }
        pendingKeys += typed
        return takePendingKeys()
    }

    /// Handles typed keys as long as the prompt is there.
    private mutating func takePendingKeys() -> [Effect] {
        var effects: [Effect] = []
        var isChanged = false
        while case .prompting = phase, !pendingKeys.isEmpty {
            let key = pendingKeys.removeFirst()
            switch editor.handle(key) {
            case .edited:
                isChanged = true
            case .submitted(let text):
                isChanged = false
                effects += submit(text)
            case .endOfInput, .interrupted:
                effects += leave(.left)
            case .clearScreen:
                screen.forget()
                effects.append(.draw("\u{1B}[H\u{1B}[2J"))
                isChanged = true
            case .refused:
                effects += refused(key)
            }
        }
        if case .prompting = phase, isChanged { effects.append(drawPrompt()) }
        return effects
    }

    private mutating func refused(_ key: Key) -> [Effect] {
        switch key {
        case .paste(let text) where !text.isEmpty: break
        case .pasteTooLong: break
        default: return []
        }
        let error = CLIError(
            "The pasted text does not fit: a message may have \(APILimits.messageBytes) bytes")
        return showAbove(error.text(palette))
    }

    private mutating func submit(_ text: String) -> [Effect] {
        let message = String(text.trimmingSuffix(while: \.isNewline))
        let word = CellText.fold(message)
        guard !word.isEmpty else {
            let effects = leavePrompt()
            editor.clear()
            return effects + openPrompt()
        }
        switch word.lowercased() {
        case "exit":
            return leave(.left)
        case "/end":
            let effects = leavePrompt()
            editor.clear()
            phase = .ending
            return effects + [.end]
        default:
            return submit(message: message)
        }
    }

    private mutating func submit(message: String) -> [Effect] {
        var effects: [Effect] = []
        // While somebody else's answer runs above, the message is shown once it is accepted.
        let isShown = live == nil
        effects += isShown ? leavePrompt() : [.draw(screen.erase() + TerminalModes.pasteOff)]
        editor.remember(message)
        editor.clear()
        phase = .sending(Submission(message: message, isShown: isShown))
        effects.append(.remember(message))
        if streamIsDown {
            streamIsDown = false
            effects.append(.followEvents(after: lastSeq))
        }
        return effects + [.send(message)]
    }

    // MARK: Answers of the supervisor

    private mutating func sent(_ result: Result<WireAccepted, CLIError>) -> [Effect] {
        guard case .sending(let submission) = phase else { return [] }
        var effects: [Effect] = []
        var held = submission.held
        switch result {
        case .success(let accepted):
            isUsed = true
            // What came before this turn is the end of somebody else's.
            let earlier = submission.held.prefix { ($0.seq ?? 0) < accepted.firstSeq }
            held.removeFirst(earlier.count)
            for event in earlier {
                see(event)
                effects += showLive(event)
            }
            if !submission.isShown {
                effects += endLive()
                effects.append(
                    .draw(Self.prompt + TextSanitizer.clean(submission.message) + "\r\n"))
            }
            phase = .following(
                turn: accepted.turn, interrupts: submission.interrupts, showsMessage: false)
            if submission.interrupts > 0 { effects.append(.cancel) }
        case .failure(let error):
            effects += report(error)
            editor.setText(submission.message)
            effects += openPrompt()
        }
        for event in held { effects += received(event) }
        return effects
    }

    private mutating func cancelFailed(_ error: CLIError) -> [Effect] {
        guard case .following(let turn, _, let showsMessage) = phase else { return [] }
        phase = .following(turn: turn, interrupts: 0, showsMessage: showsMessage)
        return write(printer.close()) + report(error)
    }

    private mutating func streamFailed(_ error: CLIError) -> [Effect] {
        streamIsDown = true
        switch phase {
        case .following: return leave(.failed(error))
        case .prompting: return endLive() + showAbove(error.text(palette))
        case .sending, .ending: return [.followEvents(after: lastSeq)]
        case .over: return []
        }
    }

    private mutating func interrupted() -> [Effect] {
        switch phase {
        case .prompting:
            return leave(.left)
        case .sending(var submission):
            submission.interrupts += 1
            phase = .sending(submission)
            return submission.interrupts > 1 ? leave(.atOnce) : []
        case .following(let turn, let interrupts, let showsMessage):
            guard interrupts == 0 else { return leave(.atOnce) }
            phase = .following(turn: turn, interrupts: 1, showsMessage: showsMessage)
            let note = palette.dim("Cancelling… (Ctrl+C again leaves at once)")
            return write(printer.close()) + [.draw(note + "\r\n"), .cancel]
        case .ending:
            return leave(.atOnce)
        case .over:
            return []
        }
    }

    /// Notes the number of an event.
    mutating func see(_ event: WireEvent) {
        if let seq = event.seq { lastSeq = max(lastSeq, seq) }
        if event.type == .runStarted { isUsed = true }
    }

    // MARK: The prompt

    /// Shows the prompt and takes what was typed before.
    mutating func openPrompt() -> [Effect] {
        phase = .prompting
        return [.draw(TerminalModes.pasteOn), drawPrompt()] + takePendingKeys()
    }

    mutating func drawPrompt() -> Effect {
        .draw(screen.draw(above: live?.tail ?? "", prompt: Self.prompt, editor: editor))
    }

    /// Leaves the prompt on the screen with its whole text and goes below it.
    private mutating func leavePrompt() -> [Effect] {
        guard screen.isVisible else { return [.draw(TerminalModes.pasteOff)] }
        let drawn = drawPrompt()
        return [drawn, .draw(screen.leave() + TerminalModes.pasteOff)]
    }

    private mutating func resized(_ size: PromptScreen.Size) -> [Effect] {
        screen.size = size
        guard case .prompting = phase else { return [] }
        return [.draw(TerminalModes.pasteOn), drawPrompt()]
    }

    mutating func leave(_ departure: Departure) -> [Effect] {
        var effects: [Effect] = []
        switch phase {
        case .prompting: effects += leavePrompt()
        case .following: effects += write(printer.close())
        case .sending, .ending, .over: break
        }
        phase = .over
        return effects + [.leave(departure)]
    }

    func write(_ pieces: [TurnPrinter.Piece]) -> [Effect] { pieces.map { .write($0) } }

    private func report(_ error: CLIError) -> [Effect] {
        [.draw((error.text(palette) + "\n").replacing("\n", with: "\r\n"))]
    }
}
