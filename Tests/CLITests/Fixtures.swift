import API
import Foundation

@testable import CLI

enum Fixture {
    static let now = WireCoding.parse("2026-03-09T14:47:40.000Z") ?? .distantPast
    static let alice = WireUser(uid: 1000, name: "alice")
    static let bob = WireUser(uid: 1001, name: "bob")

    static func session(
        _ hex: String = "a1b2c3d4e5f67890abcdef1234567890", agent: String = "my-agent",
        title: String? = nil, status: SessionStatus = .idle, messages: Int = 0,
        ago: TimeInterval = 0, lastSeq: Int64 = 0, turn: WireTurn? = nil
    ) -> WireSession {
        let parts = [8, 4, 4, 4, 12]
        var rest = hex[...]
        let uuid = parts.map { length in
            defer { rest = rest.dropFirst(length) }
            return rest.prefix(length)
        }.joined(separator: "-")
        return WireSession(
            id: "ses_" + uuid, shortId: String(hex.prefix(12)),
            agent: WireAgentReference(id: "agt_1234567890abcdef", name: agent, version: 1),
            status: status, reason: nil, title: title, messages: messages,
            createdAt: WireCoding.parse("2026-03-09T14:23:15.000Z") ?? now,
            lastActiveAt: now.addingTimeInterval(-ago), endedAt: nil, idleTimeoutSeconds: 1740,
            expiresAt: nil, lastSeq: lastSeq, creator: alice, participants: [alice], turn: turn)
    }

    static func event(
        _ seq: Int64?, _ type: WireEventType, turn: Int? = 1, _ content: String? = nil,
        by user: WireUser? = nil, ms: Int64? = nil
    ) -> WireEvent {
        var event = WireEvent(seq: seq, type: type, turn: turn)
        event.content = content
        event.user = user
        event.durationMs = ms
        return event
    }
}

/// As much of a terminal as the prompt needs: rows of cells, a cursor, CR, LF, and the sequences
/// that move the cursor and clear.
struct FakeTerminal {
    let columns: Int
    private(set) var rows: [[Character]] = [[]]
    private(set) var row = 0
    private(set) var column = 0
    private(set) var pasteMode = false

    init(columns: Int) { self.columns = columns }

    /// The rows as text, without the empty cells at their ends.
    var text: String {
        let lines = rows.map { String($0.filter { $0 != "\u{0}" }).trimmingSuffix { $0 == " " } }
        return String(lines.joined(separator: "\n").trimmingSuffix { $0 == "\n" })
    }

    mutating func write(_ text: String) {
        var scalars = text.unicodeScalars[...]
        while let scalar = scalars.first {
            switch scalar {
            case "\r":
                column = 0
                scalars.removeFirst()
            case "\n":
                down(1)
                scalars.removeFirst()
            case "\u{1B}":
                scalars.removeFirst(2)
                let parameters = scalars.prefix { !("@"..."~").contains($0) }
                scalars.removeFirst(parameters.count)
                guard let final = scalars.popFirst() else { return }
                control(String(parameters), String(final))
            default:
                let run = scalars.prefix { $0 != "\r" && $0 != "\n" && $0 != "\u{1B}" }
                scalars.removeFirst(run.count)
                for character in String(run) { put(character) }
            }
        }
    }

    private mutating func control(_ parameters: String, _ final: String) {
        let count = Int(parameters) ?? 1
        switch final {
        case "A": row = max(0, row - count)
        case "B": down(count)
        case "C": column = min(columns, column + count)
        case "J":
            rows[row] = Array(rows[row].prefix(column))
            rows.removeSubrange((row + 1)...)
        case "h": pasteMode = true
        case "l": pasteMode = false
        default: break
        }
    }

    private mutating func down(_ count: Int) {
        row += count
        while rows.count <= row { rows.append([]) }
    }

    private mutating func put(_ character: Character) {
        let width = CellWidth.of(character)
        if column + width > columns {
            column = 0
            down(1)
        }
        while rows[row].count < column + width { rows[row].append(" ") }
        rows[row][column] = character
        // A wide character fills two cells; the second holds nothing of its own.
        if width == 2 { rows[row][column + 1] = "\u{0}" }
        column += width
    }
}
