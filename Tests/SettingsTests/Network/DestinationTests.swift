import Settings
import Testing

@Suite("Host names")
struct HostNameTests {
    @Test(arguments: [
        ("example.com", "example.com"), ("EXAMPLE.Com", "example.com"),
        ("example.com.", "example.com"), ("a", "a"), ("localhost", "localhost"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"), ("_dmarc.example", "_dmarc.example"),
        ("a-b.c--d.e", "a-b.c--d.e"), ("1.2.3.4.in-addr.arpa", "1.2.3.4.in-addr.arpa"),
        ("0x7f.example", "0x7f.example"), ("127.1.example", "127.1.example"), ("3com", "3com"),
        ("a.0y", "a.0y"), ("0.x", "0.x"),
    ])
    func canonical(_ text: String, _ canonical: String) throws {
        let name = try HostName(text)
        #expect(name.text == canonical)
        #expect(try HostName(canonical) == name)
        #expect(try HostName(text.uppercased()) == name)
    }

    @Test(arguments: [
        ("", NetworkTextError.Code.empty), (".", .badLabel), ("..", .badLabel), ("a..", .badLabel),
        (".a", .badLabel), ("a..b", .badLabel), ("-a", .badLabel), ("a-", .badLabel),
        ("a.-b.c", .badLabel), ("a.b-.c", .badLabel), ("a.b-.", .badLabel),
        ("a\0", .badByte), ("a.example\0.b", .badByte), ("a b", .badByte), (" a", .badByte),
        ("a\n", .badByte), ("a\r\nb", .badByte), ("a\t", .badByte), ("a\u{7f}", .badByte),
        ("a%2eb", .badByte), ("a@b", .badByte), ("a/b", .badByte), ("a:80", .badByte),
        ("*.a", .badByte), ("*", .badByte), ("[::1]", .badByte), ("::1", .badByte),
        ("bücher.example", .badByte), ("a。b", .badByte), ("ａ", .badByte), ("a\\b", .badByte),
        ("a'b", .badByte), ("a,b", .badByte), ("a;b", .badByte), ("a?b", .badByte),
        ("a#b", .badByte),
        ("127.1", .disguisedAddress), ("0177.1", .disguisedAddress), ("0x7f.1", .disguisedAddress),
        ("2130706433", .disguisedAddress), ("0x7f000001", .disguisedAddress),
        ("0X7F000001.", .disguisedAddress), ("1.2.3.4", .disguisedAddress),
        ("0", .disguisedAddress),
        ("a.0x", .disguisedAddress), ("a.0xzz", .disguisedAddress),
        ("example.1", .disguisedAddress),
        ("1.2.3.4.", .disguisedAddress), ("256.256.256.256", .disguisedAddress),
    ])
    func refused(_ text: String, _ code: NetworkTextError.Code) {
        let error = #expect(throws: NetworkTextError.self) { try HostName(text) }
        #expect(error?.code == code, "\(error?.message ?? "")")
        #expect(error?.message.isEmpty == false)
    }

    @Test func lengthsToTheEdge() throws {
        let label = String(repeating: "a", count: 63)
        #expect(try HostName(label).text == label)
        #expect(throws: NetworkTextError.self) { try HostName(label + "a") }
        let longest = "\(label).\(label).\(label).\(label.dropLast(2))"
        #expect(longest.utf8.count == 253)
        #expect(try HostName(longest + ".").text == longest)
        for text in [longest + "a", longest + "a.", String(repeating: "a", count: 1 << 20)] {
            let error = #expect(throws: NetworkTextError.self) { try HostName(text) }
            #expect(error?.code == .tooLong)
            #expect((error?.message.utf8.count ?? .max) < 300)
        }
    }

    /// Every byte, at every place of a label.
    @Test func everyByte() {
        let allowed = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-".utf8)
        for byte in UInt8.min...UInt8.max where byte != UInt8(ascii: ".") {
            for place in 0..<3 {
                var text = Array("abc.de".utf8)
                text[place] = byte
                let isEdge = place != 1 && byte == UInt8(ascii: "-")
                #expect(((try? HostName(text)) != nil) == (allowed.contains(byte) && !isEdge))
            }
        }
    }

    @Test func below() throws {
        let suffix = try HostName("example.com")
        for (text, expected) in [
            ("a.example.com", true), ("a.b.example.com", true), ("example.com", false),
            ("badexample.com", false), ("example.com.evil.net", false), ("com", false),
            ("a.example.org", false), ("aexample.com", false),
        ] {
            #expect(try HostName(text).isBelow(suffix) == expected, "\(text)")
        }
    }
}

@Suite("Destinations")
struct DestinationTests {
    @Test(arguments: [
        ("example.com:443", "example.com:443"), ("EXAMPLE.com.:1", "example.com:1"),
        ("203.0.113.7:65535", "203.0.113.7:65535"), ("[::1]:80", "[::1]:80"),
        ("[2001:DB8::0]:8080", "[2001:db8::]:8080"), ("[::ffff:1.2.3.4]:80", "[::ffff:1.2.3.4]:80"),
    ])
    func authority(_ text: String, _ canonical: String) throws {
        let destination = try Destination(text)
        #expect(destination.description == canonical)
        #expect(try Destination(canonical) == destination)
        #expect(try Destination(text, defaultPort: 9) == destination)
    }

