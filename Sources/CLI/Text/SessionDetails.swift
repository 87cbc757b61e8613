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
        fields += limitFields
        return fields.map { CellText.pad($0.0 + ":", to: 14) + $0.1 + "\n" }.joined()
    }

    /// Nothing where nothing is limited but the time of a turn, which every agent has.
    private var limitFields: [(String, String)] {
        guard let limits = session.limits,
            limits.diskQuota != nil || limits.set.keys.contains(where: { $0 != "turn_time" })
        else { return [] }
        var fields = [("Limits", CellText.clean(limits.text.joined(separator: ", ")))]
        if let used = limits.used { fields.append(("Used", text(used))) }
        guard !limits.notEnforced.isEmpty else { return fields }
        let note = limits.note.map { " (\(CellText.clean($0)))" } ?? ""
        let keys = CellText.clean(limits.notEnforced.joined(separator: ", "))
        fields.append(("Not enforced", keys + note))
        return fields
    }

    private func text(_ used: WireUsage) -> String {
        func mebibytes(_ bytes: Int64) -> String { "\((bytes + (1 << 20) - 1) >> 20) MiB" }
        var parts = [String(format: "%.1f s of processor time", Double(used.cpuMs) / 1000)]
        if let memory = used.memory {
            let peak = used.memoryPeak.map { ", at most \(mebibytes($0))" } ?? ""
            parts.append("memory \(mebibytes(memory))\(peak)")
        }
        if let pids = used.pids { parts.append("\(pids) processes") }
        if let refused = used.pidsRefused, refused > 0 {
            parts.append("\(refused) refused at the limit")
        }
        if let kills = used.oomKills, kills > 0 { parts.append("out of memory") }
        return parts.joined(separator: "; ")
    }
}
