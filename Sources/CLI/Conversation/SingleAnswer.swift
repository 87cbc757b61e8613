internal import API
internal import Client
internal import Foundation

/// One message, one answer, then back to the shell.
struct SingleAnswer: Sendable {
    let console: Console
    let client: APIClient
    let session: WireSession
    /// One event a line instead of text.
    let json: Bool

    /// Begins a turn, follows it to its end and prints it.
    ///
    /// The first Ctrl+C cancels the turn, as soon as there is one; the second leaves at once.
    ///
    /// - Throws: `CLIError` for a turn that failed or was cancelled.
    func follow(_ begin: () async throws -> (turn: Int, firstSeq: Int64)) async throws {
        let interrupts = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingOldest(1))
        let taken = Interrupts(interrupts.continuation)
        ProcessSignals.current?.setHandler { taken.receive($0) }
        defer { ProcessSignals.current?.setHandler(nil) }
        let (turn, firstSeq) = try await begin()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                for await _ in interrupts.stream { await cancel() }
            }
            defer { group.cancelAll() }
            try await print(turn: turn, firstSeq: firstSeq)
        }
    }

    private func print(turn: Int, firstSeq: Int64) async throws {
        let style = TurnPrinter.Style.answer(isTerminal: console.outIsTerminal)
        var printer = TurnPrinter(style: style, palette: console.errPalette)
        var last: WireEvent?
        var stream = EventStream(client: client, sessionID: session.id, after: firstSeq - 1)
        try await stream.follow { received in
            let event = received.event
            if json {
                try await console.out(JSONText.clean(received.json) + "\n")
            } else if event.turn == nil || event.turn == turn {
                // A failure is reported like that of any other command.
                let pieces = event.type == .runFailed ? printer.close() : printer.handle(event)
                for piece in pieces {
                    try await console.write(piece.text, to: piece.stream)
                }
            }
            guard event.type.isTerminal, event.turn == turn else { return .proceed }
            last = event
            return .stop
        }
        try conclude(last)
    }

    private func conclude(_ event: WireEvent?) throws(CLIError) {
        let resume = "superserve sessions resume \(session.shortId)"
        switch event?.type {
        case .runCompleted?:
            return
        case .runCancelled?:
            throw .cancelled
        case .runFailed?:
            throw CLIError(
                event?.error?.message ?? "The turn failed", hint: "Continue with: \(resume)")
        default:
            throw CLIError(
                "Session '\(session.shortId)' was ended during the turn",
                hint: "See: superserve sessions get \(session.shortId)")
        }
    }

    private func cancel() async {
        do {
            _ = try await client.cancel(session.id)
        } catch {
            await console.err(CLIError(error).text(console.errPalette))
        }
    }
}

/// Counts Ctrl+C on the signal thread.
private final class Interrupts: Sendable {
    private let continuation: AsyncStream<Void>.Continuation
    private let count = Counter()

    init(_ continuation: AsyncStream<Void>.Continuation) {
        self.continuation = continuation
    }

    func receive(_ signal: CInt) -> Bool {
        guard signal == SIGINT else { return false }
        if count.next() > 1 { _exit(130) }
        continuation.yield()
        return true
    }
}
