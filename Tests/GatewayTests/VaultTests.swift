import Egress
import Foundation
import Gateway
import Sessions
import Testing

@Suite("Sealed keys")
struct VaultTests {
    static func with(_ body: (String) throws -> Void) throws {
        let directory = FileManager.default.temporaryDirectory
            .appending(path: "superserve-vault-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        try body(directory.appending(path: "secrets.key").path)
    }

    static func vault(_ path: String, given: Data? = nil) throws -> Vault {
        Vault(try MasterKey(path: path, given: given))
    }

    static let value = SecretValue("sk-real-0123456789".utf8)

    @Test func sealedAndOpened() throws {
        try Self.with { path in
            let value = try #require(Self.value)
            let vault = try Self.vault(path)
            let one = try vault.seal(value, context: "agent key place")
            let two = try vault.seal(value, context: "agent key place")
            #expect(one != two)
            #expect(one.range(of: Data("sk-real".utf8)) == nil)
            // Another process with the same file.
            let again = try Self.vault(path).open(one, context: "agent key place")
            #expect(again.reveal() == value.reveal())
        }
    }

    @Test func onlyForWhatItBelongsTo() throws {
        try Self.with { path in
            let vault = try Self.vault(path)
            let sealed = try vault.seal(try #require(Self.value), context: "a")
            #expect(throws: VaultError.self) { try vault.open(sealed, context: "b") }
            for index in sealed.indices {
                var changed = sealed
                changed[index] ^= 1
                #expect(throws: VaultError.self) { try vault.open(changed, context: "a") }
            }
            for count in 0..<sealed.count {
                #expect(throws: VaultError.self) {
                    try vault.open(sealed.prefix(count), context: "a")
                }
            }
        }
    }

    @Test func anotherMasterKey() throws {
        try Self.with { path in
            let sealed = try Self.vault(path).seal(try #require(Self.value), context: "a")
            try FileManager.default.removeItem(atPath: path)
            let error = #expect(throws: VaultError.self) {
                try Self.vault(path).open(sealed, context: "a")
            }
            #expect(error?.description.contains("set it again") == true)
        }
    }

    @Test func theFileIsOurs() throws {
        try Self.with { path in
            _ = try Self.vault(path).standIn(session: "s", secret: "k")
            let attributes = try FileManager.default.attributesOfItem(atPath: path)
            #expect((attributes[.posixPermissions] as? NSNumber)?.intValue == 0o600)
            #expect((attributes[.size] as? NSNumber)?.intValue == 32)
            #expect(!FileManager.default.fileExists(atPath: path + ".new"))
            for mode in [0o640, 0o604, 0o666, 0o644] {
                try FileManager.default.setAttributes(
                    [.posixPermissions: NSNumber(value: mode)], ofItemAtPath: path)
                let error = #expect(throws: VaultError.self) {
                    try Self.vault(path).standIn(session: "s", secret: "k")
                }
                #expect(error?.description.contains("mode \(String(mode, radix: 8))") == true)
            }
        }
    }

    @Test(arguments: [0, 1, 31, 33, 64])
    func wrongSizes(_ size: Int) throws {
        try Self.with { path in
            _ = FileManager.default.createFile(
                atPath: path, contents: Data(count: size),
                attributes: [.posixPermissions: NSNumber(value: 0o600)])
            let error = #expect(throws: VaultError.self) {
                try Self.vault(path).standIn(session: "s", secret: "k")
            }
            #expect(error?.description.contains("\(size) bytes") == true)
            #expect(throws: VaultError.self) {
                try MasterKey(path: path, given: Data(count: size))
            }
        }
    }

    @Test func noLinksAndNoDirectories() throws {
        try Self.with { path in
            let real = path + ".real"
            _ = try Self.vault(real).standIn(session: "s", secret: "k")
            try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: real)
            #expect(throws: VaultError.self) {
                try Self.vault(path).standIn(session: "s", secret: "k")
            }
            try FileManager.default.removeItem(atPath: path)
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: false,
                attributes: [.posixPermissions: NSNumber(value: 0o700)])
            #expect(throws: VaultError.self) {
                try Self.vault(path).standIn(session: "s", secret: "k")
            }
        }
    }

    @Test func standInsAreOfTheirSession() throws {
        try Self.with { path in
            let vault = try Self.vault(path)
            let one = try vault.standIn(session: "s", secret: "k")
            #expect(one.count == 40)
            #expect(try Self.vault(path).standIn(session: "s", secret: "k") == one)
            #expect(try vault.standIn(session: "t", secret: "k") != one)
            #expect(try vault.standIn(session: "s", secret: "l") != one)
        }
    }

    @Test func aGivenKeyNeedsNoFile() throws {
        try Self.with { path in
            let vault = try Self.vault(path, given: Data(repeating: 7, count: 32))
            let sealed = try vault.seal(try #require(Self.value), context: "a")
            #expect(!FileManager.default.fileExists(atPath: path))
            _ = try Self.vault("/nowhere", given: Data(repeating: 7, count: 32)).open(
                sealed, context: "a")
        }
    }

    @Test func authorities() throws {
        try Self.with { path in
            let pem = try Self.vault(path).authority(session: "s", names: ["api.example"])
            #expect(pem.hasPrefix("-----BEGIN CERTIFICATE-----"))
            let master = try MasterKey(path: path, given: nil)
            let tls = try GatewayTLS(master, authorities: Data(pem.utf8))
            try tls.prepare()
            for bad in [
                "", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            ] {
                #expect(throws: VaultError.self) {
                    try GatewayTLS(master, authorities: Data(bad.utf8))
                }
            }
        }
    }
}
