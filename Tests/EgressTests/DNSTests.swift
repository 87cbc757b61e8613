import Egress
import Settings
import Testing

@Suite("Questions for names")
struct DNSTests {
    /// A query, with everything that can be wrong about it.
    static func query(
        _ labels: [String] = ["example", "com"], type: UInt16 = 1, recordClass: UInt16 = 1,
        flags: UInt16 = 0x0100, counts: [UInt16] = [1, 0, 0, 0], options: [UInt8] = [],
        tail: [UInt8] = []
    ) -> [UInt8] {
        var bytes: [UInt8] = [0x12, 0x34]
        for number in [flags] + counts { bytes += number.network }
        for label in labels { bytes += [UInt8(label.utf8.count)] + Array(label.utf8) }
        bytes.append(0)
        bytes += type.network
        bytes += recordClass.network
        return bytes + options + tail
    }

    static let options: [UInt8] = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]
    static let synthetic = IPAddress("198.18.0.2")

    static func answer(_ bytes: [UInt8]) -> [UInt8]? {
        switch DNSMessage.read(bytes) {
        case .query(let query): query.answer { $0.text == "example.com" ? synthetic : nil }
        case .answer(let answer): answer
        case .ignored: nil
        }
    }

    static func code(_ answer: [UInt8]?) -> UInt8? { answer.map { $0[3] & 0xf } }

    @Test func addressOfAnAllowedName() throws {
        let query = Self.query(["eXample", "COM"])
        let expected: [UInt8] =
            [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0] + query[12...]
            + [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 198, 18, 0, 2]
        #expect(Self.answer(query) == expected)
        guard case .query(let read) = DNSMessage.read(query) else {
            Issue.record("no query")
            return
        }
        #expect(read.name?.text == "example.com" && read.type == 1)
        let without = Self.answer(Self.query(flags: 0))
        #expect(without?[2] == 0x80, "recursion is not claimed to have been asked for")
    }

    @Test func optionsAreAnsweredByOptions() throws {
        let answer = try #require(
            Self.answer(Self.query(counts: [1, 0, 0, 1], options: Self.options)))
        #expect(Array(answer[10..<12]) == [0, 1])
        #expect(Array(answer.suffix(11)) == [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0])
        var signed = Self.options
        signed[7] = 0x80
        let other = try #require(Self.answer(Self.query(counts: [1, 0, 0, 1], options: signed)))
        #expect(Array(other.suffix(11)) == [0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0])
        // With a cookie in it.
        let cookie: [UInt8] =
            Array(Self.options.dropLast(2)) + [0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]
        #expect(Self.code(Self.answer(Self.query(counts: [1, 0, 0, 1], options: cookie))) == 0)
        // A version that is not there yet.
        var newer = Self.options
        newer[6] = 1
        let version = try #require(Self.answer(Self.query(counts: [1, 0, 0, 1], options: newer)))
        #expect(Self.code(version) == 0 && version.suffix(6).first == 1)
    }

    @Test(arguments: [28, 65, 64, 15, 16, 33, 12, 2, 6, 5, 0, 65535] as [UInt16])
    func otherTypesOfAnAllowedNameAreEmpty(_ type: UInt16) throws {
        let query = Self.query(type: type)
        let answer = try #require(Self.answer(query))
        #expect(answer == [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0] + query[12...])
    }

    @Test func refused() throws {
        let queries = [
            Self.query(["other", "com"]), Self.query(["com"]), Self.query([]),
            Self.query(["a", "example", "com"]), Self.query(["example.com"]),
            Self.query(["example", "com\0"]), Self.query(["exa mple", "com"]),
            Self.query(["*", "com"]),
            Self.query(["2", "0", "18", "198", "in-addr", "arpa"], type: 12),
            Self.query(["127", "1"]), Self.query(recordClass: 3), Self.query(recordClass: 255),
            Self.query(type: 252), Self.query(type: 251), Self.query(type: 128),
        ]
        for query in queries {
            let answer = try #require(Self.answer(query))
            #expect(
                answer == [0x12, 0x34, 0x81, 0x85, 0, 1, 0, 0, 0, 0, 0, 0] + query[12...],
                "\(query)")
        }
    }

    /// Also where the policy is open and every name is allowed.
    @Test func namesOfAddressesAreRefused() {
        for labels in [
            ["2", "0", "18", "198", "in-addr", "arpa"], ["1", "ip6", "ARPA"], ["in-addr", "arpa"],
        ] {
            for type: UInt16 in [12, 1, 255] {
                guard case .query(let query) = DNSMessage.read(Self.query(labels, type: type))
                else {
                    Issue.record("no query")
                    continue
                }
                #expect(Self.code(query.answer { _ in Self.synthetic }) == 5)
            }
        }
        guard case .query(let query) = DNSMessage.read(Self.query(["arpa"])) else { return }
        #expect(Self.code(query.answer { _ in Self.synthetic }) == 0)
        #expect(Self.code(query.answer { _ in IPAddress("::1") }) == 5)
    }

    @Test func formatErrors() {
        let plain = Self.query()
        let wrong: [[UInt8]] = [
            Self.query(counts: [0, 0, 0, 0]),
            Self.query(counts: [2, 0, 0, 0], tail: Array(plain[12...])),
            Self.query(counts: [1, 1, 0, 0]), Self.query(counts: [1, 0, 1, 0]),
            Self.query(counts: [1, 0, 0, 1]),
            Self.query(counts: [1, 0, 0, 2], options: Self.options + Self.options),
            Self.query(counts: [65535, 65535, 65535, 65535]), Self.query(tail: [0]),
            Self.query(options: Self.options), Array(plain.dropLast()), Array(plain.prefix(12)),
            // Pointers: to itself, to the header, beyond the end; and the reserved kinds of labels.
            Array(plain.prefix(12)) + [0xc0, 12, 0, 1, 0, 1],
            Array(plain.prefix(12)) + [1, 97, 0xc0, 0, 0, 1, 0, 1],
            Array(plain.prefix(12)) + [0xff, 0xff, 0, 1, 0, 1],
            Array(plain.prefix(12)) + [0x40, 0, 0, 1, 0, 1],
            Array(plain.prefix(12)) + [0x80, 0, 0, 1],
            // A label that is longer than the rest.
            Array(plain.prefix(12)) + [63, 97, 0, 0, 1, 0, 1],
            Self.query(counts: [1, 0, 0, 1], options: Array(Self.options.dropLast(2)) + [0, 1]),
            Self.query(counts: [1, 0, 0, 1], options: [1] + Self.options.dropFirst()),
            Self.query(counts: [1, 0, 0, 1], options: Self.options, tail: [0]),
            Self.query(counts: [1, 0, 0, 1], options: [0, 0, 1] + Self.options.dropFirst(3)),
        ]
        for query in wrong {
            #expect(
                Self.answer(query) == [0x12, 0x34, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0], "\(query)")
        }
    }

    @Test func longNames() {
        let label = String(repeating: "a", count: 63)
        // 255 bytes with the lengths and the root, and one more.
        let longest = Self.query([label, label, label, String(repeating: "a", count: 61)])
        #expect(Self.code(Self.answer(longest)) == 5)
        let longer = Self.query([label, label, label, String(repeating: "a", count: 62)])
        #expect(Self.code(Self.answer(longer)) == 1)
        let many = Self.query([String](repeating: "a", count: 1000))
        #expect(Self.code(Self.answer(many)) == 1)
    }

    @Test func otherOpcodes() {
        for opcode: UInt16 in 1...15 {
            let answer = Self.answer(Self.query(flags: opcode << 11 | 0x0100))
            #expect(Self.code(answer) == 4)
            #expect(answer.map { UInt16($0[2] >> 3) & 0xf } == opcode)
            #expect(answer?.count == 12)
        }
    }

    /// Answers to answers would go round for ever.
    @Test func ignored() {
        #expect(DNSMessage.read(Self.query(flags: 0x8180)) == .ignored)
        #expect(DNSMessage.read([]) == .ignored)
        #expect(DNSMessage.read(Self.query().prefix(11)) == .ignored)
        #expect(DNSMessage.read([UInt8](repeating: 0, count: 4097)) == .ignored)
        #expect(DNSMessage.read([UInt8](repeating: 0, count: 4096)) != .ignored)
        for flags: UInt16 in [0, 0x7800, 0x0100] {
            guard let answer = Self.answer(Self.query(flags: flags)) else { continue }
            #expect(DNSMessage.read(answer) == .ignored)
        }
    }

    @Test func hostileBytes() {
        var random = SeededGenerator(seed: 11)
        let seeds = [
            Self.query(), Self.query(counts: [1, 0, 0, 1], options: Self.options),
            Self.query(type: 28),
            Self.query([String](repeating: "abc", count: 20)),
        ]
        for round in 0..<40_000 {
            let bytes =
                round % 4 == 0
                ? random.bytes(Int.random(in: 0...80, using: &random))
                : random.mutated(seeds[round % seeds.count])
            guard let answer = Self.answer(bytes) else { continue }
            #expect(answer.count >= 12 && answer.count <= bytes.count + 28)
            #expect(answer[0...1] == bytes[0...1] && answer[2] & 0x80 != 0)
            #expect(answer[2] & 0x79 == bytes[2] & 0x79)
        }
    }

    @Test func framesInPieces() throws {
        var random = SeededGenerator(seed: 5)
        let messages = (0..<200).map { _ in random.bytes(Int.random(in: 12...300, using: &random)) }
        let stream = try messages.flatMap { try #require(DNSFrames.framed($0)) }
        var frames = DNSFrames()
        var read: [[UInt8]] = []
        var place = 0
        while place < stream.count {
            let count = min(Int.random(in: 1...700, using: &random), stream.count - place)
            let found = frames.feed(stream[place..<(place + count)])
            read += try #require(found)
            #expect(frames.pendingBytes < 302)
            place += count
        }
        #expect(read == messages)
        #expect(frames.pendingBytes == 0)
    }

    @Test(arguments: [0, 1, 11, 4097, 65535] as [UInt16])
    func frameLengthsOutOfBounds(_ length: UInt16) {
        var frames = DNSFrames()
        #expect(frames.feed(length.network) == nil)
        #expect(frames.feed([0, 12] + [UInt8](repeating: 0, count: 12)) == nil, "it stays broken")
        #expect(frames.pendingBytes == 0)
    }

    @Test func framesToTheEdge() {
        var frames = DNSFrames()
        #expect(frames.feed([0, 12]) == [])
        #expect(frames.feed([UInt8](repeating: 1, count: 12)) == [[UInt8](repeating: 1, count: 12)])
        #expect(frames.feed([0x10, 0] + [UInt8](repeating: 2, count: 4096))?.first?.count == 4096)
        #expect(DNSFrames.framed([UInt8](repeating: 0, count: 65536)) == nil)
        #expect(DNSFrames.framed([]) == [0, 0])
    }
}
