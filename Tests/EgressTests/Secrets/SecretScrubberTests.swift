import NIOCore
import NIOHTTP1
import Testing

@testable import Egress

@Suite("A key in an answer")
struct SecretScrubberTests {
    static let key = "sk-real-0123456789abcdef"
    static let standIn = Array("sk-superserve-xyz".utf8)

    static func scrubber(_ key: String = key) throws -> SecretScrubber {
        SecretScrubber(try #require(SecretValue(key.utf8)), standIn: standIn)
    }

    static func run(_ scrubber: SecretScrubber, _ chunks: [String]) -> (all: String, live: [Int]) {
        var scrubber = scrubber
        var all = ""
        var live: [Int] = []
        for chunk in chunks {
            let out = scrubber.feed(ByteBuffer(string: chunk))
            live.append(out.readableBytes)
            all += String(buffer: out)
        }
        all += scrubber.finish().map { String(buffer: $0) } ?? ""
        return (all, live)
    }

    /// At every border between two chunks, and byte by byte.
    @Test func wherever() throws {
        let text =
            "data: {\"k\":\"\(Self.key)\"}\n\n\(Self.key)\(Self.key) sk-real-0123 end sk-real"
        let expected = text.replacing(Self.key, with: "sk-superserve-xyzsk-supe")
        #expect(expected.utf8.count == text.utf8.count)
        for cut in 0...text.count {
            let (all, _) = Self.run(
                try Self.scrubber(), [String(text.prefix(cut)), String(text.dropFirst(cut))])
            #expect(all == expected, "cut at \(cut)")
        }
        #expect(Self.run(try Self.scrubber(), text.map(String.init)).all == expected)
    }

    /// Keys that begin within themselves.
    @Test(arguments: ["aaaaaaaab", "abababababc", "aabaabaaab", "abcabcabd"])
    func selfSimilar(_ key: String) throws {
        let text = "aaaaaaaaaaaabaaabababababababcabcabcabcabdaabaabaabaaabx"
        let whole = Self.run(try Self.scrubber(key), [text]).all
        #expect(!whole.contains(key))
        for step in 1...7 {
            var chunks: [String] = []
            var rest = Substring(text)
            while !rest.isEmpty {
                chunks.append(String(rest.prefix(step)))
                rest = rest.dropFirst(step)
            }
            #expect(Self.run(try Self.scrubber(key), chunks).all == whole, "steps of \(step)")
        }
    }

    /// An event that does not end like the key begins is passed on whole.
    @Test func nothingWaitsNeedlessly() throws {
        let (_, live) = Self.run(try Self.scrubber(), ["data: 1\n\n", "data: sk-r", "x"])
        #expect(live == [9, 6, 5])
    }

    @Test func random() throws {
        var generator = SeededGenerator(seed: 7)
        for _ in 0..<300 {
            let key = String(
                decoding: (0..<12).map { _ in UInt8.random(in: 97...98, using: &generator) },
                as: UTF8.self)
            let text = String(
                decoding: (0..<400).map { _ in UInt8.random(in: 97...98, using: &generator) },
                as: UTF8.self)
            var chunks: [String] = []
            var rest = Substring(text)
            while !rest.isEmpty {
                let count = Int.random(in: 1...30, using: &generator)
                chunks.append(String(rest.prefix(count)))
                rest = rest.dropFirst(count)
            }
            let scrubber = try Self.scrubber(key)
            let found = Self.run(scrubber, chunks).all
            #expect(found == Self.run(scrubber, [text]).all)
            #expect(!found.contains(key))
        }
    }

    @Test func heads() throws {
        let head = HTTPResponseHead(
            version: .http1_1, status: .custom(code: 299, reasonPhrase: Self.key),
            headers: ["x-echo": "Bearer \(Self.key)", "x-other": "kept"])
        let clean = try Self.scrubber().clean(head)
        #expect(!"\(clean)".contains(Self.key))
        #expect(clean.headers["x-echo"] == ["Bearer sk-superserve-xyzsk-supe"])
        #expect(clean.headers["x-other"] == ["kept"])
    }

    @Test(arguments: [
        ("content-encoding", "gzip", false), ("content-encoding", "identity", true),
        ("content-encoding", "identity, br", false), ("transfer-encoding", "chunked", true),
        ("transfer-encoding", "gzip, chunked", false), ("x-other", "gzip", true),
    ])
    func coded(_ name: String, _ value: String, _ isUncoded: Bool) {
        let head = HTTPResponseHead(version: .http1_1, status: .ok, headers: [name: value])
        #expect(head.isUncoded == isUncoded)
    }

    @Test func valuesAreNotShown() throws {
        let value = try #require(SecretValue(Self.key.utf8))
        var dumped = ""
        dump(value, to: &dumped)
        for text in [
            "\(value)", String(reflecting: value), dumped, "\([value])",
            "\(Optional(value) as Any)",
        ] {
            #expect(!text.contains("sk-real"), "\(text)")
        }
        for bad in [
            "short", "has\nline-break", "has\0nul-byte", String(repeating: "x", count: 16385),
        ] {
            #expect(SecretValue(bad.utf8) == nil)
        }
    }
}
