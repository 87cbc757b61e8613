internal import API
public import Egress
internal import Foundation
internal import Settings

/// The keys of agents: sealed in the store, opened for a request and forgotten.
public struct SecretKeeper: Sendable {
    let store: any SecretStore
    let vault: any SecretVault

    public init(store: any SecretStore, vault: any SecretVault) {
        self.store = store
        self.vault = vault
    }

    /// What a sealed value belongs to. The parts have no line breaks.
    static func context(_ agentID: String, _ secret: AgentSecret) -> String {
        "superserve secret 1\n\(agentID)\n\(secret.name)\n\(secret.binding)"
    }

    /// The stand-ins of a session, and the way to the values.
    func session(_ agent: AgentVersion, _ id: SessionID) throws(VaultError) -> SessionSecrets {
        var list: [GatewaySecret] = []
        for secret in agent.definition.secrets ?? [] where !secret.isPlain {
            let text = try standIn(secret, id)
            if let gateway = GatewaySecret(secret, standIn: text) { list.append(gateway) }
        }
        return SessionSecrets(list) { name in await value(of: name, agent) }
    }

    func standIn(_ secret: AgentSecret, _ id: SessionID) throws(VaultError) -> String {
        secret.standInPrefix + (try vault.standIn(session: id.hex, secret: secret.name))
    }

    /// The newest value of a key, for a session of this version of an agent.
    public func value(
        of name: String, _ agent: AgentVersion
    ) async -> Result<SecretValue, SessionSecrets.Problem> {
        let owner = agent.definition.name
        let command = "superserve secrets set \(owner) \(name)"
        guard let secret = agent.definition.secrets?.first(where: { $0.name == name }) else {
            return Self.problem("unknown_secret", "agent '\(owner)' has no secret '\(name)'")
        }
        do {
            guard let record = try await store.secret(name, of: agent.agentID) else {
                return Self.problem("secret_not_set", "\(name) has no value yet: \(command)")
            }
            guard record.binding == secret.binding else {
                return Self.problem(
                    "secret_withheld",
                    """
                    \(name) was set for '\(record.binding)', and the agent now sends it to \
                    '\(secret.binding)': set it again: \(command)
                    """)
            }
            return .success(
                try vault.open(record.sealed, context: Self.context(agent.agentID, secret)))
        } catch let error as VaultError {
            return Self.problem("secret_unreadable", "\(name): \(error): \(command)")
        } catch {
            return Self.problem("storage_failed", "\(name) could not be read from the store")
        }
    }

    private static func problem(
        _ code: String, _ text: String
    ) -> Result<SecretValue, SessionSecrets.Problem> {
        .failure(SessionSecrets.Problem(code: code, text: text))
    }
}
