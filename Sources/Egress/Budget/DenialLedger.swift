/// Which of the denials of a session are worth an event: the first of each destination in an hour,
/// and not more than so many of them. Others are counted.
struct DenialLedger {
    /// Events of one session in an hour; the last one says that others are only counted.
    static let eventsPerHour = 20
    /// Destinations whose denials are counted one by one.
    static let maximumKnown = 64
    static let hour = Duration.seconds(3600)

    /// What is to be said about a denial.
    enum Word: Equatable {
        case nothing
        /// The first of this destination in this hour.
        case first
        /// No further destination will be named in this hour.
        case last
    }

    private var began: ContinuousClock.Instant?
    private var events = 0
    private var counts: [String: Int] = [:]
    /// Denials of destinations that there was no place for.
    private(set) var others = 0

    /// Destinations of this hour, the most frequent first.
    var known: [(destination: String, count: Int)] {
        counts.map { ($0.key, $0.value) }.sorted { ($1.1, $0.0) < ($0.1, $1.0) }
    }

    mutating func denied(_ destination: String, at now: ContinuousClock.Instant) -> Word {
        if began.map({ $0.duration(to: now) >= Self.hour }) ?? true {
            self = DenialLedger()
            began = now
        }
        if let count = counts[destination] {
            counts[destination] = count + 1
            return .nothing
        }
        if counts.count < Self.maximumKnown {
            counts[destination] = 1
        } else {
            others += 1
        }
        guard events < Self.eventsPerHour else { return .nothing }
        events += 1
        return events == Self.eventsPerHour ? .last : .first
    }
}
