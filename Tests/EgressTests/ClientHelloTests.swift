import Egress
import Settings
import Testing

@Suite("First messages of TLS clients")
struct ClientHelloTests {
    static func vector16(_ bytes: [UInt8]) -> [UInt8] { UInt16(bytes.count).network + bytes }

    static func ext(_ type: UInt16, _ value: [UInt8]) -> [UInt8] { type.network + vector16(value) }

    static func serverName(_ names: [(UInt8, [UInt8])]) -> [UInt8] {
        ext(0, vector16(names.flatMap { [$0.0] + vector16($0.1) }))
    }

    static func serverName(_ name: String) -> [UInt8] { serverName([(0, Array(name.utf8))]) }

    static func alpn(_ names: [String]) -> [UInt8] {
        ext(16, vector16(names.flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }))
    }

    /// The body of a hello; `extensions` nil for none at all, as old clients have it.
    static func body(_ extensions: [UInt8]?) -> [UInt8] {
        [3, 3] + [UInt8](repeating: 7, count: 32) + [32] + [UInt8](repeating: 8, count: 32)
            + vector16([0x13, 1, 0x13, 2]) + [1, 0] + (extensions.map(vector16) ?? [])
    }

    static func message(_ body: [UInt8], type: UInt8 = 1) -> [UInt8] {
        [type, UInt8(body.count >> 16)] + UInt16(body.count & 0xffff).network + body
    }

    static func records(_ message: [UInt8], size: Int = 16384) -> [UInt8] {
        stride(from: 0, to: message.count, by: size).flatMap {
            [22, 3, 1] + vector16(Array(message[$0..<min($0 + size, message.count)]))
        }
    }

    static func inspect(_ bytes: [UInt8]) -> ClientHello.Inspection {
        var reader = ClientHelloReader()
        return reader.feed(bytes)
    }

    static func inspect(extensions: [UInt8]?) -> ClientHello.Inspection {
        inspect(records(message(body(extensions))))
    }

    static let usual =
        ext(0x0a0a, []) + serverName("Example.com") + ext(10, [0, 2, 0, 29])
        + alpn(["h2", "http/1.1"]) + ext(43, [2, 3, 4]) + ext(21, [UInt8](repeating: 0, count: 200))

    @Test func usualHello() {
        guard case .hello(let hello) = Self.inspect(extensions: Self.usual) else {
            Issue.record("no hello")
            return
        }
        #expect(hello.serverName?.text == "example.com")
        #expect(hello.alpn == ["h2", "http/1.1"])
        #expect(!hello.hasEncryptedHello)
    }

    @Test func helloWithoutNames() {
        for extensions in [nil, [], Self.ext(10, [0, 2, 0, 29])] as [[UInt8]?] {
            guard case .hello(let hello) = Self.inspect(extensions: extensions) else {
                Issue.record("no hello")
                continue
            }
            #expect(hello.serverName == nil && hello.alpn.isEmpty)
        }
        let encrypted = Self.ext(0xfe0d, [0]) + Self.serverName("a.example")
        guard case .hello(let hello) = Self.inspect(extensions: encrypted) else { return }
        #expect(hello.hasEncryptedHello)
    }

    /// Every way of cutting it in two, and byte by byte; in records of every small size.
    @Test func fragments() {
        let expected = Self.inspect(extensions: Self.usual)
        for size in 1...40 {
            let bytes = Self.records(Self.message(Self.body(Self.usual)), size: size)
            var reader = ClientHelloReader()
            for (index, byte) in bytes.enumerated() {
                let result = reader.feed([byte])
                #expect(result == (index == bytes.count - 1 ? expected : .needMore))
            }
            #expect(Self.inspect(bytes) == expected)
        }
        let whole = Self.records(Self.message(Self.body(Self.usual)), size: 100)
        for cut in 0...whole.count {
            var reader = ClientHelloReader()
            let first = reader.feed(whole.prefix(cut))
            #expect(first == (cut == whole.count ? expected : .needMore))
            #expect(reader.feed(whole.suffix(whole.count - cut)) == expected)
            #expect(reader.feed([1, 2, 3]) == expected, "the result stays")
            #expect(reader.result == expected)
        }
    }

    @Test func whatFollowsInOtherRecordsIsNotLookedAt() {
        let bytes = Self.records(Self.message(Self.body(Self.usual))) + [23, 3, 3, 0, 1, 0]
        #expect(Self.inspect(bytes) == Self.inspect(extensions: Self.usual))
    }

    @Test(arguments: [
        [0x15, 3, 1, 0, 2, 1, 0], Array("GET / HTTP/1.1\r\n".utf8), [5, 1, 0], [0], [22, 2],
        [22, 4],
        [0x80, 0x2e, 1, 0, 2], Array("SSH-2.0-x".utf8),
    ])
    func notTLS(_ bytes: [UInt8]) {
        #expect(Self.inspect(bytes) == .notTLS)
    }

    static let malformedExtensions: [(String, [UInt8])] = [
        ("twice", serverName("a.example") + serverName("b.example")),
        (
            "more than one",
            serverName([(0, Array("a.example".utf8)), (0, Array("b.example".utf8))])
        ),
        ("more than one", serverName([(0, Array("a.example".utf8)), (1, [1])])),
        ("unknown type 1", serverName([(1, Array("a.example".utf8))])),
        ("unknown type 255", serverName([(255, [])])),
        ("server name a name must not be empty", serverName("")),
        ("has '\\x00'", serverName("a.example\0.b.example")), ("has ' '", serverName("a b")),
        ("ends in a number", serverName("203.0.113.7")), ("has ':'", serverName("::1")),
        ("has '*'", serverName("*.example")),
        ("longer", serverName(String(repeating: "a.", count: 200))),
        ("server name is cut short", ext(0, [0, 0])), ("length of the server names", ext(0, [])),
        ("length of the server names", ext(0, [0, 9, 0, 0, 1, 97])),
        ("length of the server names", ext(0, [0, 4, 0, 0, 1, 97, 0])),
        ("server name is cut short", ext(0, [0, 4, 0, 0, 9, 97])),
        ("length of an extension", [0, 0, 0, 9, 1]), ("length of an extension", [0]),
        ("application protocols", ext(16, [])), ("application protocols", ext(16, [0, 0])),
        ("application protocols", ext(16, [0, 5, 2, 104, 50])), ("no name", ext(16, [0, 1, 0])),
        ("no name", ext(16, [0, 3, 9, 104, 50])), ("twice", alpn(["h2"]) + alpn(["h2"])),
        ("twice", ext(99, []) + ext(99, [])),
    ]

    @Test(arguments: malformedExtensions)
    func malformed(_ expected: String, _ extensions: [UInt8]) {
        guard case .malformed(let text) = Self.inspect(extensions: extensions) else {
            Issue.record("taken: \(expected)")
            return
        }
        #expect(text.contains(expected), "\(text)")
        #expect(text.utf8.count < 400)
    }

    @Test func malformedMessages() {
        let body = Self.body(Self.usual)
        let message = Self.message(body)
        var longSession = body
        longSession[34] = 33
        let cases: [(String, [UInt8])] = [
            ("type 2", Self.records(Self.message(body, type: 2))),
            ("record of 0 bytes", [22, 3, 1, 0, 0]), ("record of 16385", [22, 3, 1, 0x40, 1]),
            ("record of type 23", [22, 3, 1, 0, 1, 1, 23]),
            ("another version", [22, 3, 1, 0, 1, 1, 22, 4]),
            ("follows the hello", Self.records(message + [0])),
            ("follows the hello", Self.records(message + message)),
            ("cut short", Self.records(Self.message([]))),
            ("cut short", Self.records(Self.message([3, 3]))),
            ("cut short", Self.records(Self.message([2] + body.dropFirst()))),
            ("cut short", Self.records(Self.message(longSession))),
            ("length of the extensions", Self.records(Self.message(body + [0]))),
            ("length of the extensions", Self.records(Self.message(Array(body.dropLast())))),
            ("larger than 65536", [22, 3, 1, 0, 4, 1, 0, 0xff, 0xfd]),
            ("larger than 65536", [22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff]),
        ]
        for (expected, bytes) in cases {
            guard case .malformed(let text) = Self.inspect(bytes) else {
                Issue.record("taken: \(expected)")
                continue
            }
            #expect(text.contains(expected), "\(text)")
        }
    }

    /// The bound counts the headers of records too: many of one byte each are six times as much.
    @Test func sizesToTheEdge() {
        func padded(_ count: Int) -> [UInt8] {
            let rest = count - Self.body(Self.serverName("a.example") + Self.ext(21, [])).count - 4
            let padding = Self.ext(21, [UInt8](repeating: 0, count: rest))
            return Self.message(Self.body(Self.serverName("a.example") + padding))
        }
        // Four records of 16384 bytes would be too much by their headers.
        let fits = Self.records(padded(65536 - 20))
        #expect(fits.count == 65536)
        guard case .hello = Self.inspect(fits) else {
            Issue.record("\(Self.inspect(fits))")
            return
        }
        guard case .malformed = Self.inspect(Self.records(padded(65536 - 19))) else {
            Issue.record("taken")
            return
        }
        let small = Self.records(padded(12000), size: 1)
        var reader = ClientHelloReader()
        var taken = 0
        while reader.result == .needMore, taken < small.count {
            reader.feed([small[taken]])
            taken += 1
        }
        #expect(taken == 65536)
        #expect(reader.result == .malformed("the hello is larger than 65536 bytes"))
    }

    /// Mutated and random bytes never trap, and pieces make no difference.
    @Test func hostileBytes() {
        var random = SeededGenerator(seed: 23)
        let seeds = [
            Self.records(Self.message(Self.body(Self.usual))),
            Self.records(Self.message(Self.body(Self.serverName("a.example"))), size: 11),
        ]
        for round in 0..<6000 {
            let bytes =
                round % 8 == 0
                ? [22, 3, 1] + random.bytes(Int.random(in: 0...100, using: &random))
                : random.mutated(seeds[round % 2])
            let whole = Self.inspect(bytes)
            var reader = ClientHelloReader()
            var place = 0
            while place < bytes.count {
                let count = min(Int.random(in: 1...60, using: &random), bytes.count - place)
                reader.feed(bytes[place..<(place + count)])
                place += count
            }
            #expect(reader.result == whole)
        }
    }
}

