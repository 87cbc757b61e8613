internal import API
internal import Client

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
    func deliver(_ message: String) async throws -> WireAccepted {
        try Self.check(message)
        return try await Repeating(connector: connector, client: client).run { key in
            try await client.send(message, to: sessionID, key: key).value
        }
    }
}
