internal import API
internal import Foundation

/// What `sessions network` shows.
struct NetworkText {
    /// Records that are shown without `--log`.
    static let shownRecords = 20

    var network: WireNetwork

    /// Policy first, then one line for each record.
    var text: String {
        var lines = ["Network:  " + access]
        for rule in network.allow { lines.append("  allow   " + CellText.clean(rule)) }
        for rule in network.deny { lines.append("  deny    " + CellText.clean(rule)) }
        for edit in network.edited {
            lines.append("Changed:  \(CellText.clean(edit)) (this session only)")
        }
        if let note = network.note { lines.append("Note:     " + CellText.clean(note)) }
        lines += BudgetText.lines(network.budget ?? [])
        if let denied = network.denied, denied > 0 { lines += denials(denied) }
        if !network.records.isEmpty { lines += [""] + network.records.map(Self.line) }
        return lines.map { $0 + "\n" }.joined()
    }

    private var access: String {
        switch network.access {
        case "none": "none"
        case "list": network.allow.isEmpty ? "an empty list: nothing" : "only what is listed"
        case "open": "the public internet"
        default: CellText.clean(network.access)
        }
    }

    private func denials(_ count: Int64) -> [String] {
        let known = (network.denials ?? []).map {
            "  \(CellText.pad(String($0.count), to: 8))" + CellText.clean($0.destination)
        }
        return ["Denied:   \(count)" + (known.isEmpty ? "" : ", in this hour")] + known
    }

    private static func line(_ record: WireNetworkRecord) -> String {
        let place = record.host.map { host in host + (record.port.map { ":\($0)" } ?? "") } ?? "-"
        let request = [record.method, record.path].compactMap { $0 }.joined(separator: " ")
        let status = record.status.map { " \($0)" } ?? ""
        let bytes = "\(record.sent) sent, \(record.received) received" + tokens(record)
        let detail =
            record.verdict == .allowed ? bytes : record.reason.map { "(\($0))" } ?? ""
        let parts = [
            TimeText.utc(record.time), CellText.pad(record.verdict.rawValue, to: 8),
            CellText.pad(record.kind.rawValue, to: 12) + place, request + status, detail,
        ]
        return CellText.clean(parts.filter { !$0.isEmpty }.joined(separator: "  "))
    }

    private static func tokens(_ record: WireNetworkRecord) -> String {
        guard let input = record.inputTokens, let output = record.outputTokens else { return "" }
        let about = record.tokensEstimated == true ? "about " : ""
        let cost = record.cost.map { ", " + BudgetText.dollars($0) } ?? ""
        return ", \(about)\(input) + \(output) tokens\(cost)"
    }
}
