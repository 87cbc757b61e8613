internal import Crypto
internal import Foundation
internal import Sessions
internal import SwiftASN1
internal import X509

/// The authority that one session trusts, for the names that its secrets are bound to. Its key
/// follows from the master key and the session, so it is on no disk and the same after a restart.
struct SessionAuthority {
    private static let day = 86400.0

    private let key: P256.Signing.PrivateKey
    private let name: DistinguishedName

    init(_ master: MasterKey, session: String) throws {
        key = try Self.key(master, session)
        name = try DistinguishedName {
            CommonName("superserve session \(session.prefix(12))")
        }
    }

    /// Not every 32 bytes are a key of the curve; of 2^32 only one is none.
    private static func key(
        _ master: MasterKey, _ session: String
    ) throws -> P256.Signing.PrivateKey {
        for attempt in 0..<8 {
            let bytes = try master.derived("authority \(session) \(attempt)").withUnsafeBytes {
                Data($0)
            }
            if let key = try? P256.Signing.PrivateKey(rawRepresentation: bytes) { return key }
        }
        throw VaultError("no key for the session's authority")
    }

    /// Good for these names and what is below them, whatever it signs.
    func certificate(for names: [String]) throws -> String {
        let own = Certificate.PublicKey(key.publicKey)
        let certificate = try Certificate(
            version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: own,
            notValidBefore: Date(timeIntervalSinceNow: -Self.day),
            notValidAfter: Date(timeIntervalSinceNow: 3650 * Self.day), issuer: name,
            subject: name, signatureAlgorithm: .ecdsaWithSHA256,
            extensions: Certificate.Extensions {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
                Critical(KeyUsage(keyCertSign: true, cRLSign: true))
                Critical(NameConstraints(permittedDNSDomains: names))
                SubjectKeyIdentifier(hash: own)
            }, issuerPrivateKey: Certificate.PrivateKey(key))
        return try certificate.serializeAsPEM().pemString
    }

    /// A certificate for a server of this name, and its key.
    func leaf(for host: String) throws -> (certificate: String, key: String) {
        let leaf = P256.Signing.PrivateKey()
        let own = Certificate.PublicKey(leaf.publicKey)
        let issuer = SubjectKeyIdentifier(hash: Certificate.PublicKey(key.publicKey))
        let certificate = try Certificate(
            version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: own,
            notValidBefore: Date(timeIntervalSinceNow: -Self.day),
            notValidAfter: Date(timeIntervalSinceNow: 30 * Self.day), issuer: name,
            subject: try DistinguishedName { CommonName(String(host.prefix(64))) },
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: try Certificate.Extensions {
                Critical(BasicConstraints.notCertificateAuthority)
                Critical(KeyUsage(digitalSignature: true))
                try ExtendedKeyUsage([.serverAuth])
                SubjectAlternativeNames([.dnsName(host)])
                SubjectKeyIdentifier(hash: own)
                AuthorityKeyIdentifier(keyIdentifier: issuer.keyIdentifier)
            }, issuerPrivateKey: Certificate.PrivateKey(key))
        return (try certificate.serializeAsPEM().pemString, leaf.pemRepresentation)
    }
}
