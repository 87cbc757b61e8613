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
    func deliver(_ message: String) async throws -> WireAccepted {
        try Self.check(message)
        return try await Repeating(connector: connector, client: client).run { key in
            try await client.send(message, to: sessionID, key: key).value
        }
    }
}

/// A request that is sent again while the supervisor restarts; its key makes it count once.
struct Repeating: Sendable {
    /// How long a supervisor may be away.
    static let patience = Duration.seconds(60)

    let connector: Connector
    let client: APIClient

    func run<Value: Sendable>(
        _ request: @Sendable (_ key: String) async throws -> Value
    ) async throws -> Value {
        let key = UUID().uuidString
        let deadline = ContinuousClock.now + Self.patience
        var isFirst = true
        while true {
            do {
                return try await request(key)
            } catch let error as ClientError where error.isTransient {
                guard ContinuousClock.now < deadline else { throw error }
                if isFirst, error.code == .unreachable {
                    // Nobody there at all: one is started, where that is this user's own business.
                    guard try await connector.connect().socketPath == client.socketPath else {
                        throw error
                    }
                } else {
                    try await Task.sleep(for: .milliseconds(500))
                }
                isFirst = false
            }
        }
    }
}
