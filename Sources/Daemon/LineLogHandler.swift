internal import Foundation
public import Logging

/// One line a message on standard error: with the priority prefix of sd-daemon(3) under journald,
/// with the time elsewhere.
public struct LineLogHandler: LogHandler {
    public var logLevel: Logger.Level
    public var metadata: Logger.Metadata = [:]
    private let label: String
    private let isJournal: Bool

    public init(label: String, level: Logger.Level) {
        self.label = label
        logLevel = level
        isJournal = ProcessInfo.processInfo.environment["JOURNAL_STREAM"] != nil
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        let all = metadata.merging(event.metadata ?? [:]) { _, new in new }
        var line = isJournal ? "<\(Self.priority(event.level))>" : Date().formatted(Self.time) + " "
        line += isJournal ? "" : "\(event.level) "
        if let session = all["session"] { line += "[\(session)] " }
        line += "\(event.message)"
        for (key, value) in all.sorted(by: { $0.key < $1.key }) where key != "session" {
            line += " \(key)=\(value)"
        }
        var safe = String.UnicodeScalarView()
        for scalar in line.unicodeScalars {
            let isControl = scalar.value < 0x20 || (0x7f..<0xa0).contains(scalar.value)
            safe.append(isControl ? " " : scalar)
        }
        FileHandle.standardError.write(Data((String(safe) + "\n").utf8))
    }

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
