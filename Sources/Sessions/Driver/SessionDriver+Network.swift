internal import CSandbox
internal import Egress
internal import Sandbox
internal import Settings

// The way out of a session.

extension SessionDriver {
    /// What the session may reach.
    var egressPolicy: NetworkPolicy { agent.definition.network ?? .none }

    /// Ports of the policy at which init listens for programs that know of no proxy; nil where
    /// nothing may leave.
    var egressPorts: [UInt16]? {
        guard egressPolicy.access != .none else { return nil }
        // There init listens anyhow.
        return egressPolicy.tcpPorts.filter { $0 != Self.proxyPort && $0 != 53 }
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
        if network == nil, egressPolicy.access != .none {
            network = context.gateway.open(session: id.hex, policy: egressPolicy)
        }
        return network
    }

    /// Cuts what is open; the next sandbox gets a new one.
    func closeNetwork() {
        network?.close()
        network = nil
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
