internal import API
internal import Foundation

/// What a session has used of the network, as text.
enum BudgetText {
    /// One line for each kind that was used or has a bound.
    static func lines(_ budgets: [WireBudget]) -> [String] {
        let shown = budgets.filter { $0.used > 0 || $0.limit != nil }
        return shown.enumerated().map { index, budget in
            let head = index == 0 ? "Used:" : ""
            return CellText.pad(head, to: 10) + CellText.pad(budget.kind, to: 13) + amount(budget)
        }
    }

    /// The same on one line, for `sessions get`; nil where nothing was used and nothing is bounded.
    static func summary(_ budgets: [WireBudget]) -> String? {
        let shown = budgets.filter { $0.used > 0 || $0.limit != nil }
        guard !shown.isEmpty else { return nil }
        return shown.map { "\(CellText.clean($0.kind)) \(amount($0))" }.joined(separator: ", ")
    }

    private static func amount(_ budget: WireBudget) -> String {
        let used = text(budget.used, budget.kind)
        guard let limit = budget.limit else { return used }
        return "\(used) of \(text(limit, budget.kind))"
    }

    private static func text(_ value: Int64, _ kind: String) -> String {
        switch kind {
        case "bytes_out", "bytes_in": size(value)
        case "cost": dollars(value)
        default: String(value)
        }
    }

    /// In the largest unit that leaves a number of at least 1.
    static func size(_ bytes: Int64) -> String {
        let units: [(Int64, String)] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
        guard let (unit, name) = units.first(where: { bytes >= $0.0 }) else { return "\(bytes) B" }
        let tenths = bytes * 10 / unit
        return "\(tenths / 10)" + (tenths % 10 == 0 ? "" : ".\(tenths % 10)") + " \(name)"
    }

    /// - Parameter millionths: of a US dollar.
    static func dollars(_ millionths: Int64) -> String {
        let places = millionths % 10_000 == 0 ? 2 : 6
        return "$" + String(format: "%.\(places)f", Double(millionths) / 1e6)
    }
}
