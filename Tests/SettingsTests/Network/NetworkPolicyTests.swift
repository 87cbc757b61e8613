import Foundation
import Settings
import Testing

@Suite("Network policies")
struct NetworkPolicyTests {
    static func list(_ allow: [String], deny: [String] = []) throws -> NetworkPolicy {
        try NetworkPolicy(allow: allow.map { try .init($0) }, deny: deny.map { try .init($0) })
    }

    static func open(except deny: [String]) throws -> NetworkPolicy {
        try NetworkPolicy(openExcept: deny.map { try .init($0) })
    }

    @Test func whatIsNamed() throws {
        let policy = try Self.list(
            ["a.example", "*.b.example:8443", "203.0.113.0/24:*"],
            deny: ["x.b.example:*", "203.0.113.128/25:22"])
        for (text, expected) in [
            ("a.example:443", "allowed: a.example"), ("A.example.:80", "allowed: a.example"),
            ("a.example:22", "denied: no rule"), ("c.b.example:8443", "allowed: *.b.example:8443"),
            ("b.example:8443", "denied: no rule"),
            ("x.b.example:8443", "denied: deny x.b.example:*"),
            ("203.0.113.7:22", "allowed: 203.0.113.0/24:*"),
            ("203.0.113.200:22", "denied: deny 203.0.113.128/25:22"),
            ("[::ffff:203.0.113.200]:22", "denied: deny 203.0.113.128/25:22"),
            ("203.0.113.200:23", "allowed: 203.0.113.0/24:*"),
            ("198.51.100.1:80", "denied: no rule"),
        ] {
            let verdict = policy.mayAsk(try Destination(text))
            #expect(verdict.description == expected, "\(text)")
            #expect(verdict.isAllowed == expected.hasPrefix("allowed"))
        }
    }

    @Test func noneAndTheEmptyListAllowNothing() throws {
        let empty = try Self.list([])
        for text in ["a.example:443", "203.0.113.7:80", "[2001:db8::1]:80", "127.0.0.1:80"] {
            let destination = try Destination(text)
            #expect(NetworkPolicy.none.mayAsk(destination) == .denied(.none))
            #expect(empty.mayAsk(destination) == .denied(.noRule))
            let dialled = empty.mayDial(.v4(0x0808_0808), named: destination, opened: .init())
            #expect(dialled == .denied(.noRule))
        }
    }

