internal import API
internal import AgentProtocols
internal import Egress
internal import Logging
internal import Sandbox
internal import Settings

// The keys that a session uses without seeing them.

extension SessionDriver {
    /// The stand-ins, and the way to the values. Without a master key there are none, and the agent
    /// does not start.
    var sessionSecrets: SessionSecrets {
        do throws(VaultError) {
            return try context.secrets.session(agent, id)
        } catch {
            log(.error, "secrets: \(error)")
            return .none
        }
    }

    /// Ports of hosts whose connections are ended here.
    var interceptedPorts: [UInt16] {
        (agent.definition.secrets ?? []).filter(\.isIntercepted).compactMap {
            $0.url?.destination.port
        }
    }

    /// For each secret its stand-in and the gateway's address, or the value of a plain one. A plain
    /// one without a value is left out.
    func secretVariables() async throws(SandboxError) -> [String: String] {
        var values: [String: String] = [:]
        for secret in agent.definition.secrets ?? [] {
            if secret.isPlain {
                switch await context.secrets.value(of: secret.name, agent) {
                case .success(let value):
                    values[secret.name] = String(decoding: value.reveal(), as: UTF8.self)
                case .failure(let problem): log(.warning, problem.text)
                }
                continue
            }
            do throws(VaultError) {
                values[secret.name] = try context.secrets.standIn(secret, id)
            } catch {
                throw SandboxError(.refused, stage: "secrets", detail: "\(error)")
            }
            for name in secret.baseURL {
                values[name] = "http://127.0.0.1:\(Self.proxyPort)/\(secret.name)"
            }
        }
        return values
    }
}
