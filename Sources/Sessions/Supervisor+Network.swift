public import API
internal import Egress
internal import Settings

// What sessions may reach, and what they tried.

extension Supervisor {
    /// The policy of a session, and the newest `limit` records of its network log.
    public func network(
        _ text: String, limit: Int, caller: Caller
    ) async throws(WireError) -> WireNetwork {
        let id = try await resolve(text, caller: caller)
        let record = try await record(id)
        var answer: WireNetwork
        if record.phase.isLive {
            answer = try await ask(id) { .showNetwork($0) }
        } else {
            answer = NetworkPolicy.none.wire(edits: NetworkEdits(), note: nil)
            do throws(StoreError) {
                answer.budget = try await budget(record)
                answer.denied = try await context.store.networkUsage(id)?.denied ?? 0
            } catch {
                throw WireError(error, "The session could not be read")
            }
        }
        answer.records = await context.gateway.log.records(of: id.hex, limit: limit)
        return answer
    }

    /// Changes the policy of a session, for its creator and operators.
    public func editNetwork(
        _ text: String, _ edit: WireEditNetwork, caller: Caller
    ) async throws(WireError) -> WireNetwork {
        let rules = try NetworkEdit(edit)
        let id = try await resolve(text, caller: caller)
        try await requireOwner(id, caller, to: "change")
        return try await ask(id) { .editNetwork(rules, caller, $0) }
    }

    /// Deletes the logs of sessions that are gone or were ended, where a crash has left them.
    func sweepNetworkLogs() async {
        for session in await context.gateway.log.sessions() {
            guard let id = SessionID(hex: session) else { continue }
            do throws(StoreError) {
                if let record = try await context.store.session(id), record.phase != .ended {
                    continue
                }
                context.gateway.log.remove(session: session)
            } catch {
                return
            }
        }
    }
}