    @Test func portByDefault() throws {
        #expect(try Destination("a.example", defaultPort: 443).port == 443)
        #expect(try Destination("[::1]", defaultPort: 80).description == "[::1]:80")
        #expect(throws: NetworkTextError.self) { try Destination("a.example", defaultPort: 0) }
        #expect(throws: NetworkTextError.self) { try Destination("a.example:", defaultPort: 80) }
        #expect(Destination(host: .address(.v4(1)), port: 0) == nil)
    }

    @Test(arguments: [
        ("example.com", NetworkTextError.Code.port), ("example.com:", .port), ("a:0", .port),
        ("a:00080", .port), ("a:080", .port), ("a:+80", .port), ("a:-80", .port), ("a: 80", .port),
        ("a:80 ", .port), ("a:80\n", .port), ("a:65536", .port), ("a:99999999999999999999", .port),
        ("a:8o", .port), ("a:0x50", .port), ("a:http", .port), ("a:٨٠", .port), ("a:80/", .port),
        ("a:80@b", .port), ("[::1]80", .port), ("[::1]", .port), ("[::1]:", .port),
        ("user@a:80", .badByte), ("user:pw@a:80", .address), ("a:80:80", .address),
        ("::1:80", .address), ("2001:db8::1", .address), ("[::1", .address), ("[]:80", .address),
        ("[1.2.3.4]:80", .address), ("[a.example]:80", .address), ("[::1%eth0]:80", .address),
        ("[[::1]]:80", .port), (":80", .empty), ("", .port), ("a\0b:80", .badByte),
        ("http://a:80", .address), ("a/:80", .badByte), ("127.1:80", .disguisedAddress),
        ("01.2.3.4:80", .disguisedAddress), ("*:80", .badByte),
        (String(repeating: "a", count: 100_000) + ":80", .tooLong),
    ])
    func refused(_ text: String, _ code: NetworkTextError.Code) {
        let error = #expect(throws: NetworkTextError.self) { try Destination(text) }
        #expect(error?.code == code, "\(error?.message ?? "")")
    }

    @Test func hostsWithoutPort() throws {
        for (text, expected) in [
            ("::1", "[::1]"), ("[::1]", "[::1]"), ("1.2.3.4", "1.2.3.4"),
            ("A.example.", "a.example"),
        ] {
            #expect(try Destination.Host(Array(text.utf8)).description == expected)
        }
        for text in ["[", "]", "[]", "[:]", "[::1", "[1.2.3.4]", "[[::1]]", "", "127.1", "a:80"] {
            #expect(throws: NetworkTextError.self) { try Destination.Host(Array(text.utf8)) }
        }
    }

    @Test func longestName() throws {
        let label = String(repeating: "a", count: 63)
        let name = "\(label).\(label).\(label).\(label.dropLast(2))"
        #expect(try Destination("\(name).:65535").description == "\(name):65535")
    }

    /// Random and mutated texts never trap; what is read has one form that is read the same again.
    @Test func hostileTexts() {
        var random = SeededGenerator(seed: 7)
        let seeds = [
            "example.com:443", "[2001:db8::1]:80", "1.2.3.4:80", "*.a.b:*", "10.0.0.0/8:443",
            "[2001:db8::/32]:*", "::ffff:1.2.3.4", "a..b:0x1",
        ].map { Array($0.utf8) }
        let alphabet = Array("0123456789abfx.:[]/*%@-_ \0\u{ff}".utf8)
        for _ in 0..<30_000 {
            let text = random.mutated(seeds, alphabet: alphabet)
            if let value = try? Destination(authority: text) {
                #expect((try? Destination(value.description)) == value)
            }
            if let value = try? Destination.Host(text) {
                #expect((try? Destination.Host(Array(value.description.utf8))) == value)
            }
            if let value = IPAddress(text: text) {
                #expect(IPAddress(value.description) == value)
                _ = (value.addressClass, value.unmapped)
            }
            if let value = try? NetworkRule(String(decoding: text, as: UTF8.self)) {
                #expect((try? NetworkRule(value.description)) == value)
                #expect(value.covers(value))
            }
            if let value = try? AddressRange(text: text) {
                #expect((try? AddressRange(text: Array(value.description.utf8))) == value)
            }
        }
    }
}

/// SplitMix64: the same numbers in every run.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }

    /// One of `seeds` with a few bytes changed, added or taken away.
    mutating func mutated(_ seeds: [[UInt8]], alphabet: [UInt8]) -> [UInt8] {
        var text = seeds.randomElement(using: &self) ?? []
        for _ in 0..<Int.random(in: 0...4, using: &self) {
            let place = Int.random(in: 0...text.count, using: &self)
            let byte = alphabet.randomElement(using: &self) ?? 0
            switch Int.random(in: 0...3, using: &self) {
            case 0: text.insert(byte, at: place)
            case 1 where place < text.count: text.remove(at: place)
            case 2 where place < text.count: text[place] = byte
            default: text.removeSubrange(place...)
            }
        }
        return text
    }
}
