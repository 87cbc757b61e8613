import Settings
import Testing

@Suite("Rules of network policies")
struct NetworkRuleTests {
    @Test(arguments: [
        ("example.com", "example.com"), ("Example.COM.", "example.com"),
        ("example.com:443", "example.com:443"), ("example.com:*", "example.com:*"),
        ("*.Example.com", "*.example.com"), ("*.com.", "*.com"), ("*.a.b:8443", "*.a.b:8443"),
        ("203.0.113.7", "203.0.113.7"), ("203.0.113.7/32:*", "203.0.113.7:*"),
        ("203.0.113.0/24:22", "203.0.113.0/24:22"), ("2001:DB8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"), ("[2001:db8::7]:8443", "[2001:db8::7]:8443"),
        ("2001:db8::/32", "2001:db8::/32"), ("[2001:db8::/32]:*", "[2001:db8::/32]:*"),
        ("[2001:db8::/32]", "2001:db8::/32"), ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[::ffff:203.0.113.0/120]:80", "203.0.113.0/24:80"), ("0.0.0.0/0:*", "0.0.0.0/0:*"),
        ("::/0", "::/0"), ("localhost:65535", "localhost:65535"),
        ("*.localhost:1", "*.localhost:1"),
    ])
    func canonicalText(_ text: String, _ canonical: String) throws {
        let rule = try NetworkRule(text)
        #expect(rule.description == canonical)
        #expect(try NetworkRule(canonical) == rule)
        #expect(rule.covers(rule))
    }

    @Test(arguments: [
        ("", "'' has no name and no address"), (":443", "':443' has no name"),
        ("*", "'*' names every host; 'network: open' says so"),
        ("*:443", "'*:443' names every host"),
        ("*.", "'*.' has a '*' that is not the first label of a name, as in '*.example.com'"),
        ("*..com", "'.com' has two dots"), ("*com", "'*com' has a '*'"), ("a.*", "'a.*' has a '*'"),
        ("a.*.b", "'a.*.b' has a '*'"), ("*.*.a", "'*.*.a' has a '*'"),
        ("**.a", "'**.a' has a '*'"),
        ("*.com..", "'com..' has two dots"), ("*.1", "'1' ends in a number"),
        ("a..b", "'a..b' has two dots"), ("a b", "'a b' has ' ', which no name may have"),
        ("a@b", "'a@b' has '@'"), ("bücher.example", "'b\\xc3\\xbccher.example' has '\\xc3'"),
        (
            "a:0",
            "'a:0' has the port '0': it must be a number from 1 to 65535, or '*' for every port"
        ),
        ("a:", "'a:' has the port ''"), ("a:65536", "'a:65536' has the port '65536'"),
        ("a:http", "'a:http' has the port 'http'"),
        ("a:80,443", "'a:80,443' has the port '80,443'"),
        ("a:**", "'a:**' has the port '**'"), ("a:80:80", "'a:80:80' is no range of addresses"),
        ("https://a", "'https://a' has the port '//a'"), ("a/b", "'a/b' is no range of addresses"),
        ("10.0.0.1/8", "'10.0.0.1/8' has bits outside of its prefix; '10.0.0.0/8'?"),
        ("[10.0.0.0/8]:80", "'[10.0.0.0/8]:80' has brackets"), ("[a]:80", "'[a]:80' has brackets"),
        ("[::1]x", "'[::1]x' must have ':' and a port after ']'"),
        ("[::1", "'[::1' has '[' without"),
        ("[]", "'[]' has brackets"), ("[", "'[' has '[' without ']'"),
        ("127.1", "'127.1' ends in a number"),
        ("::1%lo", "'::1%lo' is no range of addresses"), ("a\0", "'a\\x00' has '\\x00'"),
    ])
    func refused(_ text: String, _ expected: String) {
        let error = #expect(throws: NetworkTextError.self) { try NetworkRule(text) }
        #expect(error?.message.hasPrefix(expected) == true, "\(error?.message ?? "")")
    }

    @Test func longTextsAreRefused() {
        let error = #expect(throws: NetworkTextError.self) {
            try NetworkRule(String(repeating: "a.", count: 1 << 19))
        }
        #expect(error?.code == .tooLong)
    }

    @Test(arguments: [
        (
            "example.com", ["example.com:80", "EXAMPLE.com.:443"],
            ["example.com:8080", "a.example.com:443", "203.0.113.7:443"]
        ),
        (
            "*.example.com", ["a.example.com:443", "a.b.example.com:80"],
            ["example.com:443", "badexample.com:443", "a.example.com:22"]
        ),
        ("example.com:22", ["example.com:22"], ["example.com:80", "example.com:443"]),
        ("example.com:*", ["example.com:1", "example.com:65535"], ["example.org:1"]),
        (
            "203.0.113.0/24", ["203.0.113.0:80", "203.0.113.255:443", "[::ffff:203.0.113.1]:80"],
            ["203.0.112.255:80", "203.0.114.0:80", "[64:ff9b::203.0.113.1]:80", "example.com:80"]
        ),
        ("[2001:db8::/32]:*", ["[2001:db8::1]:5", "[2001:db8:ffff::]:80"], ["[2001:db9::]:80"]),
    ])
    func matches(_ text: String, _ inside: [String], _ outside: [String]) throws {
        let rule = try NetworkRule(text)
        for text in inside { #expect(rule.matches(try Destination(text)), "\(text)") }
        for text in outside { #expect(!rule.matches(try Destination(text)), "\(text)") }
    }

    @Test(arguments: [
        ("example.com", "example.com", true), ("example.com", "example.com:80", true),
        ("example.com", "example.com:443", true), ("example.com", "example.com:22", false),
        ("example.com", "example.com:*", false), ("example.com:*", "example.com", true),
        ("example.com:443", "example.com", false), ("example.com:*", "example.com:*", true),
        ("*.example.com", "a.example.com", true), ("*.example.com", "example.com", false),
        ("*.example.com", "*.example.com", true), ("*.example.com", "*.a.example.com", true),
        ("*.a.example.com", "*.example.com", false), ("*.com", "*.example.com", true),
        ("a.example.com", "*.example.com", false), ("*.example.com", "badexample.com", false),
        ("10.0.0.0/8", "10.1.0.0/16", true), ("10.1.0.0/16", "10.0.0.0/8", false),
        ("10.0.0.0/8:*", "10.1.2.3:22", true), ("0.0.0.0/0", "2001:db8::1", false),
        ("0.0.0.0/0", "example.com", false), ("example.com", "203.0.113.7", false),
    ])
    func covers(_ outer: String, _ inner: String, _ expected: Bool) throws {
        #expect(try NetworkRule(outer).covers(NetworkRule(inner)) == expected)
    }

    /// What a rule covers, it matches: over many pairs of rules and destinations.
    @Test func coveringMeansMatching() throws {
        let hosts = [
            "a.example", "*.a.example", "*.b.a.example", "b.a.example", "10.0.0.0/8", "10.1.2.3",
            "0.0.0.0/0",
        ]
        let rules = try hosts.flatMap { host in
            try ["", ":80", ":22", ":*"].map { try NetworkRule(host + $0) }
        }
        let destinations = try ["a.example", "b.a.example", "c.b.a.example", "10.1.2.3", "9.9.9.9"]
            .flatMap { host in try [80, 443, 22, 5].map { try Destination("\(host):\($0)") } }
        for outer in rules {
            for inner in rules where outer.covers(inner) {
                for destination in destinations where inner.matches(destination) {
                    #expect(outer.matches(destination), "\(outer) \(inner) \(destination)")
                }
            }
        }
    }
}
