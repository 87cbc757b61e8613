internal import Foundation
public import Logging

/// One message to the journal with its fields, where standard error leads there; else one line on
/// standard error, with the time.
public struct LineLogHandler: LogHandler {
    /// Metadata for whoever searches the journal: the text has it in its own words, or in brackets.
    static let fieldsOnly: Set = ["session_id", "agent", "turn", "cause"]

    public var logLevel: Logger.Level
    public var metadata: Logger.Metadata = [:]
    private let label: String
    private let journal: Journal?
    private let isJournal: Bool

    public init(label: String, level: Logger.Level) {
        self.label = label
        logLevel = level
        journal = Journal()
        isJournal = ProcessInfo.processInfo.environment["JOURNAL_STREAM"] != nil
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        let all = metadata.merging(event.metadata ?? [:]) { _, new in new }
        let text = Self.text("\(event.message)", all)
        if let journal, journal.send(fields(text, event.level, all)) { return }
        let head =
            isJournal
            ? "<\(Self.priority(event.level))>" : "\(Date().formatted(Self.time)) \(event.level) "
        FileHandle.standardError.write(Data((head + text + "\n").utf8))
    }

    /// One line: session, message, and what else belongs to it.
    static func text(_ message: String, _ all: Logger.Metadata) -> String {
        var line = ""
        if let session = all["session"] { line += "[\(session)] " }
        line += message
        for (key, value) in all.sorted(by: { $0.key < $1.key })
        where key != "session" && !fieldsOnly.contains(key) {
            line += " \(key)=\(value)"
        }
        return clean(line)
    }

    private static func clean(_ line: String) -> String {
        var safe = String.UnicodeScalarView()
        for scalar in line.unicodeScalars {
            let isControl = scalar.value < 0x20 || (0x7f..<0xa0).contains(scalar.value)
            safe.append(isControl ? " " : scalar)
        }
        return String(safe)
    }

    private func fields(
        _ text: String, _ level: Logger.Level, _ all: Logger.Metadata
    ) -> [(name: String, value: String)] {
        var fields = [
            ("MESSAGE", text), ("PRIORITY", "\(Self.priority(level))"),
            ("SYSLOG_IDENTIFIER", label),
        ]
        for (key, field) in Self.journalFields {
            if let value = all[key] { fields.append((field, Self.clean("\(value)"))) }
        }
        return fields
    }

    private static let journalFields = [
        ("session_id", "SUPERSERVE_SESSION"), ("agent", "SUPERSERVE_AGENT"),
        ("turn", "SUPERSERVE_TURN"), ("cause", "SUPERSERVE_CAUSE"),
    ]

    private static let time = Date.ISO8601FormatStyle(includingFractionalSeconds: true)

    /// syslog(3) priorities.
    private static func priority(_ level: Logger.Level) -> Int {
        switch level {
        case .trace, .debug: 7
        case .info: 6
        case .notice: 5
        case .warning: 4
        case .error: 3
        case .critical: 2
        }
    }
}
