/// What people who follow a session should hear of.
public enum EgressNotice: Sendable, Hashable {
    /// A budget is used up; once for each kind and bound.
    case reached(NetworkMeter.Reached)
    /// A destination was denied, for the first time in this hour.
    case denied(destination: String, reason: String)
    /// Too many destinations were denied to name more of them in this hour.
    case manyDenied

    /// A line for people.
    public var text: String {
        switch self {
        case .reached(let reached): "Network: \(reached.text)"
        case .denied(let destination, let reason): "Network: \(destination) was denied: \(reason)"
        case .manyDenied: "Network: further denials of this hour are counted, but not shown"
        }
    }
}
