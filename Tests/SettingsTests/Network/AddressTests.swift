import Settings
import Testing

@Suite("Addresses")
struct AddressTests {
    @Test(arguments: [
        ("0.0.0.0", "0.0.0.0"), ("127.0.0.1", "127.0.0.1"), ("255.255.255.255", "255.255.255.255"),
        ("::", "::"), ("::1", "::1"), ("1::", "1::"), ("2001:DB8::0001", "2001:db8::1"),
        ("2001:db8:0:0:0:0:0:1", "2001:db8::1"), ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("1:0:0:2:0:0:0:3", "1:0:0:2::3"), ("1:0:0:2:3:0:0:4", "1::2:3:0:0:4"),
        ("0:0:0:0:0:0:0:0", "::"), ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
        ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"), ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
        ("::FFFF:7f00:1", "::ffff:127.0.0.1"), ("64:ff9b::192.0.2.33", "64:ff9b::c000:221"),
        ("1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"), ("::1.2.3.4", "::102:304"),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        (
            "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
        ),
    ])
    func canonicalText(_ text: String, _ canonical: String) throws {
        let address = try #require(IPAddress(text))
        #expect(address.description == canonical)
        #expect(IPAddress(canonical) == address)
        #expect(IPAddress(octets: address.octets) == address)
    }

