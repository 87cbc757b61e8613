internal import API
internal import Foundation

/// The table of `sessions list`.
struct SessionTable {
    /// Where the columns start: ID, Agent, Title, Status, Msgs, Last Active.
    static let columns = [0, 14, 29, 54, 62, 68]
    static let ruleWidth = 80
    private static let agentCells = 13
    private static let titleCells = 23

    var sessions: [WireSession]
    var now: Date
    var palette: Palette

    /// Header, rule and one line for each session, every line ended by a newline.
    var text: String {
        let header = Self.row(["ID", "Agent", "Title", "Status", "Msgs", "Last Active"])
        let rule = String(repeating: "─", count: Self.ruleWidth)
        let rows = sessions.map(line)
        return ([header, rule] + rows).map { $0 + "\n" }.joined()
    }

    private func line(_ session: WireSession) -> String {
        let agent = CellText.cut(CellText.clean(session.agent.name), to: Self.agentCells)
        let title = CellText.cut(Self.title(session), to: Self.titleCells, atWord: true)
        let cells = [
            CellText.clean(session.shortId), agent, title, session.status.rawValue.uppercased(),
            String(session.messages), TimeText.relative(session.lastActiveAt, now: now),
        ]
        return Self.row(cells, painted: [3: palette.status(session.status)])
    }

    /// The title, or what stands for one before the first message.
    static func title(_ session: WireSession) -> String {
        session.title.map(CellText.clean).flatMap { $0.isEmpty ? nil : $0 } ?? "Untitled"
    }

    /// - Parameter painted: what to show instead of a cell, in the cell's own width.
    private static func row(_ cells: [String], painted: [Int: String] = [:]) -> String {
        var result = ""
        var width = 0
        for (index, cell) in cells.enumerated() {
            result += painted[index] ?? cell
            width += CellWidth.of(cell)
            guard index + 1 < cells.count else { break }
            let gap = max(1, columns[index + 1] - width)
            result += String(repeating: " ", count: gap)
            width += gap
        }
        return result
    }
}
