internal import API
internal import Foundation

/// Times and durations as the command line shows them.
enum TimeText {
    /// `just now`, `2 minutes ago`, `1 hour ago`, `3 days ago`.
    static func relative(_ date: Date, now: Date) -> String {
        let seconds = now.timeIntervalSince(date)
        guard seconds >= 60 else { return "just now" }
        let minutes = Int(min(seconds, 1e12) / 60)
        switch minutes {
        case ..<60: return ago(minutes, "minute")
        case ..<1440: return ago(minutes / 60, "hour")
        default: return ago(minutes / 1440, "day")
        }
    }

    private static func ago(_ count: Int, _ unit: String) -> String {
        "\(count) \(unit)\(count == 1 ? "" : "s") ago"
    }

    /// `2026-03-09 14:23:15 UTC`.
    static func utc(_ date: Date) -> String {
        let text = WireCoding.format(date)
        guard let separator = text.firstIndex(of: "T"),
            let end = text.firstIndex(where: { $0 == "." || $0 == "Z" })
        else { return text }
        return text[..<separator] + " " + text[text.index(after: separator)..<end] + " UTC"
    }

    /// `0.8s`, `1.2s`, from a minute `1m 30s`, from an hour `2h 5m`.
    static func duration(milliseconds: Int64) -> String {
        let tenths = (max(0, milliseconds) + 50) / 100
        guard tenths >= 600 else { return "\(tenths / 10).\(tenths % 10)s" }
        let seconds = (milliseconds + 500) / 1000
        guard seconds >= 3600 else { return "\(seconds / 60)m \(seconds % 60)s" }
        return "\(seconds / 3600)h \(seconds % 3600 / 60)m"
    }

    /// `45s`, `29m`, `2h 30m`, `30d`: whole seconds, for settings and uptimes.
    static func span(seconds: Int) -> String {
        let parts = [
            (seconds / 86400, "d"), (seconds % 86400 / 3600, "h"), (seconds % 3600 / 60, "m"),
            (seconds % 60, "s"),
        ].filter { $0.0 > 0 }
        guard !parts.isEmpty else { return "0s" }
        return parts.prefix(2).map { "\($0.0)\($0.1)" }.joined(separator: " ")
    }
}