    @Test(arguments: [
        "", ".", "...", "1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.04", "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7f000001", "2130706433", "127.1", "127.0.1", "256.1.1.1", "1.2.3.256", "1.2.3.",
        ".1.2.3",
        "1..2.3", "1.2.3.4 ", " 1.2.3.4", "1.2.3.4\0", "1.2.3.4\n", "+1.2.3.4", "1.2.3.-4",
        "1.2.3.4a",
        "١.2.3.4", "1。2。3。4", "1.2.3.4/8", "1.2.3.4:80", "1.2.3.4%lo", "1.2.3.0000004",
        ":", ":::", "::1::", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::",
        "::1:2:3:4:5:6:7:8", "12345::", "::g", "::1%eth0", "::1%25eth0", "[::1]", "::1 ", "\0::1",
        "::1.2.3", "::1.2.3.04", "1.2.3.4::", "::1.2.3.4:5", "1:2:3:4:5:6:7:1.2.3.4", ":1", "1:",
        "::0x1", "::-1", "::ffff:256.0.0.1", "fe80::1/64",
        "0000000000000000000000000000000000000000000000000000:1",
    ])
    func refused(_ text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test func octetsOfOtherLengths() {
        for count in [0, 1, 3, 5, 15, 17, 100] {
            #expect(IPAddress(octets: [UInt8](repeating: 0, count: count)) == nil)
        }
        #expect(IPAddress(octets: [203, 0, 113, 7]) == IPAddress("203.0.113.7"))
    }

    /// First and last address of each range, and the neighbours outside of it.
    @Test(arguments: [
        ("0.0.0.0", AddressClass.unspecified), ("0.0.0.1", .thisNetwork),
        ("0.255.255.255", .thisNetwork), ("1.0.0.0", .ordinary), ("9.255.255.255", .ordinary),
        ("10.0.0.0", .private), ("10.255.255.255", .private), ("11.0.0.0", .ordinary),
        ("100.63.255.255", .ordinary), ("100.64.0.0", .carrierGradeNAT),
        ("100.127.255.255", .carrierGradeNAT), ("100.128.0.0", .ordinary),
        ("100.100.100.200", .metadata), ("126.255.255.255", .ordinary), ("127.0.0.0", .loopback),
        ("127.0.0.1", .loopback), ("127.255.255.255", .loopback), ("128.0.0.0", .ordinary),
        ("168.63.129.15", .ordinary), ("168.63.129.16", .metadata), ("169.253.255.255", .ordinary),
        ("169.254.0.0", .linkLocal), ("169.254.169.253", .linkLocal),
        ("169.254.169.254", .metadata), ("169.254.170.2", .metadata), ("169.254.170.23", .metadata),
        ("169.254.255.255", .linkLocal), ("169.255.0.0", .ordinary), ("172.15.255.255", .ordinary),
        ("172.16.0.0", .private), ("172.31.255.255", .private), ("172.32.0.0", .ordinary),
        ("191.255.255.255", .ordinary), ("192.0.0.0", .protocolAssignments),
        ("192.0.0.192", .metadata), ("192.0.0.255", .protocolAssignments), ("192.0.1.0", .ordinary),
        ("192.0.2.1", .ordinary), ("192.167.255.255", .ordinary), ("192.168.0.0", .private),
        ("192.168.255.255", .private), ("192.169.0.0", .ordinary), ("198.17.255.255", .ordinary),
        ("198.18.0.0", .benchmarking), ("198.19.255.255", .benchmarking), ("198.20.0.0", .ordinary),
        ("198.51.100.1", .ordinary), ("203.0.113.1", .ordinary), ("223.255.255.255", .ordinary),
        ("224.0.0.0", .multicast), ("239.255.255.255", .multicast), ("240.0.0.0", .reserved),
        ("255.255.255.254", .reserved), ("255.255.255.255", .broadcast),
    ])
    func classesOfV4(_ text: String, _ expected: AddressClass) throws {
        let address = try #require(IPAddress(text))
        #expect(address.addressClass == expected)
        #expect(address.isPublic == (expected == .ordinary))
        for form in try Self.forms(of: address) {
            #expect(form.addressClass == expected, "\(form)")
            #expect(form.unmapped == address, "\(form)")
        }
    }

    /// Every IPv6 address that stands for an IPv4 address.
    private static func forms(of address: IPAddress) throws -> [IPAddress] {
        guard case .v4(let value) = address else { return [] }
        let inner = UInt64(value)
        var forms: [IPAddress] = [
            .v6(high: 0, low: 0xffff << 32 | inner), .v6(high: 0, low: 0xffff_0000 << 32 | inner),
            .v6(high: 0x64_ff9b << 32, low: inner), .v6(high: 0x2002 << 48 | inner << 16, low: 0),
            .v6(high: 0x2002 << 48 | inner << 16 | 0xffff, low: .max),
            .v6(high: 0x2001_0000 << 32 | 0x0808_0808, low: inner ^ 0xffff_ffff),
        ]
        // ::0.0.0.0 and ::0.0.0.1 are the unspecified address and loopback.
        if value > 1 { forms.append(.v6(high: 0, low: inner)) }
        return forms
    }

    @Test(arguments: [
        ("::", AddressClass.unspecified), ("::1", .loopback), ("::2", .thisNetwork),
        ("100::", .discard), ("100::ffff:ffff:ffff:ffff", .discard), ("100:0:0:1::", .reserved),
        ("64:ff9b:1::1", .reserved), ("1fff:ffff::", .reserved), ("2000::", .ordinary),
        ("2001:db8::1", .ordinary), ("2001:2::1", .benchmarking), ("2001:2:1::", .ordinary),
        ("2606:2800:220:1::1", .ordinary), ("3fff:ffff::", .ordinary), ("4000::", .reserved),
        ("5f00::1", .reserved), ("fbff::", .reserved), ("fc00::", .uniqueLocal),
        ("fd00:ec2::254", .metadata), ("fd00:ec2::23", .metadata), ("fd20:ce::254", .metadata),
        ("fd00:ec2::253", .uniqueLocal), ("fdff:ffff::", .uniqueLocal), ("fe00::", .reserved),
        ("fe7f::", .reserved), ("fe80::1", .linkLocal), ("febf:ffff::", .linkLocal),
        ("fec0::", .siteLocal), ("feff:ffff::", .siteLocal), ("ff00::", .multicast),
        ("ff02::1", .multicast), ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", .multicast),
        // Teredo through a server in a private network.
        ("2001:0:a00:1::f7f7:f7f7", .private),
    ])
    func classesOfV6(_ text: String, _ expected: AddressClass) throws {
        #expect(try #require(IPAddress(text)).addressClass == expected)
    }

    @Test func whatStandsForNothingElseStays() throws {
        for text in ["::", "::1", "2001:db8::1", "fe80::1", "1.2.3.4", "2001:1::1", "2003::1"] {
            let address = try #require(IPAddress(text))
            #expect(address.unmapped == address)
            #expect(address.withoutMapping == address)
        }
        #expect(IPAddress("::ffff:1.2.3.4")?.withoutMapping == IPAddress("1.2.3.4"))
        #expect(IPAddress("2002:102:304::")?.withoutMapping == IPAddress("2002:102:304::"))
    }
}

@Suite("Ranges of addresses")
struct AddressRangeTests {
    @Test(arguments: [
        (
            "10.0.0.0/8", "10.0.0.0/8", ["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"],
            ["9.255.255.255", "11.0.0.0", "::a00:1", "::1"]
        ),
        ("0.0.0.0/0", "0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::", "2001:db8::"]),
        ("::/0", "::/0", ["::", "2001:db8::"], ["1.2.3.4", "::ffff:1.2.3.4"]),
        ("203.0.113.7/32", "203.0.113.7", ["203.0.113.7"], ["203.0.113.6", "203.0.113.8"]),
        ("203.0.113.7", "203.0.113.7", ["203.0.113.7"], ["203.0.113.6"]),
        ("2001:DB8::/32", "2001:db8::/32", ["2001:db8:ffff::"], ["2001:db9::", "32.1.13.184"]),
        ("2001:db8::1/128", "2001:db8::1", ["2001:db8::1"], ["2001:db8::2"]),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8", ["10.1.1.1"], ["11.0.0.0"]),
        ("::ffff:0:0/96", "0.0.0.0/0", ["1.1.1.1", "::ffff:1.1.1.1"], ["::1"]),
        ("255.255.255.254/31", "255.255.255.254/31", ["255.255.255.255"], ["255.255.255.253"]),
    ])
    func contains(_ text: String, _ canonical: String, _ inside: [String], _ outside: [String])
        throws
    {
        let range = try AddressRange(text: Array(text.utf8))
        #expect(range.description == canonical)
        #expect(try AddressRange(text: Array(canonical.utf8)) == range)
        for text in inside { #expect(range.contains(try #require(IPAddress(text))), "\(text)") }
        for text in outside { #expect(!range.contains(try #require(IPAddress(text))), "\(text)") }
    }

    @Test(arguments: [
        ("10.0.0.1/8", "'10.0.0.1/8' has bits outside of its prefix; '10.0.0.0/8'?"),
        ("2001:db8::1/32", "'2001:db8::1/32' has bits outside of its prefix; '2001:db8::/32'?"),
        ("10.0.0.0/33", "'10.0.0.0/33' must have a number from 0 to 32 after '/'"),
        ("::/129", "'::/129' must have a number from 0 to 128 after '/'"),
        ("10.0.0.0/", "'10.0.0.0/' must have a number from 0 to 32 after '/'"),
        ("10.0.0.0/08", "'10.0.0.0/08' must have"), ("10.0.0.0/-1", "'10.0.0.0/-1' must have"),
        ("10.0.0.0/8/8", "'10.0.0.0/8/8' must have"),
        ("10.0.0.0/255.0.0.0", "'10.0.0.0/255.0.0.0' must have"),
        ("10/8", "'10/8' is no range"), ("/8", "'/8' is no range"), ("", "'' is no range"),
        ("a.example/8", "'a.example/8' is no range"),
    ])
    func refused(_ text: String, _ expected: String) {
        let error = #expect(throws: NetworkTextError.self) {
            try AddressRange(text: Array(text.utf8))
        }
        #expect(error?.code == .address)
        #expect(error?.message.hasPrefix(expected) == true, "\(error?.message ?? "")")
    }

    @Test func rangesOfRanges() throws {
        let all = try ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3"].map {
            try AddressRange(text: Array($0.utf8))
        }
        for (outer, first) in all.enumerated() {
            for (inner, second) in all.enumerated() {
                #expect(first.contains(second) == (outer <= inner))
                #expect(first.overlaps(second))
            }
        }
        let other = try AddressRange(text: Array("11.0.0.0/8".utf8))
        #expect(!other.overlaps(all[1]) && !other.contains(all[1]))
        #expect(AddressRange(base: .v4(0), prefixLength: -1) == nil)
        #expect(AddressRange(base: .v4(0), prefixLength: 33) == nil)
        #expect(AddressRange(base: .v4(1), prefixLength: 0) == nil)
        #expect(AddressRange(base: .v6(high: .max, low: .max), prefixLength: 128) != nil)
    }
}
