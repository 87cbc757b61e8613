internal import API
internal import Foundation

/// What `secrets list` shows: one line for each key.
struct SecretText {
    var secrets: [WireSecret]
    var now: Date

    var text: String {
        let rows = secrets.map { secret in
            [
                CellText.clean(secret.name), Self.state(secret.state), Self.place(secret),
                secret.changedAt.map { TimeText.relative($0, now: now) } ?? "",
            ]
        }
        let all = [["Name", "State", "Goes to", "Set"]] + rows
        let widths = (0..<4).map { column in
            (all.map { CellWidth.of($0[column]) }.max() ?? 0) + 2
        }
        let lines = all.map { row in
            zip(row, widths).map { CellText.pad($0, to: $1) }.joined().trimmingSuffix { $0 == " " }
        }
        let rule = String(repeating: "─", count: SessionTable.ruleWidth)
        return ([lines[0], rule[...]] + lines.dropFirst()).map { $0 + "\n" }.joined()
    }

    private static func state(_ state: WireSecret.State) -> String {
        switch state {
        case .set: "set"
        case .notSet: "not set"
        case .withheld: "withheld, set it again"
        case .unreadable: "unreadable, set it again"
        case .unused: "unused"
        }
    }

    private static func place(_ secret: WireSecret) -> String {
        if secret.plain { return "PLAIN: the agent's environment" }
        let url = CellText.clean(secret.url ?? "")
        return secret.intercept ? url + " (intercepted)" : url
    }
}
