@testable import Egress
import Settings
import Testing

@Suite("Names and the addresses that stand for them")
struct SyntheticNamesTests {
    static func name(_ number: Int) throws -> HostName { try HostName("n\(number).example") }

    @Test func namesOfThePolicyComeFirst() throws {
        let policy = try NetworkPolicy(
            allow: ["b.example", "*.c.example", "a.example:22", "b.example:8080"].map {
                try .init($0)
            })
        for start: UInt32 in [0, 77, .max] {
            var names = SyntheticNames(pinned: policy.exactNames, start: start)
            #expect(names.count == 2)
            #expect(names.name(for: .v4(0xc612_0002))?.text == "b.example")
            #expect(names.name(for: .v4(0xc612_0003))?.text == "a.example")
            #expect(names.address(for: try HostName("a.example")).description == "198.18.0.3")
            let other = names.address(for: try HostName("x.c.example"))
            #expect(SyntheticNames.isSynthetic(other))
            #expect(names.name(for: other)?.text == "x.c.example")
        }
    }

    @Test func unknownAddresses() throws {
        var names = SyntheticNames(pinned: [try Self.name(1)])
        for text in [
            "198.18.0.0", "198.18.0.1", "198.18.0.3", "198.19.255.255", "127.0.0.1", "::1",
        ] {
            #expect(names.name(for: try #require(IPAddress(text))) == nil)
        }
        #expect(names.name(for: try #require(IPAddress("::ffff:198.18.0.2"))) != nil)
        for (text, expected) in [
            ("198.17.255.255", false), ("198.18.0.0", true), ("198.19.255.255", true),
            ("198.20.0.0", false), ("::ffff:198.18.0.1", true), ("::1", false),
        ] {
            #expect(SyntheticNames.isSynthetic(try #require(IPAddress(text))) == expected)
        }
    }

    @Test func leastRecentlyUsedGoesFirst() throws {
        var names = SyntheticNames(pinned: [try Self.name(0)], start: 0, capacity: 4)
        let addresses = try (0..<4).map { names.address(for: try Self.name($0)) }
        // 1 by its name, 2 by its address: 3 is the oldest now.
        _ = names.address(for: try Self.name(1))
        _ = names.name(for: addresses[2])
        let new = names.address(for: try Self.name(9))
        #expect(names.count == 4)
        #expect(names.name(for: addresses[3]) == nil)
        #expect(!addresses.contains(new), "an address is not taken again at once")
        _ = names.address(for: try Self.name(10))
        #expect(names.name(for: addresses[1]) == nil)
        #expect(names.name(for: addresses[2]) == (try Self.name(2)))
        #expect(names.name(for: addresses[0]) == (try Self.name(0)), "the policy's names stay")
    }

    /// Every address once, none of the three that are left out, then from the front again.
    @Test func theCircle() throws {
        var names = SyntheticNames(pinned: [try Self.name(0)], start: 131_060, capacity: 8)
        var given: [UInt32] = []
        for number in 1...131_080 {
            guard case .v4(let value) = names.address(for: try Self.name(number)) else { continue }
            given.append(value)
        }
        #expect(given.allSatisfy { $0 >= 0xc612_0003 && $0 <= 0xc613_fffe })
        #expect(given.first == UInt32(0xc612_0002) + 131_060)
        #expect(given.contains(0xc613_fffe) && given.contains(0xc612_0003))
        #expect(Set(given.prefix(131_068)).count == 131_068)
        #expect(names.count == 8)
    }

    @Test func tooManyNamesOfThePolicy() throws {
        let pinned = try (0..<20).map { try Self.name($0) } + [try Self.name(0)]
        var names = SyntheticNames(pinned: pinned, start: 0, capacity: 4)
        #expect(names.count == 3)
        for number in 0..<30 {
            let address = names.address(for: try Self.name(number))
            #expect(names.name(for: address) == (try Self.name(number)))
            #expect(names.count <= 4)
        }
        var one = SyntheticNames(pinned: pinned, start: 0, capacity: 1)
        let address = one.address(for: try Self.name(5))
        #expect(one.name(for: address) == (try Self.name(5)))
    }

    /// Against a plain list that does the same slowly.
    @Test func againstAModel() throws {
        var random = SeededGenerator(seed: 3)
        let pool = try (0..<60).map { try Self.name($0) }
        var names = SyntheticNames(pinned: Array(pool.prefix(5)), start: 131_050, capacity: 20)
        var recent: [(HostName, IPAddress)] = []
        let fixed = Dictionary(
            uniqueKeysWithValues: pool.prefix(5).map { ($0, names.address(for: $0)) })
        for _ in 0..<20_000 {
            guard let name = pool.randomElement(using: &random) else { continue }
            let isByAddress = Bool.random(using: &random)
            if let place = recent.firstIndex(where: { $0.0 == name }) {
                let entry = recent.remove(at: place)
                recent.append(entry)
                if isByAddress {
                    #expect(names.name(for: entry.1) == name)
                } else {
                    #expect(names.address(for: name) == entry.1)
                }
            } else if let address = fixed[name] {
                #expect(names.name(for: address) == name)
                #expect(names.address(for: name) == address)
            } else {
                let address = names.address(for: name)
                #expect(!recent.contains { $0.1 == address } && !fixed.values.contains(address))
                recent.append((name, address))
                if recent.count > 15 {
                    let gone = recent.removeFirst()
                    #expect(names.name(for: gone.1) == nil)
                }
            }
            #expect(names.count == recent.count + 5)
        }
    }
}
