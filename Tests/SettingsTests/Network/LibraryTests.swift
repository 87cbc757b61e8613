import Foundation
import Settings
import Testing

/// Against what the C library reads: what resolves and dials later is that.
@Suite("Addresses as the C library sees them")
struct LibraryTests {
    private static func octets(_ text: [UInt8], family: Int32, count: Int) -> [UInt8]? {
        var octets = [UInt8](repeating: 0, count: count)
        let string = text.map { CChar(bitPattern: $0) } + [0]
        return inet_pton(family, string, &octets) == 1 ? octets : nil
    }

    private static func isAddress(_ text: String) -> Bool {
        var address = in_addr()
        return inet_aton(text, &address) != 0
    }

    private static let seeds = [
        "127.0.0.1", "0177.0.0.1", "255.255.255.255", "::1", "2001:db8::1", "::ffff:1.2.3.4",
        "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:1.2.3.4", "fe80::", "64:ff9b::1.2.3.4", "::",
    ].map { Array($0.utf8) }

    /// The same texts are addresses, with the same octets. Zones are none for either.
    @Test func textOfAddresses() {
        var random = SeededGenerator(seed: 41)
        let alphabet = Array("01234567890123456789abcfx.::::".utf8)
        var taken = 0
        for _ in 0..<30_000 {
            let text = random.mutated(Self.seeds, alphabet: alphabet)
            let expected =
                Self.octets(text, family: AF_INET, count: 4)
                ?? Self.octets(text, family: AF_INET6, count: 16)
            #expect(
                IPAddress(text: text)?.octets == expected,
                "\(String(decoding: text, as: UTF8.self))")
            taken += expected == nil ? 0 : 1
        }
        #expect(taken > 3000, "too few of the texts are addresses to tell anything")
    }

    /// The C library prints the same, but `::1.2.3.4` for addresses that nobody has any more.
    @Test func textOfOctets() throws {
        var random = SeededGenerator(seed: 43)
        for round in 0..<5000 {
            var octets = (0..<16).map { _ in UInt8.random(in: 0...255, using: &random) }
            for index in 0..<8 where Bool.random(using: &random) {
                octets[2 * index] = 0
                octets[2 * index + 1] = round % 2 == 0 ? 0 : octets[2 * index + 1]
            }
            guard octets.prefix(12).contains(where: { $0 != 0 }) else { continue }
            var buffer = [CChar](repeating: 0, count: 64)
            let address = try #require(IPAddress(octets: octets))
            _ = inet_ntop(AF_INET6, octets, &buffer, 64)
            let text = String(
                decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            #expect(address.description == text)
        }
    }

    /// No name is an address to `inet_aton`, which `getaddrinfo` uses: a name that was allowed can
    /// then not lead to 127.0.0.1 without a question to DNS.
    @Test func namesAreNoAddresses() {
        var random = SeededGenerator(seed: 47)
        let seeds = [
            "127.1", "0x7f.1", "2130706433", "0177.0.0.01", "0x7f000001", "1.2.3", "a.0x1", "1e.0",
            "0xff.0xff.0xff.0xff", "017700000001", "0x.1", "0x", "1.2.3.4.",
        ].map { Array($0.utf8) }
        let alphabet = Array("0123456789xXabcdefg..-_".utf8)
        var (names, addresses) = (0, 0)
        for _ in 0..<30_000 {
            let text = random.mutated(seeds, alphabet: alphabet)
            let isAddress = Self.isAddress(String(decoding: text, as: UTF8.self))
            addresses += isAddress ? 1 : 0
            guard let name = try? HostName(text) else { continue }
            names += 1
            #expect(!isAddress && !Self.isAddress(name.text), "\(name)")
        }
        #expect(names > 3000 && addresses > 3000)
    }
}
