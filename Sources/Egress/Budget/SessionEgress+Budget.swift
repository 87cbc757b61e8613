internal import Settings

// What a session may use of the network in all.

extension SessionEgress {
    /// Counts a request that the policy does not deny; one that it denies is told so elsewhere.
    ///
    /// - Throws: where something is used up.
    func countRequest(to hop: Hop) throws(EgressRefusal) {
        guard try policy(for: hop).mayAsk(hop.destination).isAllowed else { return }
        if let refusal = refusal(meter.countRequest()) { throw refusal }
    }

    /// Counts what an answer of a model came to; what it cost, in millionths of a US dollar.
    func count(_ call: ModelCall.Result) -> Int64? {
        let (cost, outcome) = meter.count(call)
        _ = refusal(outcome)
        return cost
    }

    /// Takes bytes out of the budget: how many of them may pass.
    func take(bytes count: Int, _ kind: NetworkBudget.Kind) -> Int {
        let (granted, outcome) = meter.take(bytes: count, kind)
        _ = refusal(outcome)
        return granted
    }

    /// Announces what is new, and gives the refusal of what cannot go on.
    func refusal(_ outcome: NetworkMeter.Outcome) -> EgressRefusal? {
        for reached in outcome.news { say(.reached(reached)) }
        return outcome.refusal.map(EgressRefusal.init)
    }

    /// Why connections are cut, where their bytes are used up.
    var endOfBytes: EgressRefusal? { meter.endOfBytes.map(EgressRefusal.init) }
}

extension EgressRefusal {
    init(_ reached: NetworkMeter.Reached) {
        self.init(.budget(reached.kind), reached.text)
        code = reached.kind.rawValue
    }
}
