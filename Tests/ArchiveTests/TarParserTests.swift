import Foundation
import Testing

@testable import Archive

@Suite struct TarParserTests {
    static let sample: [Made] = [
        .directory("top/"),
        .file("top/empty"),
        .file("top/small", "hello", mode: 0o755),
        .file("top/block", String(repeating: "x", count: 512)),
        .file("top/long-" + String(repeating: "n", count: 300), "long name"),
        .file("top/\u{4E2D}\u{6587}", "not ASCII"),
        .other(.symbolicLink, "top/link", to: String(repeating: "t/", count: 120)),
        .other(.hardLink, "top/hard", to: "top/small"),
        .file(
            String(repeating: "directory/", count: 14) + "split", "prefix and name"),
    ]

    @Test(arguments: [1, 7, 511, 512, 513, 4096, 1 << 20])
    func roundTrip(chunk: Int) throws {
        let parsed = try parse(archive(Self.sample), chunk: chunk)
        #expect(parsed.map(\.entry) == Self.sample.map(\.entry))
        #expect(parsed.map(\.data) == Self.sample.map(\.data))
    }

    @Test func largeSizesNeedNoData() throws {
        var writer = TarWriter()
        let entry = TarEntry(kind: .file, name: Array("big".utf8), size: 9 << 40)
        var parser = TarParser()
        let events = try parser.feed(writer.header(entry)[...])
        #expect(events == [.entry(entry)])
    }

    @Test func base256Sizes() throws {
        let field: [UInt8] = [0x80, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0]
        #expect(try TarHeader.number(field[...]) == 2 << 32)
        let negative: [UInt8] = [0xFF] + [UInt8](repeating: 0xFF, count: 11)
        #expect(code { _ = try TarHeader.number(negative[...]) } == .malformed)
        let huge: [UInt8] = [0x80, 0, 0, 0] + [UInt8](repeating: 0xFF, count: 8)
        #expect(code { _ = try TarHeader.number(huge[...]) } == .malformed)
    }

    @Test func gnuLongNames() throws {
        let long = String(repeating: "d/", count: 200) + "name"
        var bytes = Self.special("L", data: Array(long.utf8) + [0])
        bytes += Self.special("K", data: Array("target".utf8) + [0])
        bytes += archive([.other(.symbolicLink, "short", to: "other")])
        let parsed = try parse(bytes, chunk: 100)
        #expect(parsed.map(\.entry.nameText) == [long])
        #expect(parsed.first?.entry.linkTarget == Array("target".utf8))
    }

    @Test func truncatedEverywhere() throws {
        let bytes = archive(Self.sample)
        let end = bytes.count - 2 * TarFormat.blockSize
        for length in stride(from: 0, to: end, by: 97) {
            #expect(code { _ = try parse(Array(bytes[..<length])) } == .truncated)
        }
        #expect(code { _ = try parse(Array(bytes[..<end])) } == .truncated)
        #expect(throws: Never.self) { try parse(Array(bytes[..<(end + TarFormat.blockSize)])) }
    }

    @Test func garbageNeverCrashes() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<200 {
            let bytes = (0..<2048).map { _ in UInt8.random(in: 0...255, using: &generator) }
            #expect(code { _ = try parse(bytes) } == .malformed)
        }
    }

    @Test func flippedBytesNeverCrash() {
        let bytes = archive(Self.sample)
        for index in stride(from: 0, to: bytes.count, by: 11) {
            var changed = bytes
            changed[index] ^= 0x55
            _ = try? parse(changed)
        }
    }

    @Test(arguments: ["S", "V", "M", "N", "Q"])
    func unknownKindsAreRefused(type: String) {
        #expect(code { _ = try parse(Self.special(type, data: [])) } == .unsupported)
    }

    @Test(arguments: [
        ("99 path=x\n", ArchiveError.Code.malformed),
        ("0 path=x\n", .malformed), ("x path=x\n", .malformed), ("7 path\n", .malformed),
        ("12 size=-1\n", .malformed), ("29 size=99999999999999999999\n", .malformed),
        ("22 GNU.sparse.major=1\n", .unsupported),
    ])
    func wrongPaxHeaders(record: String, expected: ArchiveError.Code) {
        let bytes = Self.special("x", data: Array(record.utf8)) + archive([.file("a")])
        #expect(code { _ = try parse(bytes) } == expected)
    }

    @Test func extendedHeadersAreBounded() {
        let bytes = Self.special("x", size: 2 << 20, data: [])
        #expect(code { _ = try parse(bytes) } == .tooLarge)
    }

    @Test func globalHeadersMaySayNothingThatMatters() throws {
        let harmless = Self.special("g", data: Array("18 comment=a7f3c2\n".utf8))
        #expect(try parse(harmless + archive([.file("a")])).count == 1)
        let harmful = Self.special("g", data: Array("10 path=x\n".utf8))
        #expect(code { _ = try parse(harmful + archive([.file("a")])) } == .unsupported)
    }

    @Test func whatFollowsTheEndIsIgnored() throws {
        let bytes = archive([.file("a", "1")]) + [UInt8](repeating: 7, count: 3000)
        #expect(try parse(bytes).count == 1)
    }

    @Test func readsWhatTarWrites() throws {
        for format in ["ustar", "gnu", "pax"] {
            let directory = try TemporaryDirectory()
            try directory.write("t/a.txt", "alpha")
            try directory.write("t/" + String(repeating: "n", count: 90) + "/b", "beta")
            try directory.link("t/link", to: "a.txt")
            let tar = Process()
            tar.executableURL = URL(fileURLWithPath: "/bin/tar")
            tar.arguments = ["-C", directory.path, "--format=\(format)", "-cf", directory("x"), "t"]
            try tar.run()
            tar.waitUntilExit()
            try #require(tar.terminationStatus == 0)
            let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: directory("x"))))
            let files = try parse(bytes).filter { $0.entry.kind == .file }
            #expect(files.map(\.data).sorted { $0.count > $1.count } == ["alpha", "beta"].map { Array($0.utf8) })
        }
    }

    /// A header of a type that `TarWriter` does not write, and its data.
    private static func special(_ type: String, size: Int64? = nil, data: [UInt8]) -> [UInt8] {
        var writer = TarWriter()
        let name = Array("././@LongLink".utf8)
        var block = writer.header(
            TarEntry(kind: .file, name: name, size: size ?? Int64(data.count)))
        block[TarFormat.type] = Array(type.utf8)[0]
        let sum = String(TarFormat.checksum(of: block[...]), radix: 8)
        let digits = Array((String(repeating: "0", count: 6 - sum.count) + sum).utf8) + [0, 0x20]
        block.replaceSubrange(TarFormat.checksum, with: digits)
        let padding = TarFormat.padding(Int64(data.count))
        return block + data + [UInt8](repeating: 0, count: padding)
    }
}
