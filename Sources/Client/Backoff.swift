/// Waiting times between attempts: doubling from 0.1 s to 2 s.
struct Backoff: Sendable, Equatable {
    static let first = Duration.milliseconds(100)
    static let ceiling = Duration.seconds(2)

    private var following = first

    /// How long to wait before the next attempt.
    mutating func next() -> Duration {
        defer { following = min(following * 2, Self.ceiling) }
        return following
    }

    mutating func reset() { following = Self.first }
}
