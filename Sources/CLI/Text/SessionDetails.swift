internal import API
internal import Foundation

/// What `sessions get` shows.
struct SessionDetails {
    var session: WireSession
    var now: Date
    var palette: Palette

    /// One line for each field, the values in one column.
    var text: String {
        let active = session.lastActiveAt
        var fields = [
            (
                "Agent",
                "\(CellText.clean(session.agent.name)) (\(CellText.clean(session.agent.id)))"
            ),
            ("ID", CellText.clean(session.id)),
            ("Status", palette.status(session.status)),
            ("Messages", String(session.messages)),
            ("Created", TimeText.utc(session.createdAt)),
            ("Title", SessionTable.title(session)),
            ("Last Active", TimeText.utc(active) + " (\(TimeText.relative(active, now: now)))"),
        ]
        if let ended = session.endedAt {
            let reason = session.reason.map { " (\(CellText.clean($0)))" } ?? ""
            fields.append(("Ended", TimeText.utc(ended) + reason))
        }
        if let network = BudgetText.summary(session.budget ?? []) {
            fields.append(("Network", network))
        }
        return fields.map { CellText.pad($0.0 + ":", to: 14) + $0.1 + "\n" }.joined()
    }
}
