import Testing

@testable import Client

@Suite struct ServerSentEventTests {
    static let stream = """
        : a comment

        id: 1
        event: run.started
        data: {"a":1}

        data:no space
        data: two
        data
        unknown: x

        event: nothing

        id: 2
        data: \u{4E2D}\u{6587}

        data: unfinished
        """

    static let expected = [
        ServerSentEvent(id: "1", name: "run.started", data: "{\"a\":1}"),
        ServerSentEvent(data: "no space\ntwo\n"),
        ServerSentEvent(id: "2", data: "\u{4E2D}\u{6587}"),
    ]

    @Test(arguments: [1, 2, 3, 7, 1000], ["\n", "\r", "\r\n"])
    func piecesOfAnySize(size: Int, newline: String) throws {
        let bytes = Array(Self.stream.replacing("\n", with: newline).utf8)
        var parser = ServerSentEventParser()
        var events: [ServerSentEvent] = []
        for start in stride(from: 0, to: bytes.count, by: size) {
            events += try parser.feed(bytes[start..<min(start + size, bytes.count)])
        }
        #expect(events == Self.expected)
    }

    @Test func aByteOrderMarkIsSkipped() throws {
        var parser = ServerSentEventParser()
        let bytes = [0xEF, 0xBB, 0xBF] + Array("data: x\n\n".utf8)
        #expect(try parser.feed(bytes) == [ServerSentEvent(data: "x")])
    }

    @Test func linesAndEventsAreBounded() {
        var parser = ServerSentEventParser(limit: 100)
        #expect(throws: ServerSentEventError.tooLong(limit: 100)) {
            try parser.feed(Array(repeating: UInt8(ascii: "x"), count: 101))
        }
        var many = ServerSentEventParser(limit: 100)
        #expect(throws: ServerSentEventError.tooLong(limit: 100)) {
            for _ in 0..<30 { _ = try many.feed(Array("data: 12345\n".utf8)) }
        }
    }

    @Test func invalidUTF8IsReplaced() throws {
        var parser = ServerSentEventParser()
        let bytes = Array("data: a".utf8) + [0xFF] + Array("b\n\n".utf8)
        #expect(try parser.feed(bytes) == [ServerSentEvent(data: "a\u{FFFD}b")])
    }
}
