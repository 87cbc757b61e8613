internal import API

/// Turns the events of turns into text for standard output and standard error.
///
/// It keeps track of what stands on the terminal's current line, so that notes start on their own.
struct TurnPrinter: Sendable {
    /// Text for one of the two streams.
    struct Piece: Sendable, Equatable {
        var stream: Console.Stream
        var text: String
    }

    enum Style: Sendable, Equatable {
        /// `Agent > ` before the answer, blank lines around it; trailing newlines are dropped.
        case conversation
        /// Standard output is the agent's text and nothing else, made harmless on a terminal only.
        case answer(isTerminal: Bool)
    }

    private let style: Style
    private let palette: Palette
    private var sanitizer = TextSanitizer()
    /// Something without a newline stands on the current line of standard output.
    private var lineIsOpen = false
    private var hasAnswer = false
    private var hasOutput = false
    private var heldNewlines = 0

    /// - Parameter palette: for standard error.
    init(style: Style, palette: Palette) {
        self.style = style
        self.palette = palette
    }

    /// What to show for an event of a turn.
    ///
    /// - Parameter author: shown before the message of `run.started`, for somebody else's turn and
    ///   for one that is replayed; nil where the message stands on the screen already.
    mutating func handle(_ event: WireEvent, author: String? = nil) -> [Piece] {
        switch event.type {
        case .runStarted: started(event, author: author)
        case .messageDelta: delta(event.content ?? "")
        case .status, .backgroundOutput: note(palette.dim(Self.oneLine(event.content ?? "")))
        case .networkDenied: note(palette.dim(Self.oneLine(event.content ?? "")))
        case .networkBudget: note(palette.yellow(Self.oneLine(event.content ?? "")))
        case .toolStart: note(palette.dim(Self.toolStart(event)))
        case .toolEnd: note(palette.dim(Self.toolEnd(event)))
        case .runCompleted:
            ended("Completed in \(TimeText.duration(milliseconds: event.durationMs ?? 0))")
        case .runFailed:
            ended(palette.red("Error:") + " " + Self.failure(event))
        case .runCancelled: ended("Cancelled.")
        default: []
        }
    }

    /// The message of `run.failed`, harmless.
    static func failure(_ event: WireEvent) -> String {
        TextSanitizer.clean(event.error?.message ?? "The turn failed")
    }

    /// Ends the current line, for a message of another kind.
    mutating func close() -> [Piece] { closeLine() }

    private mutating func started(_ event: WireEvent, author: String?) -> [Piece] {
        hasAnswer = false
        hasOutput = false
        sanitizer = TextSanitizer()
        guard style == .conversation else { return [] }
        guard let author else { return [Piece(stream: .err, text: "\n")] }
        let message = TextSanitizer.clean(event.content ?? "")
        return [Piece(stream: .err, text: "\(author) > \(message)\n\n")]
    }

    private mutating func delta(_ content: String) -> [Piece] {
        if case .answer(isTerminal: false) = style { return content.isEmpty ? [] : raw(content) }
        let text = sanitizer.feed(content)
        guard !text.isEmpty else { return [] }
        guard style == .conversation else { return raw(text) }
        return held(text)
    }

    private mutating func raw(_ text: String) -> [Piece] {
        lineIsOpen = text.last.map { !$0.isNewline } ?? lineIsOpen
        hasOutput = true
        return [Piece(stream: .out, text: text)]
    }

    /// Text of a conversation: newlines are shown once something follows them.
    private mutating func held(_ text: String) -> [Piece] {
        let body = text.trimmingSuffix { $0 == "\n" }
        let trailing = text.count - body.count
        guard !body.isEmpty else {
            heldNewlines += trailing
            return []
        }
        var shown = body[...]
        if lineIsOpen {
            shown = Substring(String(repeating: "\n", count: heldNewlines)) + body
        } else {
            shown = body.drop { $0 == "\n" }
        }
        if !hasAnswer { shown = "Agent > " + shown }
        hasAnswer = true
        hasOutput = true
        lineIsOpen = true
        heldNewlines = trailing
        return [Piece(stream: .out, text: String(shown))]
    }

    private mutating func note(_ text: String) -> [Piece] {
        hasOutput = true
        return closeLine() + [Piece(stream: .err, text: text + "\n")]
    }

    private mutating func ended(_ text: String) -> [Piece] {
        let rest = sanitizer.finish()
        var pieces: [Piece] = []
        switch style {
        case .conversation:
            if !rest.isEmpty { pieces += held(rest) }
            pieces += closeLine()
            let space = hasOutput ? "\n" : ""
            pieces.append(Piece(stream: .err, text: space + text + "\n\n"))
        case .answer(let isTerminal):
            if isTerminal, !rest.isEmpty { pieces += raw(rest) }
            pieces += closeLine()
            let space = isTerminal && hasOutput ? "\n" : ""
            pieces.append(Piece(stream: .err, text: space + text + "\n"))
        }
        return pieces
    }

    /// Ends the open line. Where standard output must be exact, standard error ends it on the
    /// screen.
    private mutating func closeLine() -> [Piece] {
        defer {
            lineIsOpen = false
            heldNewlines = 0
        }
        guard lineIsOpen else { return [] }
        switch style {
        case .conversation: return [Piece(stream: .out, text: "\n")]
        case .answer(isTerminal: true): return [Piece(stream: .err, text: "\n")]
        case .answer(isTerminal: false): return []
        }
    }

    private static let previewCells = 60

    private static func oneLine(_ text: String) -> String {
        CellText.cut(CellText.clean(text), to: 200)
    }

    private static func toolStart(_ event: WireEvent) -> String {
        let name = CellText.cut(CellText.clean(event.tool ?? "tool"), to: previewCells)
        guard let input = event.input, input != .null else { return "[\(name)]" }
        return "[\(name)] " + CellText.cut(CellText.clean(input.compactText), to: previewCells)
    }

    private static func toolEnd(_ event: WireEvent) -> String {
        let name = CellText.cut(CellText.clean(event.tool ?? "tool"), to: previewCells)
        let time = TimeText.duration(milliseconds: event.durationMs ?? 0)
        return event.success == false ? "[\(name)] failed (\(time))" : "[\(name)] done (\(time))"
    }
}
