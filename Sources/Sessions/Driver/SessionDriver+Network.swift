internal import API
internal import CSandbox
internal import Egress
internal import Logging
internal import Sandbox
internal import Settings

// The way out of a session.

extension SessionDriver {
    /// What the session may reach.
    var egressPolicy: NetworkPolicy {
        let base = agent.definition.network ?? .none
        // Checked when they were stored; what the agent says then holds alone.
        return (try? record.networkEdits.applied(to: base)) ?? base
    }

    /// Changes what the session may reach, from the next connection on.
    func editNetwork(_ edit: NetworkEdit, _ caller: Caller) async throws(WireError) -> WireNetwork {
        guard record.phase.isLive else {
            throw WireError(
                code: .sessionNotResumable,
                message: "Session '\(id.short)' has status '\(record.phase.status.rawValue)'")
        }
        var next = record
        for rule in edit.allow { next.networkEdits.allow(rule) }
        for rule in edit.deny { next.networkEdits.deny(rule) }
        next = try changed(next, by: edit.budget, caller)
        let policy: NetworkPolicy
        do throws(NetworkTextError) {
            policy = try next.networkEdits.applied(to: agent.definition.network ?? .none)
        } catch {
            throw WireError(code: .badRequest, message: "The network policy \(error.message)")
        }
        let hasRules = !edit.allow.isEmpty || !edit.deny.isEmpty
        if !caller.isOperator, hasRules { try checkCeiling(policy) }
        try await commit(SessionChange(next))
        network?.policy = policy
        meter.budget = networkBudget
        network?.denied = record.networkEdits.deny
        log(.notice, "network policy changed by \(caller.user.name)")
        return showNetwork()
    }

    /// Who is no operator stays within what the operator has given: in the agent's file, or as the
    /// ceiling of deployed agents.
    private func checkCeiling(_ policy: NetworkPolicy) throws(WireError) {
        let ceiling =
            agent.trusted ? agent.definition.network ?? .none : context.limits.ceilings.network
        guard let excess = policy.excess(over: ceiling) else { return }
        throw WireError(
            code: .forbidden,
            message: "'\(excess)' is more than this session's agent may be allowed",
            hint: "Ask an operator of this supervisor")
    }

    /// What the session may reach and why a change has no full effect yet.
    func showNetwork() -> WireNetwork {
        var answer = egressPolicy.wire(edits: record.networkEdits, note: note)
        answer.edited += record.budgetEdits.kinds.map { kind in
            let value = record.budgetEdits[kind] ?? 0
            let text = value == NetworkBudget.unlimited ? "none" : kind.text(value)
            return "budget \(kind.rawValue) \(text)"
        }
        describeUsage(in: &answer)
        return answer
    }

    private var note: String? {
        guard let wanted = egressPorts, sandbox?.process != nil else { return nil }
        guard let present = sandbox?.egressPorts else {
            return "The sandbox was started without a network; it gets one when it starts anew"
        }
        let missing = wanted.filter { !present.contains($0) }.map(String.init)
        return missing.isEmpty
            ? nil
            : "Programs that use no proxy reach port \(missing.joined(separator: ", ")) only when "
                + "the sandbox starts anew"
    }

    /// Ports of the policy at which init listens for programs that know of no proxy; nil where
    /// nothing may leave.
    var egressPorts: [UInt16]? {
        guard hasNetwork else { return nil }
        // There init listens anyhow.
        let ports = Set(egressPolicy.tcpPorts + interceptedPorts)
        return ports.filter { $0 != Self.proxyPort && $0 != 53 }.sorted()
    }

    /// Something may leave: what the policy allows, or requests that get a key.
    var hasNetwork: Bool {
        egressPolicy.access != .none
            || agent.definition.secrets?.contains { !$0.isPlain } == true
    }

    static let proxyPort = UInt16(CSANDBOX_PROXY_PORT)

    /// For programs that ask for a proxy (curl(1), "ENVIRONMENT"); the session itself is reached
    /// without one.
    static let proxyVariables: [String: String] = {
        let proxy = "http://127.0.0.1:\(proxyPort)"
        var values: [String: String] = [:]
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            values[name] = proxy
            values[name.lowercased()] = proxy
        }
        values["NO_PROXY"] = "localhost,127.0.0.1,::1"
        values["no_proxy"] = values["NO_PROXY"]
        // Node.js looks at these variables only when told to.
        values["NODE_USE_ENV_PROXY"] = "1"
        return values
    }()

    /// The session's way out, opened where it is not and the policy allows anything.
    func openNetwork() -> SessionEgress? {
        if network == nil, hasNetwork {
            meter.budget = networkBudget
            network = context.gateway.open(
                session: id.hex, policy: egressPolicy, secrets: sessionSecrets, meter: meter
            ) { [mailbox] in mailbox.yield(.notice($0)) }
            network?.denied = record.networkEdits.deny
        }
        return network
    }

    /// Cuts what is open; the next sandbox gets a new one.
    func closeNetwork() {
        network?.close()
        network = nil
    }

    /// Deletes the record of what the session tried. Connections are cut later, and their ends must
    /// not bring it back.
    func forgetNetwork() {
        network?.forget()
        context.gateway.log.remove(session: id.hex)
    }

    /// True for what is the network's business. On the thread that reads the control sockets.
    static func pass(_ event: InitEvent, to network: SessionEgress?) -> Bool {
        switch event {
        case .connection(let descriptor):
            // Without a network it is closed here.
            if let network, let taken = try? descriptor.take() {
                network.take(connection: taken.release())
            }
            return true
        case .query(let token, let datagram):
            network?.take(query: datagram, token: token)
            return true
        case .records, .inputAccepted, .disconnected: return false
        }
    }
}

extension SessionEgress {
    /// Connections and queries come over this link from here on.
    func connected(to link: any SandboxLink) {
        connected(
            Link(
                admit: { try? link.admit($0) },
                answer: { try? link.answer($0, $1) }))
    }
}

/// A change of a session's policy, as its rules were read.
struct NetworkEdit: Sendable {
    var allow: [NetworkRule] = []
    var deny: [NetworkRule] = []
    var budget = NetworkBudget()

    /// Throws `bad_request` for what is no rule and no budget.
    init(_ edit: WireEditNetwork) throws(WireError) {
        do throws(NetworkTextError) {
            for text in edit.allow ?? [] { allow.append(try NetworkRule(text)) }
            for text in edit.deny ?? [] { deny.append(try NetworkRule(text)) }
        } catch {
            throw WireError(code: .badRequest, message: "The rule \(error.message)")
        }
        do throws(NetworkTextError) {
            budget = try NetworkBudget(changes: edit.budget ?? [])
        } catch {
            throw WireError(code: .badRequest, message: "The budget: \(error.message)")
        }
        guard !allow.isEmpty || !deny.isEmpty || !budget.isEmpty else {
            throw WireError(code: .badRequest, message: "No rule was given")
        }
    }
}

extension NetworkPolicy {
    func wire(edits: NetworkEdits, note: String?) -> WireNetwork {
        let access =
            switch access {
            case .none: "none"
            case .list: "list"
            case .open: "open"
            }
        return WireNetwork(
            access: access, allow: allow.map(\.description), deny: deny.map(\.description),
            edited: edits.allow.map { "allow \($0)" } + edits.deny.map { "deny \($0)" },
            note: note, records: [])
    }
}
