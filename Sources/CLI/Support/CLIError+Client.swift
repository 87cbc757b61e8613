internal import API
internal import Archive
internal import Client
internal import Foundation

extension CLIError {
    /// The one mapping from errors of other modules to what a person reads.
    init(_ error: any Error) {
        switch error {
        case let error as CLIError: self = error
        case let error as ClientError: self.init(client: error)
        case is CancellationError: self = .cancelled
        default: self.init("\(error)")
        }
    }

    private init(client error: ClientError) {
        if error.code == .body, let cause = error.cause {
            self.init(cause)
            return
        }
        if let answer = error.answer {
            self.init(answer.message, hint: Self.hint(for: answer))
            return
        }
        switch error.code {
        case .unreachable:
            self.init(error.message, hint: "Start one with: superserve supervisor start")
        case .timeout, .lost:
            self.init(error.message, hint: "See: superserve supervisor status")
        default:
            self.init(error.message)
        }
    }

    /// The supervisor's hint, or ours where it gave none.
    private static func hint(for answer: WireError) -> String? {
        if let hint = answer.hint { return hint }
        return switch answer.code {
        case .sessionNotFound, .sessionAmbiguous: "List your sessions with: superserve sessions list"
        case .agentNotFound: "List the agents with: superserve agents list"
        default: nil
        }
    }
}