@Suite("First bytes of clients")
struct RequestSniffTests {
    static let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

    @Test(arguments: [
        ("", RequestSniff.needMore), ("G", .needMore), ("GET", .needMore), ("GET ", .http1),
        ("CONNECT a:1 HTTP/1.1\r\n", .http1), ("M-SEARCH * HTTP/1.1", .http1), ("get / ", .http1),
        ("\u{5}", .socks5), ("\u{5}\u{1}\u{0}", .socks5), ("\u{4}\u{1}", .other), ("\u{16}", .tls),
        ("\u{16}\u{3}\u{1}", .tls), (" GET / ", .other), ("\r\nGET / ", .other), ("\0", .other),
        ("GET\t/", .other), ("GET\r\n", .other), ("SSH-2.0-OpenSSH_9.2 x", .other),
        ("G@T / ", .other),
        (String(repeating: "A", count: 24), .needMore),
        (String(repeating: "A", count: 24) + " ", .http1),
        (String(repeating: "A", count: 25), .other),
        (String(repeating: "A", count: 1 << 16), .other),
        ("P", .needMore), ("PRI", .needMore), ("PRI ", .needMore),
        ("PRI * HTTP/2.0\r\n\r\nSM", .needMore),
        (preface, .http2), (preface + "x", .http2), ("PRI * HTTP/1.1\r\n", .http1),
        ("PRI /", .http1),
        ("PRIX", .needMore), ("Ä", .other),
    ])
    func kinds(_ text: String, _ expected: RequestSniff) {
        #expect(RequestSniff(Array(text.utf8)) == expected)
    }

    /// 25 bytes always suffice, and a result never changes by what follows.
    @Test func resultsStay() {
        var random = SeededGenerator(seed: 2)
        let seeds = [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n", Self.preface, "\u{5}\u{1}\u{0}",
            "\u{16}\u{3}\u{1}\u{0}",
        ]
        for round in 0..<4000 {
            let bytes = random.mutated(Array(seeds[round % seeds.count].utf8)) + random.bytes(30)
            #expect(RequestSniff(bytes) != .needMore)
            let results = (0...bytes.count).map { RequestSniff(bytes.prefix($0)) }
            let first = results.first { $0 != .needMore }
            #expect(results.drop { $0 == .needMore }.allSatisfy { $0 == first })
        }
    }
}