    @Test func openIsThePublicInternet() throws {
        let policy = try Self.open(except: ["bad.example:*", "203.0.113.0/24:*"])
        let opened = try PrivateDestinations(["127.0.0.1:11434"])
        for (text, address, expected) in [
            ("a.example:22", "198.51.100.1", "allowed: open"),
            ("bad.example:443", "198.51.100.1", "denied: deny bad.example:*"),
            ("a.example:443", "203.0.113.9", "denied: deny 203.0.113.0/24:*"),
            ("a.example:443", "::ffff:203.0.113.9", "denied: deny 203.0.113.0/24:*"),
            ("a.example:443", "64:ff9b::203.0.113.9", "denied: deny 203.0.113.0/24:*"),
            ("a.example:443", "10.0.0.1", "denied: private address"),
            ("a.example:443", "::1", "denied: loopback address"),
            ("a.example:443", "::ffff:127.0.0.1", "denied: loopback address"),
            ("a.example:443", "169.254.169.254", "denied: metadata address"),
            ("a.example:11434", "127.0.0.1", "allowed: open"),
            ("127.0.0.1:11434", "127.0.0.1", "allowed: open"),
            ("127.0.0.1:11434", "::ffff:127.0.0.1", "allowed: open"),
            ("127.0.0.1:11435", "127.0.0.1", "denied: loopback address"),
            ("127.0.0.2:11434", "127.0.0.2", "denied: loopback address"),
            ("[::1]:11434", "::1", "denied: loopback address"),
            ("198.51.100.1:80", "198.51.100.2", "denied: other address"),
        ] {
            let verdict = policy.mayDial(
                try #require(IPAddress(address)), named: try Destination(text), opened: opened)
            #expect(verdict.description == expected, "\(text) at \(address)")
        }
    }

    @Test(arguments: [
        ("none", "a", false), ("", "a", false), ("a", "a", true), ("a", "b", false),
        ("a:22", "a", true),
        ("a:*", "a", true), ("*.a", "b.a", true), ("*.a", "a", false), ("a -a", "a", false),
        ("a:* -a", "a", false), ("a:* b:22 -a", "a", true), ("a -a:80", "a", true),
        ("a:22 -a", "a", true), ("a:22 -a:22", "a", false), ("*.a -*.b.a", "c.b.a", false),
        ("open", "a", true), ("open -a", "a", false), ("open -a:80", "a", true),
        ("open -a:*", "a", false), ("10.0.0.0/8:*", "a", false),
    ])
    func resolving(_ policy: String, _ name: String, _ expected: Bool) throws {
        let verdict = try Self.parse(policy).mayResolve(HostName(name))
        #expect(verdict.isAllowed == expected, "\(verdict)")
    }

    @Test func namesInFull() throws {
        let policy = try Self.list(["b", "*.c", "a:22", "10.0.0.1", "B.:80", "a"], deny: ["d"])
        #expect(policy.exactNames.map(\.text) == ["b", "a"])
    }

    /// No rule of a list opens an address that is not public; the operator's exception alone
    /// does not either.
    @Test func privateAddressesNeedBoth() throws {
        let address = try #require(IPAddress("10.0.0.5"))
        let opened = try PrivateDestinations(["10.0.0.5:8000", "[::1]:8000"])
        for (rule, named, exception, expected) in [
            ("10.0.0.5:8000", "10.0.0.5:8000", true, true),
            ("10.0.0.5:8000", "10.0.0.5:8000", false, false),
            ("10.0.0.0/8:*", "10.0.0.5:8000", true, true),
            ("10.0.0.0/8:*", "10.0.0.5:8001", true, false),
            ("model.example:8000", "model.example:8000", true, true),
            ("model.example:8000", "model.example:8000", false, false),
            ("model.example:*", "model.example:8001", true, false),
            ("*.example:8000", "model.example:8000", true, false),
            ("other.example:8000", "model.example:8000", true, false),
        ] {
            let verdict = try Self.list([rule]).mayDial(
                address, named: try Destination(named), opened: exception ? opened : .init())
            #expect(verdict.isAllowed == expected, "\(rule) \(named) \(verdict)")
        }
        // The name is allowed by a wildcard, the address by a rule of its own.
        let both = try Self.list(["*.example:8000", "10.0.0.5:8000"])
        let named = try Destination("model.example:8000")
        #expect(both.mayDial(address, named: named, opened: opened).isAllowed)
        let denied = try Self.list(["model.example:8000"], deny: ["10.0.0.0/8:*"])
        #expect(!denied.mayDial(address, named: named, opened: opened).isAllowed)
    }

    @Test(arguments: [
        ("none", "none", nil), ("none", "open", nil), ("open", "none", "open"),
        ("open", "open", nil), ("", "none", nil), ("a", "none", "a"), ("a", "open", nil),
        ("open", "a", "open"), ("a", "a", nil), ("a b", "a", "b"), ("a", "a b", nil),
        ("a:443", "a", nil), ("a:444", "a", "a:444"), ("a", "a:80 a:443", nil), ("a", "a:80", "a"),
        ("a:*", "a", "a:*"), ("*.a", "*.b", "*.a"), ("x.a *.y.a", "*.a", nil), ("a", "*.a", "a"),
        ("10.1.0.0/16", "10.0.0.0/8", nil), ("203.0.113.7", "a", "203.0.113.7"),
        // Denials of the ceiling.
        ("open", "open -a", "no 'deny' of a"), ("open -a", "open -a", nil),
        ("open -*.com", "open -a.com", nil), ("open -a:80", "open -a", "no 'deny' of a"),
        ("open -a:80 -a:443", "open -a", nil), ("open -a", "open", nil), ("b", "open -a", nil),
        ("a", "open -a", "no 'deny' of a"), ("*.b", "open -a", nil),
        ("*.b", "open -x.b", "no 'deny' of x.b"), ("x.b", "open -*.b", "no 'deny' of *.b"),
        ("x.y.b", "*.b -*.y.b", "no 'deny' of *.y.b"), ("*.b -*.y.b", "*.b -*.y.b", nil),
        ("a", "a -203.0.113.0/24", "no 'deny' of 203.0.113.0/24"),
        ("a -203.0.113.0/24", "a -203.0.113.0/24", nil),
        ("198.51.100.1", "open -203.0.113.0/24", nil), ("a:22", "open -203.0.113.0/24", nil),
        ("203.0.113.0/24", "open -203.0.113.7:80", "no 'deny' of 203.0.113.7:80"),
        ("none", "open -a", nil), ("", "open -a", nil),
    ])
    func ceilings(_ policy: String, _ ceiling: String, _ expected: String?) throws {
        let excess = try Self.parse(policy).excess(over: Self.parse(ceiling))
        #expect(excess?.description == expected)
        #expect(try Self.parse(policy).isWithin(ceiling: Self.parse(ceiling)) == (expected == nil))
        #expect(try Self.parse(policy).isWithin(ceiling: Self.parse(policy)))
    }

    /// Words: `none`, `open`, rules, and `-` before what is denied.
    private static func parse(_ text: String) throws -> NetworkPolicy {
        let words = text.split(separator: " ").map(String.init)
        let deny = words.filter { $0.hasPrefix("-") }.map { String($0.dropFirst()) }
        if words.first == "none" { return .none }
        if words.first == "open" { return try open(except: deny) }
        return try list(words.filter { !$0.hasPrefix("-") }, deny: deny)
    }

    @Test func portsThatAreHeard() throws {
        #expect(NetworkPolicy.none.tcpPorts == [])
        #expect(NetworkPolicy.open.tcpPorts == [80, 443])
        #expect(try Self.list([]).tcpPorts == [80, 443])
        let some = try Self.list(
            ["a:22", "b:*", "c", "*.d:8443", "e:22", "10.0.0.0/8:5"], deny: ["a:9"])
        #expect(some.tcpPorts == [5, 22, 80, 443, 8443])
        let most = try Self.list((1000..<1030).map { "a:\($0)" } + ["a:80"])
        #expect(most.tcpPorts.count == NetworkPolicy.maximumPorts)
        let error = #expect(throws: NetworkTextError.self) {
            try Self.list((1000..<1031).map { "a:\($0)" })
        }
        #expect(error?.message.contains("33 ports") == true)
    }

