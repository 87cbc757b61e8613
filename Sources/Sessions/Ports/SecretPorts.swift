public import API
public import Egress
public import Foundation

/// A key as it is kept: nobody can read it without the master key.
public struct SecretRecord: Sendable, Hashable {
    public var agentID: String
    /// The variable.
    public var name: String
    /// Where the value may go, as it was when it was set.
    public var binding: String
    public var sealed: Data
    public var changedAt: Date
    public var changedBy: WireUser

    public init(
        agentID: String, name: String, binding: String, sealed: Data, changedAt: Date,
        changedBy: WireUser
    ) {
        self.agentID = agentID
        self.name = name
        self.binding = binding
        self.sealed = sealed
        self.changedAt = changedAt
        self.changedBy = changedBy
    }
}

/// Where sealed keys are kept.
public protocol SecretStore: Sendable {
    /// All of an agent, by name.
    func secrets(of agentID: String) async throws(StoreError) -> [SecretRecord]
    func secret(_ name: String, of agentID: String) async throws(StoreError) -> SecretRecord?
    /// Inserts or replaces.
    func put(_ secret: SecretRecord) async throws(StoreError)
    /// False where there was none.
    func removeSecret(_ name: String, of agentID: String) async throws(StoreError) -> Bool
}

/// Why a key cannot be sealed or opened.
public struct VaultError: Error, Sendable, CustomStringConvertible {
    public var description: String

    public init(_ description: String) { self.description = description }
}

/// What only the master key can do.
public protocol SecretVault: Sendable {
    /// - Parameter context: what the value belongs to; with another one it cannot be opened.
    func seal(_ value: SecretValue, context: String) throws(VaultError) -> Data
    func open(_ sealed: Data, context: String) throws(VaultError) -> SecretValue
    /// Letters and digits that nobody can guess, the same for the same arguments.
    func standIn(session: String, secret: String) throws(VaultError) -> String
    /// The certificate (PEM) of the authority that a session trusts for `names` and nothing else.
    func authority(session: String, names: [String]) throws(VaultError) -> String
}
