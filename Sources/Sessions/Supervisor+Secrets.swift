public import API
internal import Egress
internal import Foundation
internal import Logging
internal import Settings

// The keys of agents, for who may set them: never shown, only set, listed and deleted.

extension Supervisor {
    /// What an agent's keys are, and which have a value.
    public func secrets(
        agent name: String, caller: Caller
    ) async throws(WireError) -> WireSecretList {
        let agent = try await owned(name, caller, to: "list the secrets of")
        let stored: [SecretRecord]
        do throws(StoreError) {
            stored = try await context.secrets.store.secrets(of: agent.agentID)
        } catch {
            throw WireError(error, "The secrets could not be read")
        }
        let declared = agent.definition.secrets ?? []
        var list = declared.map { secret in
            show(secret, stored.first { $0.name == secret.name }, agent)
        }
        for record in stored where !declared.contains(where: { $0.name == record.name }) {
            list.append(Self.show(unused: record))
        }
        return WireSecretList(secrets: list)
    }

    /// Sets a key that the agent's newest version declares, for where that version sends it.
    public func setSecret(
        _ key: String, agent name: String, value text: String, caller: Caller
    ) async throws(WireError) {
        let agent = try await owned(name, caller, to: "set secrets of")
        guard let secret = agent.definition.secrets?.first(where: { $0.name == key }) else {
            throw Self.unknown(key, agent)
        }
        guard let value = SecretValue(text.utf8), secret.isPlain || value.fitsHeader else {
            throw WireError(
                code: .badRequest,
                message: """
                    The value must have \(SecretValue.lengths.lowerBound) to \
                    \(SecretValue.lengths.upperBound) bytes, without line breaks\
                    \(secret.isPlain ? "" : ", spaces and other characters that a header cannot have")
                    """)
        }
        do {
            let sealed = try context.secrets.vault.seal(
                value, context: SecretKeeper.context(agent.agentID, secret))
            try await context.secrets.store.put(
                SecretRecord(
                    agentID: agent.agentID, name: secret.name, binding: secret.binding,
                    sealed: sealed, changedAt: context.clock.wall, changedBy: caller.user))
        } catch let error as VaultError {
            throw WireError(code: .internal, message: "The secret could not be sealed: \(error)")
        } catch {
            throw WireError(error, "The secret could not be stored")
        }
        context.logger.notice(
            "secret \(secret.name) of agent \(agent.definition.name) set by \(caller.user.name)")
    }

    /// Deletes a key's value; requests get it no more.
    public func deleteSecret(
        _ key: String, agent name: String, caller: Caller
    ) async throws(WireError) {
        let agent = try await owned(name, caller, to: "delete secrets of")
        let wasThere: Bool
        do throws(StoreError) {
            wasThere = try await context.secrets.store.removeSecret(key, of: agent.agentID)
        } catch {
            throw WireError(error, "The secret could not be deleted")
        }
        guard wasThere else {
            guard agent.definition.secrets?.contains(where: { $0.name == key }) == true else {
                throw Self.unknown(key, agent)
            }
            throw WireError(
                code: .secretNotFound,
                message: "Secret '\(key)' of agent '\(agent.definition.name)' has no value")
        }
        context.logger.notice(
            "secret \(key) of agent \(agent.definition.name) deleted by \(caller.user.name)")
    }

    /// The agent, for operators and who deployed it.
    private func owned(
        _ name: String, _ caller: Caller, to verb: String
    ) async throws(WireError) -> AgentVersion {
        let agent = try await catalog.version(named: name)
        guard caller.isOperator || agent.deployedBy?.uid == caller.user.uid else {
            let owner = agent.deployedBy.map { "\($0.name), who deployed it, or " } ?? ""
            throw WireError(
                code: .forbidden,
                message: "Only \(owner)an operator may \(verb) agent '\(name)'")
        }
        return agent
    }

    private static func unknown(_ key: String, _ agent: AgentVersion) -> WireError {
        let known = (agent.definition.secrets ?? []).map(\.name)
        let shown = TerminalText.neutralised(String(key.prefix(80)))
        let rest =
            known.isEmpty
            ? "its file has no 'secrets'" : "it has: \(known.joined(separator: ", "))"
        return WireError(
            code: .secretNotFound,
            message: "Agent '\(agent.definition.name)' has no secret '\(shown)'; \(rest)")
    }

    private func show(
        _ secret: AgentSecret, _ record: SecretRecord?, _ agent: AgentVersion
    ) -> WireSecret {
        var wire = WireSecret(name: secret.name, state: .notSet)
        wire.url = secret.url?.description
        wire.header = secret.header?.description
        wire.baseURL = secret.baseURL
        wire.plain = secret.isPlain
        wire.intercept = secret.isIntercepted
        guard let record else { return wire }
        wire.changedAt = record.changedAt
        wire.changedBy = record.changedBy
        guard record.binding == secret.binding else {
            wire.state = .withheld
            return wire
        }
        let context = SecretKeeper.context(agent.agentID, secret)
        let value = try? self.context.secrets.vault.open(record.sealed, context: context)
        wire.state = value == nil ? .unreadable : .set
        return wire
    }

    private static func show(unused record: SecretRecord) -> WireSecret {
        var wire = WireSecret(name: record.name, state: .unused)
        wire.changedAt = record.changedAt
        wire.changedBy = record.changedBy
        wire.plain = record.binding == "plain"
        return wire
    }
}
