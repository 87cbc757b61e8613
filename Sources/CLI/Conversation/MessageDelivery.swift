internal import API
internal import Client
internal import Foundation

/// Sends messages so that each is delivered once or not at all.
struct MessageDelivery: Sendable {
    let connector: Connector
    let client: APIClient
    let sessionID: String

    /// Refuses what the supervisor would refuse for its size.
    static func check(_ message: String) throws(CLIError) {
        let size = message.utf8.count
        guard size <= APILimits.messageBytes else {
            throw CLIError(
                "The message has \(size) bytes; the limit is \(APILimits.messageBytes)",
                hint: "Put it into a file: superserve sessions cp FILE ID:/workspace/")
        }
    }

    /// Sends a message; its turn starts at the answer's `firstSeq`.
    ///
    /// - Parameter knownSeq: number of the last event seen before.
    func deliver(_ message: String, knownSeq: Int64) async throws -> WireAccepted {
        try Self.check(message)
        do {
            return try await client.send(message, to: sessionID).value
        } catch let error as ClientError where error.code == .unreachable {
            // Nothing was sent, so starting a supervisor and sending again is safe.
            guard try await connector.connect().socketPath == client.socketPath else { throw error }
            return try await client.send(message, to: sessionID).value
        } catch let error as ClientError where error.code == .lost || error.code == .timeout {
            return try await recover(message, knownSeq: knownSeq)
        }
    }

    /// The connection broke after sending: the events tell whether the message arrived.
    private func recover(_ message: String, knownSeq: Int64) async throws -> WireAccepted {
        let deadline = ContinuousClock.now + .seconds(60)
        while true {
            do {
                let found = try await client.findTurn(
                    of: sessionID, after: knownSeq, by: getuid(), content: message)
                if let found { return found }
                throw CLIError(
                    "The connection was lost before the supervisor took the message; "
                        + "it was not sent",
                    hint: "Send it again")
            } catch let error as ClientError where error.isTransient {
                guard ContinuousClock.now < deadline else { throw error }
                try await Task.sleep(for: .milliseconds(500))
            }
        }
    }
}
