import Settings
import Testing

@testable import Egress

@Suite("Tokens in the answers of models")
struct UsageReaderTests {
    struct Sample: Sendable, CustomTestStringConvertible {
        var name: String
        var format: UsageReader.Format
        var text: String
        var usage: TokenUsage?
        var model: String?
        var testDescription: String { name }
    }

    static let samples = [
        Sample(
            name: "OpenAI chat", format: .json,
            text: """
                {"id":"c1","object":"chat.completion","model":"gpt-4o-2024-08-06","choices":[{"index":0,
                "message":{"role":"assistant","content":"{\\"usage\\":{\\"prompt_tokens\\":9999}} \\\\",
                "model":"no","usage":{"prompt_tokens":7777}}}], "usage" : { "prompt_tokens" : 19,
                "completion_tokens": 10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":8,
                "audio_tokens":0},"completion_tokens_details":{"cached_tokens":55}}}
                """,
            usage: TokenUsage(input: 19, output: 10, cached: 8), model: "gpt-4o-2024-08-06"),
        Sample(
            name: "OpenAI chat, streamed", format: .events,
            text: """
                data: {"model":"gpt-x","choices":[{"delta":{"content":"He"}}],"usage":null}

                data: {"model":"gpt-x","choices":[{"delta":{"content":"llo"}}],"usage":null}

                data: {"model":"gpt-x","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}

                data: [DONE]


                """,
            usage: TokenUsage(input: 5, output: 2), model: "gpt-x"),
        Sample(
            name: "OpenAI chat, streamed without usage", format: .events,
            text: """
                data: {"model":"gpt-x","choices":[{"delta":{"content":"He"}}]}

                data: {"model":"gpt-x","choices":[{"delta":{"content":"llo"}}]}

                data: [DONE]


                """,
            usage: TokenUsage(input: 0, output: 2, isEstimated: true), model: "gpt-x"),
        Sample(
            name: "OpenAI responses", format: .json,
            text: """
                {"model":"o9","output":[{"content":[{"usage":{"input_tokens":1}}]}],"usage":{"input_tokens":36,
                "input_tokens_details":{"cached_tokens":4},"output_tokens":87,"output_tokens_details":
                {"reasoning_tokens":80}}}
                """,
            usage: TokenUsage(input: 36, output: 87, cached: 4), model: "o9"),
        Sample(
            name: "OpenAI responses, streamed", format: .events,
            text: """
                event: response.created
                data: {"type":"response.created","response":{"model":"o9","usage":null}}

                event: response.output_text.delta
                data: {"type":"response.output_text.delta","delta":"data: {\\"usage\\":{}}"}

                event: response.completed
                data: {"type":"response.completed","response":{"model":"o9","usage":{"input_tokens":37,"output_tokens":11}}}


                """,
            usage: TokenUsage(input: 37, output: 11), model: "o9"),
        Sample(
            name: "Anthropic messages", format: .json,
            text: """
                {"type":"message","model":"claude\\/9","content":[{"type":"text","text":"x"}],"usage":{"input_tokens":100,
                "cache_creation_input_tokens":20,"cache_read_input_tokens":3,"output_tokens":7}}
                """,
            usage: TokenUsage(input: 123, output: 7, cached: 3), model: "claude/9"),
        Sample(
            name: "Anthropic messages, streamed", format: .events, text: anthropic,
            usage: TokenUsage(input: 25, output: 15), model: "claude-9"),
        Sample(
            name: "Anthropic messages, cut", format: .events,
            text: String(anthropic.prefix(while: { $0 != "§" }).components(upTo: "message_delta")),
            usage: TokenUsage(input: 25, output: 3, isEstimated: true), model: "claude-9"),
        Sample(
            name: "numbers that are none", format: .json,
            text: """
                {"usage":{"prompt_tokens":-5,"completion_tokens":1.5,"input_tokens":12345678901234567890,
                "output_tokens":"7","cached_tokens":3}}
                """,
            usage: nil, model: nil),
        Sample(
            name: "an error", format: .json,
            text: #"{"error":{"message":"no","usage":{"prompt_tokens":3}}}"#, usage: nil, model: nil
        ),
    ]