    @Test func numberOfRules() throws {
        let rules = try (0..<256).map { try NetworkRule("a\($0).example") }
        #expect(try NetworkPolicy(allow: rules).allow.count == 256)
        #expect(throws: NetworkTextError.self) { try NetworkPolicy(allow: rules, deny: [rules[0]]) }
        #expect(throws: NetworkTextError.self) { try NetworkPolicy(openExcept: rules + [rules[0]]) }
    }

    @Test(arguments: [
        ("none", #""none""#), ("open", #""open""#), ("", #"{"allow":[]}"#),
        ("a *.b:*", #"{"allow":["a","*.b:*"]}"#),
        ("a -10.0.0.0/8", #"{"allow":["a"],"deny":["10.0.0.0\/8"]}"#),
        ("open -a", #"{"deny":["a"],"open":true}"#),
    ])
    func storedForm(_ text: String, _ stored: String) throws {
        let policy = try Self.parse(text)
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        let data = try encoder.encode(policy)
        #expect(String(decoding: data, as: UTF8.self) == stored)
        #expect(try JSONDecoder().decode(NetworkPolicy.self, from: data) == policy)
    }

    @Test(arguments: [
        #""all""#, "{}", #"{"deny":["a"]}"#, #"{"open":false}"#, #"{"allow":"a"}"#,
        #"{"allow":["*"]}"#, #"{"allow":["a"],"deny":["127.1"]}"#, "1", "[]", "null",
    ])
    func brokenStoredForms(_ text: String) {
        #expect(throws: DecodingError.self) {
            try JSONDecoder().decode(NetworkPolicy.self, from: Data(text.utf8))
        }
    }

    @Test func privateDestinations() throws {
        let opened = try PrivateDestinations(["127.0.0.1:11434", "[::ffff:10.0.0.1]:80", "[::1]:1"])
        #expect(opened.texts == ["10.0.0.1:80", "127.0.0.1:11434", "[::1]:1"])
        #expect(opened.contains(try #require(IPAddress("10.0.0.1")), port: 80))
        #expect(!opened.contains(try #require(IPAddress("10.0.0.1")), port: 81))
        #expect(!opened.contains(try #require(IPAddress("10.0.0.1")), port: 0))
        #expect(!opened.contains(try #require(IPAddress("::7f00:1")), port: 11434))
        for text in ["localhost:80", "127.0.0.1", "127.0.0.1:*", "127.0.0.0/8:80", "::1:80", ""] {
            #expect(throws: NetworkTextError.self) { try PrivateDestinations([text]) }
        }
        #expect(throws: NetworkTextError.self) {
            try PrivateDestinations((1...257).map { "127.0.0.1:\($0)" })
        }
    }
}
