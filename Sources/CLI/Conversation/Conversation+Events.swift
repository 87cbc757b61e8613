internal import API

extension Conversation {
    /// Takes the next event of the session.
    mutating func received(_ event: WireEvent) -> [Effect] {
        if case .sending(var submission) = phase {
            submission.held.append(event)
            phase = .sending(submission)
            return []
        }
        see(event)
        if event.type == .heartbeat { return [] }
        if event.type == .sessionEnded {
            // The answer to `/end` says the same.
            if case .ending = phase { return [] }
            return endLive() + leave(.over(event.status, reason: event.reason))
        }
        switch phase {
        case .following(let turn, _, let showsMessage) where event.turn == turn:
            let shown = write(printer.handle(event, author: showsMessage ? author(event) : nil))
            return event.type.isTerminal ? shown + openPrompt() : shown
        case .prompting:
            return showLive(event)
        case .following, .sending, .ending, .over:
            return []
        }
    }

    private func author(_ event: WireEvent) -> String {
        guard let user = event.user, user.uid != uid else { return "You" }
        return CellText.cut(CellText.clean(user.name), to: 32)
    }

    // MARK: Somebody else's turn, above the prompt

    mutating func showLive(_ event: WireEvent) -> [Effect] {
        var turn = live ?? LiveTurn(printer: TurnPrinter(style: .conversation, palette: palette))
        let pieces = turn.printer.handle(event, author: author(event))
        live = turn
        let text = pieces.map(\.text).joined()
        let effects = text.isEmpty ? [] : showAbove(text)
        if event.type.isTerminal { live = nil }
        return effects
    }

    /// Shows text above the prompt: whole lines for good, the unfinished one until it is finished.
    mutating func showAbove(_ text: String) -> [Effect] {
        let all = (live?.tail ?? "") + text
        let lines = all.split(separator: "\n", omittingEmptySubsequences: false)
        var tail = live == nil ? "" : String(lines.last ?? "")
        var finished = lines.dropLast().map(String.init)
        if live == nil, let last = lines.last, !last.isEmpty { finished.append(String(last)) }
        if CellWidth.of(tail) > screen.cellsAbove {
            finished.append(tail)
            tail = ""
        }
        live?.tail = tail
        let printed = screen.erase() + finished.map { $0 + "\r\n" }.joined()
        guard case .prompting = phase else { return [.draw(printed)] }
        return [.draw(printed), drawPrompt()]
    }

    /// Gives up showing somebody else's turn; its unfinished line stays.
    mutating func endLive() -> [Effect] {
        guard let tail = live?.tail else { return [] }
        live = nil
        guard !tail.isEmpty else { return [] }
        return [.draw(screen.erase() + tail + "\r\n\r\n")]
    }
}
