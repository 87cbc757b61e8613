internal import Crypto
public import Egress
public import Foundation
public import Sessions

/// Seals keys with ChaCha20-Poly1305 (RFC 8439) under a key that comes from the master key. What a
/// value belongs to is authenticated with it.
public struct Vault: SecretVault {
    private let master: MasterKey

    public init(_ master: MasterKey) { self.master = master }

    public func seal(_ value: SecretValue, context: String) throws(VaultError) -> Data {
        let key = try master.derived("seal")
        do {
            return try ChaChaPoly.seal(
                value.reveal(), using: key, authenticating: Data(context.utf8)
            ).combined
        } catch {
            throw VaultError("\(error)")
        }
    }

    public func open(_ sealed: Data, context: String) throws(VaultError) -> SecretValue {
        let key = try master.derived("seal")
        do {
            let box = try ChaChaPoly.SealedBox(combined: sealed)
            let bytes = try ChaChaPoly.open(box, using: key, authenticating: Data(context.utf8))
            if let value = SecretValue(bytes) { return value }
        } catch {
            throw VaultError(
                "it was sealed with another master key, or changed since; set it again")
        }
        throw VaultError("what was sealed is no value; set it again")
    }

    public func standIn(session: String, secret: String) throws(VaultError) -> String {
        let key = try master.derived("stand-in \(session) \(secret)")
        return key.withUnsafeBytes { bytes in
            bytes.prefix(20).map { byte in
                (byte < 16 ? "0" : "") + String(byte, radix: 16)
            }.joined()
        }
    }

    public func authority(session: String, names: [String]) throws(VaultError) -> String {
        do {
            return try SessionAuthority(master, session: session).certificate(for: names)
        } catch let error as VaultError {
            throw error
        } catch {
            throw VaultError("\(error)")
        }
    }
}
