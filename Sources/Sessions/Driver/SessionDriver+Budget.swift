internal import API
internal import Egress
internal import Logging
internal import Settings

// What a session may use of the network.

extension SessionDriver {
    /// What the session may use: what its agent says, within the ceiling of deployed agents, with
    /// the changes of the session.
    var networkBudget: NetworkBudget { context.limits.ceilings.budget(of: agent, record) }

    /// The session's record with other bounds; what is no operator stays within what the operator
    /// has given.
    func changed(
        _ record: SessionRecord, by edits: NetworkBudget, _ caller: Caller
    ) throws(WireError) -> SessionRecord {
        let ceilings = context.limits.ceilings
        let ceiling = agent.trusted ? agent.definition.budget ?? NetworkBudget() : ceilings.budget
        if !caller.isOperator, let kind = edits.excess(over: ceiling), let most = ceiling[kind] {
            throw WireError(
                code: .forbidden,
                message: """
                    '\(kind.rawValue)' of this session's network budget may be at most \
                    \(kind.text(most))
                    """,
                hint: "Ask an operator of this supervisor")
        }
        var next = record
        for kind in edits.kinds { next.budgetEdits[kind] = edits[kind] }
        return next
    }

    /// What the network has to say to those who follow the session: an event, in the running turn
    /// if there is one.
    func take(_ notice: EgressNotice) async {
        guard record.phase.isLive, !isStopped else { return }
        var next = record
        next.lastSeq += 1
        var event = event(.networkDenied, turn: turn?.outcome == nil ? turn?.number : nil)
        event.seq = next.lastSeq
        event.content = notice.text
        switch notice {
        case .reached(let reached):
            event.type = .networkBudget
            event.budget = WireBudget(
                kind: reached.kind.rawValue, used: reached.used, limit: reached.limit)
            log(.notice, reached.text)
        case .denied(let destination, _): event.destination = destination
        case .manyDenied: break
        }
        var change = SessionChange(next)
        change.events = [event]
        // With the event goes what says that it was told.
        change.networkUsage = meter.usage
        change.durable = false
        do throws(WireError) {
            try await commit(change)
        } catch {
            // It was logged; the record of the network has it too.
        }
    }

    /// What has been used and denied, for people.
    func describeUsage(in network: inout WireNetwork) {
        let usage = meter.usage
        network.budget = usage.wire(networkBudget)
        network.denied = usage.denied
        if let denials = self.network?.denials {
            network.denials = denials.known.prefix(10).map {
                WireDenial(destination: $0.destination, count: $0.count)
            }
        }
    }
}

extension NetworkUsage {
    func wire(_ budget: NetworkBudget) -> [WireBudget] {
        NetworkBudget.Kind.allCases.map {
            WireBudget(kind: $0.rawValue, used: self[$0], limit: budget[$0])
        }
    }
}

extension AgentCeilings {
    /// What a session may use of the network.
    func budget(of agent: AgentVersion, _ record: SessionRecord) -> NetworkBudget {
        let own = agent.definition.budget ?? NetworkBudget()
        return (agent.trusted ? own : own.within(budget)).changed(by: record.budgetEdits)
    }

    /// What its tokens cost. Who deploys an agent does not set the prices of the operator's budget.
    func prices(of agent: AgentVersion) -> ModelPrices? {
        agent.trusted
            ? agent.definition.prices ?? prices : prices ?? agent.definition.prices
    }
}

extension Supervisor {
    /// Writes down what sessions have used since the last call. Called every two seconds: that much
    /// of the count is lost where the supervisor is killed.
    public func saveNetworkUsage() async {
        let unsaved = context.meters.unsaved()
        guard !unsaved.isEmpty else { return }
        do throws(StoreError) {
            try await context.store.save(unsaved)
        } catch {
            context.meters.notSaved(unsaved.keys)
            context.logger.error("network usage is not stored: \(error)")
        }
    }

    /// What a session has used and may use.
    func budget(_ record: SessionRecord) async throws(StoreError) -> [WireBudget] {
        var usage = context.meters.usage(record.id)
        if usage == nil { usage = try await context.store.networkUsage(record.id) }
        let agent = try await context.store.agentVersion(
            id: record.agentID, version: record.agentVersion)
        let budget = agent.map { context.limits.ceilings.budget(of: $0, record) }
        return (usage ?? NetworkUsage()).wire(budget ?? NetworkBudget())
    }
}
