internal import API
internal import Client
internal import Foundation

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
