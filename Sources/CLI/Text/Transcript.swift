internal import API

/// The conversation of a session as text.
struct Transcript {
    var history: WireHistory
    /// The user who reads it: their messages are `You`.
    var uid: UInt32

    /// As the conversation looked on a terminal.
    var text: String {
        history.messages.map { message in
            let content = Self.body(message.content)
            guard message.role == "agent" else { return "\(author(message)) > \(content)\n\n" }
            let answer = content.isEmpty ? "" : "Agent > \(content)\n\n"
            return answer + outcome(message) + "\n\n"
        }.joined()
    }

    /// For documents and issues.
    var markdown: String {
        let session = history.session
        let agent = CellText.clean(session.agent.name)
        let head = """
            # \(SessionTable.title(session))

            - Session: \(CellText.clean(session.shortId))
            - Agent: \(agent)
            - Created: \(TimeText.utc(session.createdAt))
            - Status: \(session.status.rawValue)


            """
        let body = history.messages.map { message in
            let name = message.role == "agent" ? agent : author(message)
            let title = "## \(name) (\(TimeText.utc(message.createdAt)))\n\n"
            let content = Self.body(message.content)
            let text = content.isEmpty ? "" : content + "\n\n"
            return title + text + (message.role == "agent" ? "*\(outcome(message))*\n\n" : "")
        }.joined()
        return head + body
    }

    private static func body(_ content: String) -> String {
        String(TextSanitizer.clean(content).trimmingSuffix { $0 == "\n" })
    }

    private func author(_ message: WireMessage) -> String {
        guard let user = message.user, user.uid != uid else { return "You" }
        return CellText.clean(user.name)
    }

    private func outcome(_ message: WireMessage) -> String {
        let cut = message.truncated == true ? "[the rest of this answer is not shown]\n" : ""
        return cut + ending(message)
    }

    private func ending(_ message: WireMessage) -> String {
        let time = message.durationMs.map(TimeText.duration) ?? ""
        switch message.status {
        case "failed":
            return "Failed: " + TextSanitizer.line(message.error?.message ?? "the turn failed")
        case "cancelled": return "Cancelled"
        case "streaming": return "Not finished yet"
        default: return time.isEmpty ? "Completed" : "Completed in \(time)"
        }
    }
}
