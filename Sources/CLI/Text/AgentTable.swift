internal import API
internal import Foundation

/// The table of `agents list`.
struct AgentTable {
    private static let headers = ["Name", "Version", "Protocol", "Origin", "Sessions", "Updated"]
    private static let nameCells = 40

    var agents: [WireAgent]
    var now: Date

    /// Header, rule and one line for each agent; columns are as wide as their contents.
    var text: String {
        let rows = agents.map { agent in
            [
                CellText.cut(CellText.clean(agent.name), to: Self.nameCells), String(agent.version),
                CellText.clean(agent.protocol), CellText.clean(agent.origin),
                String(agent.liveSessions), TimeText.relative(agent.updatedAt, now: now),
            ]
        }
        let all = [Self.headers] + rows
        let widths = Self.headers.indices.map { column in
            (all.map { CellWidth.of($0[column]) }.max() ?? 0) + 2
        }
        let lines = all.map { row in
            zip(row, widths).map { CellText.pad($0, to: $1) }.joined().trimmingSuffix { $0 == " " }
        }
        let rule = String(repeating: "─", count: SessionTable.ruleWidth)
        return ([lines[0], rule[...]] + lines.dropFirst()).map { $0 + "\n" }.joined()
    }
}

/// What `agents get` shows.
struct AgentDetails {
    var agent: WireAgent
    var now: Date

    /// One line for each field, the values in one column.
    var text: String {
        let updated = TimeText.utc(agent.updatedAt)
        let fields = [
            ("Agent", CellText.clean(agent.name)),
            ("ID", CellText.clean(agent.id)),
            ("Version", String(agent.version)),
            ("Protocol", CellText.clean(agent.protocol)),
            ("Command", agent.command.map(Self.quoted).joined(separator: " ")),
            ("Origin", CellText.clean(agent.origin)),
            ("Sessions", String(agent.liveSessions)),
            ("Idle Timeout", TimeText.span(seconds: agent.idleTimeoutSeconds)),
            ("Turn Timeout", TimeText.span(seconds: agent.turnTimeoutSeconds)),
            ("Created", TimeText.utc(agent.createdAt)),
            ("Updated", updated + " (\(TimeText.relative(agent.updatedAt, now: now)))"),
        ]
        return fields.map { CellText.pad($0.0 + ":", to: 15) + $0.1 + "\n" }.joined()
    }

    /// A word of a command, quoted where a shell would need it.
    private static func quoted(_ word: String) -> String {
        let text = CellText.clean(word)
        let isPlain = !text.isEmpty && text.allSatisfy {
            $0.isLetter || $0.isNumber || "-_./=:@%+,".contains($0)
        }
        return isPlain ? text : "'" + text.replacing("'", with: "'\\''") + "'"
    }
}