    static let anthropic = """
        event: message_start
        data: {"type":"message_start","message":{"model":"claude-9","usage":{"input_tokens":25,"output_tokens":1}}}

        event: ping
        data: {"type": "ping"}

        event: content_block_delta
        data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hel"}}

        event: content_block_delta
        data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"lo"}}

        event: content_block_delta
        data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"!"}}

        event: message_delta
        data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}

        event: message_stop
        data: {"type":"message_stop"}


        """

    static func read(_ sample: Sample, _ pieces: [ArraySlice<UInt8>]) -> UsageReader {
        var reader = UsageReader(sample.format)
        for piece in pieces { reader.feed(piece) }
        return reader
    }

    @Test(arguments: samples) func everyBorderBetweenTwoPieces(_ sample: Sample) {
        for ending in ["\n", "\r\n", "\r"] {
            let bytes = Array(sample.text.replacing("\n", with: ending).utf8)
            for border in 0...bytes.count {
                let reader = Self.read(sample, [bytes[..<border], bytes[border...]])
                #expect(reader.usage == sample.usage, "cut at \(border)")
                #expect(reader.model == sample.model, "cut at \(border)")
            }
            let single = Self.read(sample, bytes.indices.map { bytes[$0...$0] })
            #expect(single.usage == sample.usage)
        }
    }

    /// Whatever comes, in whatever pieces: no trap, the same result, and numbers within bounds.
    @Test func changedBytes() {
        var chance = SeededGenerator(seed: 5)
        for round in 0..<4000 {
            let sample = Self.samples[round % Self.samples.count]
            let bytes = chance.mutated(Array(sample.text.utf8))
            let whole = Self.read(sample, [bytes[...]])
            var pieces: [ArraySlice<UInt8>] = []
            var rest = bytes[...]
            while !rest.isEmpty {
                let size = Int.random(in: 1...max(1, rest.count), using: &chance)
                pieces.append(rest.prefix(size))
                rest = rest.dropFirst(size)
            }
            let cut = Self.read(sample, pieces)
            #expect(whole.usage == cut.usage)
            #expect(whole.model == cut.model)
            if let usage = whole.usage {
                #expect((0...3 * ModelPrices.maximumTokens).contains(usage.input))
                #expect((0...ModelPrices.maximumTokens).contains(usage.output))
            }
            #expect((whole.model?.utf8.count ?? 0) <= 128)
        }
    }

    /// A long text, a deep one, and one that never ends pass through.
    @Test func sizeAndDepthCostNothing() {
        var reader = UsageReader(.json)
        reader.feed(Array(#"{"choices":""#.utf8))
        for _ in 0..<200 { reader.feed(Array(repeating: UInt8(ascii: "x"), count: 4096)) }
        reader.feed(Array("\",\"deep\":".utf8))
        for _ in 0..<50 { reader.feed(Array(repeating: UInt8(ascii: "["), count: 1000)) }
        reader.feed(Array(#"{"usage":{"prompt_tokens":1}}"#.utf8))
        for _ in 0..<50 { reader.feed(Array(repeating: UInt8(ascii: "]"), count: 1000)) }
        reader.feed(Array(#","usage":{"prompt_tokens":8,"completion_tokens":9}"#.utf8))
        #expect(reader.usage == TokenUsage(input: 8, output: 9))
        // The reader is a few words and two short buffers.
        #expect(MemoryLayout<UsageReader>.size < 400)
    }

    @Test(arguments: [
        ("application/json", true), ("Application/JSON; charset=utf-8", true),
        ("text/event-stream;charset=utf-8", true), ("application/problem+json", true),
        ("text/html", false), ("", false), ("application/octet-stream", false),
    ])
    func whatIsRead(_ type: String, _ isRead: Bool) {
        #expect((UsageReader(contentType: type) != nil) == isRead)
    }
}

extension StringProtocol {
    fileprivate func components(upTo text: String) -> String {
        firstRange(of: text).map { String(self[..<$0.lowerBound]) } ?? String(self)
    }
}
