import NIOCore
import NIOHTTP1
import Settings
import Testing

@testable import Egress

@Suite("Budgets of a session")
struct BudgetTests {
    static func meter(_ changes: [String], used: NetworkUsage = NetworkUsage()) throws
        -> NetworkMeter
    {
        NetworkMeter(usage: used, budget: try NetworkBudget(changes: changes), prices: nil)
    }

    @Test func bytesAreExact() throws {
        let meter = try Self.meter(["bytes_out=1000"])
        #expect(meter.take(bytes: 600, .bytesOut).granted == 600)
        let (granted, outcome) = meter.take(bytes: 600, .bytesOut)
        #expect(granted == 400)
        #expect(outcome.refusal == .init(kind: .bytesOut, used: 1000, limit: 1000))
        #expect(outcome.news == [.init(kind: .bytesOut, used: 1000, limit: 1000)])
        let again = meter.take(bytes: 1, .bytesOut)
        #expect(again.granted == 0)
        #expect(again.1.news.isEmpty, "once for each bound")
        #expect(meter.take(bytes: 1 << 40, .bytesIn).granted == 1 << 40)
        #expect(meter.countConnection().refusal?.kind == .bytesOut)
        #expect(meter.countRequest().refusal?.kind == .bytesOut)
        #expect(meter.usage.connections == 0 && meter.usage.requests == 0)
        meter.budget = try NetworkBudget(changes: ["bytes_out=1500"])
        #expect(meter.countConnection().refusal == nil)
        let raised = meter.take(bytes: 600, .bytesOut)
        #expect(raised.granted == 500)
        #expect(raised.1.news == [.init(kind: .bytesOut, used: 1500, limit: 1500)])
    }

    @Test func eachKindStandsInTheWayOfWhatItCounts() throws {
        let connections = try Self.meter(["connections=1"])
        #expect(connections.countConnection().refusal == nil)
        #expect(connections.countConnection().refusal?.kind == .connections)
        #expect(connections.countRequest().refusal == nil, "a connection that is open goes on")
        let requests = try Self.meter(["requests=0"])
        #expect(requests.countRequest().refusal?.kind == .requests)
        #expect(requests.countConnection().refusal == nil)
        let tokens = try Self.meter(["tokens=10"])
        let call = ModelCall.Result(model: "m", usage: TokenUsage(input: 8, output: 3))
        #expect(tokens.countRequest().refusal == nil)
        #expect(tokens.count(call).1.news == [.init(kind: .tokens, used: 11, limit: 10)])
        #expect(tokens.countRequest().refusal?.kind == .tokens)
        #expect(tokens.countConnection().refusal?.kind == .tokens)
    }

    @Test func whatWasAnnouncedIsKept() throws {
        let first = try Self.meter(["requests=1"])
        #expect(first.countRequest().news.count == 1)
        let stored = try #require(first.unsaved())
        #expect(first.unsaved() == nil)
        let second = try Self.meter(["requests=1"], used: stored)
        let outcome = second.countRequest()
        #expect(outcome.refusal != nil && outcome.news.isEmpty)
    }

    @Test func whatACallCosts() {
        var call = ModelCall()
        call.sent(ByteBuffer(string: #"{"messages":[{"model":"not this"}],"model":"m-1"}"#))
        #expect(call.result == nil)
        call.answered(
            HTTPResponseHead(
                version: .http1_1, status: .ok, headers: ["content-type": "application/json"]))
        call.received(ByteBuffer(string: #"{"usage":{"prompt_tokens":3,"#))
        call.received(ByteBuffer(string: #""completion_tokens":4}}"#))
        #expect(
            call.result == .init(model: "m-1", usage: TokenUsage(input: 3, output: 4)))
        var packed = ModelCall()
        packed.answered(
            HTTPResponseHead(
                version: .http1_1, status: .ok,
                headers: ["content-type": "application/json", "content-encoding": "gzip"]))
        packed.received(ByteBuffer(string: #"{"usage":{"prompt_tokens":3}}"#))
        #expect(packed.result == nil)
    }

    /// A stream of which nobody says the numbers: a token for each piece, and for four bytes asked.
    @Test func whatNobodyCountsIsEstimated() {
        var call = ModelCall()
        call.sent(ByteBuffer(string: String(repeating: "x", count: 400)))
        call.answered(
            HTTPResponseHead(
                version: .http1_1, status: .ok, headers: ["content-type": "text/event-stream"]))
        for _ in 0..<7 { call.received(ByteBuffer(string: "data: {\"choices\":[]}\n\n")) }
        #expect(
            call.result?.usage == TokenUsage(input: 100, output: 7, cached: 0, isEstimated: true))
    }

    @Test func aRefusalHasTheShapeOfAModelsError() throws {
        let meter = try Self.meter(["requests=0"])
        let reached = try #require(meter.countRequest().refusal)
        let head = HTTPRequestHead(version: .http1_1, method: .POST, uri: "/")
        let parts = HTTPRoute.refusal(EgressRefusal(reached), to: head, closing: false)
        guard case .head(let answer) = parts[0], case .body(.byteBuffer(let body)) = parts[1] else {
            Issue.record("no head and body")
            return
        }
        #expect(answer.status == .tooManyRequests)
        #expect(answer.headers["x-should-retry"] == ["false"])
        #expect(answer.headers["content-length"] == ["\(body.readableBytes)"])
        #expect(
            String(buffer: body) == """
                {"error":{"code":"requests","message":"superserve: the session's network budget of \
                requests is used up: 0 of 0","type":"budget_exceeded"}}

                """)
        #expect(EgressRefusal(reached).socksReply == 2)
    }
}

@Suite("Denials that are said")
struct DenialLedgerTests {
    @Test func theFirstOfEachDestinationThenCounted() {
        var ledger = DenialLedger()
        let now = ContinuousClock.now
        #expect(ledger.denied("a", at: now) == .first)
        for _ in 0..<9 { #expect(ledger.denied("a", at: now) == .nothing) }
        #expect(ledger.denied("b", at: now) == .first)
        #expect(ledger.known.map(\.count) == [10, 1])
    }

    /// Destinations without end: no more events than a bound, no more memory.
    @Test func aFloodIsBounded() {
        var ledger = DenialLedger()
        let now = ContinuousClock.now
        let words = (0..<10_000).map { ledger.denied("host\($0).example", at: now) }
        #expect(words.count { $0 != .nothing } == DenialLedger.eventsPerHour)
        #expect(words[DenialLedger.eventsPerHour - 1] == .last)
        #expect(ledger.known.count == DenialLedger.maximumKnown)
        #expect(ledger.others == 10_000 - DenialLedger.maximumKnown)
        let later = now.advanced(by: .seconds(3599))
        #expect(ledger.denied("new.example", at: later) == .nothing)
        #expect(ledger.denied("new.example", at: now.advanced(by: .seconds(3600))) == .first)
        #expect(ledger.known.count == 1)
    }
}
