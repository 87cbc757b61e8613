internal import API
internal import Client
internal import Foundation

/// Words that the shell offers while a command is typed.
enum Completions {
    /// The names of the agents; none where no supervisor answers.
    static let agents: @Sendable ([String], Int, String) async -> [String] = { _, _, _ in
        guard let client = supervisor() else { return [] }
        let answer = await Deadline.run(seconds: 2) { try await client.agents() }
        return answer?.value.agents.map { CellText.clean($0.name) } ?? []
    }

    /// The short ids of the sessions; none where no supervisor answers.
    static let sessions: @Sendable ([String], Int, String) async -> [String] = { _, _, _ in
        guard let client = supervisor() else { return [] }
        let answer = await Deadline.run(seconds: 2) {
            try await client.sessions(agent: nil, status: nil, limit: 100, all: false)
        }
        return answer?.value.sessions.map { CellText.clean($0.shortId) } ?? []
    }

    /// Completing a word starts nothing.
    private static func supervisor() -> APIClient? {
        let connector = try? Connector(host: nil, local: false, console: Console())
        return try? connector?.find()
    }
}
