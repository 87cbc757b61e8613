internal import API

/// Colours, where they are wanted: on a terminal, and never with NO_COLOR (no-color.org).
struct Palette: Sendable {
    var isEnabled: Bool

    /// - Parameter isTerminal: whether the text goes to a terminal.
    static func automatic(isTerminal: Bool, environment: [String: String]) -> Palette {
        let refused = !(environment["NO_COLOR"] ?? "").isEmpty || environment["TERM"] == "dumb"
        return Palette(isEnabled: isTerminal && !refused)
    }

    func red(_ text: String) -> String { paint(text, "31") }
    func green(_ text: String) -> String { paint(text, "32") }
    func yellow(_ text: String) -> String { paint(text, "33") }
    func dim(_ text: String) -> String { paint(text, "2") }

    /// The status in capitals: green while it works, yellow while it waits, dim when it is over.
    func status(_ status: SessionStatus) -> String {
        let text = status.rawValue.uppercased()
        return switch status {
        case .active: green(text)
        case .idle: yellow(text)
        case .ended, .timeout: dim(text)
        }
    }

    private func paint(_ text: String, _ code: String) -> String {
        isEnabled ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
    }
}
