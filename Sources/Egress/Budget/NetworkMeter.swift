public import Settings
internal import Synchronization

/// What a session has used of the network and what it may use. It outlives sandboxes and, through
/// the store, supervisors. Safe to use from any thread; nothing waits.
public final class NetworkMeter: Sendable {
    /// A kind of budget whose end is reached.
    public struct Reached: Sendable, Hashable {
        public var kind: NetworkBudget.Kind
        public var used: Int64
        public var limit: Int64
    }

    fileprivate struct State {
        var usage: NetworkUsage
        var budget: NetworkBudget
        var isSaved = true
    }

    private let state: Mutex<State>
    private let prices: ModelPrices?

    public init(usage: NetworkUsage, budget: NetworkBudget, prices: ModelPrices?) {
        state = Mutex(State(usage: usage, budget: budget))
        self.prices = prices
    }

    public var usage: NetworkUsage { state.withLock { $0.usage } }

    public var budget: NetworkBudget {
        get { state.withLock { $0.budget } }
        set { state.withLock { $0.budget = newValue } }
    }

    /// What the store does not have yet; nil where it has all. The caller stores it, or calls
    /// `notSaved`.
    public func unsaved() -> NetworkUsage? {
        state.withLock { state in
            defer { state.isSaved = true }
            return state.isSaved ? nil : state.usage
        }
    }

    /// The store has failed: `unsaved` gives it again.
    public func notSaved() { state.withLock { $0.isSaved = false } }

    // MARK: - Counting

    /// Kinds that stand in the way of a new connection, and of a new request.
    private static let beforeConnections: [NetworkBudget.Kind] = [
        .connections, .bytesOut, .bytesIn, .tokens, .cost,
    ]
    private static let beforeRequests: [NetworkBudget.Kind] = [
        .requests, .bytesOut, .bytesIn, .tokens, .cost,
    ]

    /// What a count has led to.
    struct Outcome {
        /// The call must not go on: this is used up.
        var refusal: Reached?
        /// To be announced: this is used up since just now.
        var news: [Reached] = []
    }

    /// Counts a connection, unless something is used up.
    func countConnection() -> Outcome {
        count(before: Self.beforeConnections) { $0.connections += 1 }
    }

    /// Counts a request, unless something is used up.
    func countRequest() -> Outcome { count(before: Self.beforeRequests) { $0.requests += 1 } }

    private func count(
        before kinds: [NetworkBudget.Kind], _ change: (inout NetworkUsage) -> Void
    ) -> Outcome {
        state.withLock { state in
            var outcome = Outcome()
            outcome.refusal = kinds.compactMap { state.reached($0) }.first
            if outcome.refusal == nil {
                change(&state.usage)
                state.isSaved = false
            }
            outcome.news = kinds.compactMap { state.announce($0) }
            return outcome
        }
    }

    /// Takes bytes out of the budget: as many as are left of it, at most `count`.
    func take(bytes count: Int, _ kind: NetworkBudget.Kind) -> (granted: Int, Outcome) {
        state.withLock { state in
            let left = state.budget[kind].map { max(0, $0 - state.usage[kind]) } ?? .max
            let granted = min(count, Int(clamping: left))
            if kind == .bytesOut {
                state.usage.bytesOut += Int64(granted)
            } else {
                state.usage.bytesIn += Int64(granted)
            }
            state.isSaved = false
            var outcome = Outcome()
            if granted < count { outcome.refusal = state.reached(kind) }
            if let news = state.announce(kind) { outcome.news = [news] }
            return (granted, outcome)
        }
    }

    /// Counts what an answer of a model came to, and says what it cost.
    func count(_ call: ModelCall.Result) -> (cost: Int64?, Outcome) {
        let usage = call.usage
        let cost = prices?.cost(
            model: call.model, input: usage.input, cached: usage.cached, output: usage.output)
        let outcome = state.withLock { state in
            state.usage.inputTokens += usage.input
            state.usage.outputTokens += usage.output
            state.usage.cachedTokens += usage.cached
            state.usage.cost += cost ?? 0
            state.isSaved = false
            return Outcome(news: [.tokens, .cost].compactMap { state.announce($0) })
        }
        return (cost, outcome)
    }

    func countDenial() {
        state.withLock { state in
            state.usage.denied += 1
            state.isSaved = false
        }
    }

    /// The bytes that are used up, if they are.
    var endOfBytes: Reached? {
        state.withLock { $0.reached(.bytesOut) ?? $0.reached(.bytesIn) }
    }
}

extension NetworkMeter.State {
    fileprivate func reached(_ kind: NetworkBudget.Kind) -> NetworkMeter.Reached? {
        guard let limit = budget[kind], usage[kind] >= limit else { return nil }
        return .init(kind: kind, used: usage[kind], limit: limit)
    }

    /// Once for each bound.
    fileprivate mutating func announce(_ kind: NetworkBudget.Kind) -> NetworkMeter.Reached? {
        guard let reached = reached(kind), usage.announced[kind.rawValue] != reached.limit else {
            return nil
        }
        usage.announced[kind.rawValue] = reached.limit
        isSaved = false
        return reached
    }
}

extension NetworkMeter.Reached {
    /// What has happened, in a line.
    public var text: String {
        "the session's network budget of \(kind.rawValue) is used up: "
            + "\(kind.text(used)) of \(kind.text(limit))"
    }
}
