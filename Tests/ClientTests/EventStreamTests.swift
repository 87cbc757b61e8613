import API
import Foundation
import Synchronization
import Testing

@testable import Client

@Suite(.timeLimit(.minutes(1))) struct EventStreamTests {
    static let heartbeat = "event: heartbeat\ndata: {\"type\":\"heartbeat\"}\n\n"

    static func delta(_ seq: Int) -> String {
        frame(seq, "message.delta", ",\"content\":\"\(seq) \"")
    }

    static func frame(_ seq: Int, _ type: String, _ more: String = "") -> String {
        let data = "{\"seq\":\(seq),\"turn\":1,\"type\":\"\(type)\"\(more)}"
        return "id: \(seq)\nevent: \(type)\ndata: \(data)\n\n"
    }

    /// What a stream hands on until the turn ends, without waiting between attempts.
    private func collect(
        _ server: ScriptedServer, after: Int64 = 0, outage: Duration = .seconds(20),
        idleSeconds: Int64 = 20,
        _ script: @escaping @Sendable (Int, String) -> ScriptedServer.Reply
    ) async throws -> [ReceivedEvent] {
        try await server.run(script) { [path = server.path] in
            let patience = EventStream.Patience(
                outage: outage, idleSeconds: idleSeconds,
                sleep: { _ in try await Task.sleep(for: .milliseconds(1)) })
            var stream = EventStream(
                client: APIClient(socketPath: path), sessionID: "abc", after: after,
                patience: patience)
            var events: [ReceivedEvent] = []
            try await stream.follow { received in
                events.append(received)
                return received.event.type.isTerminal ? .stop : .proceed
            }
            return events
        }
    }

    @Test func everyEventComesOnceAcrossLostConnections() async throws {
        let server = try await ScriptedServer()
        let events = try await collect(server) { index, _ in
            switch index {
            // Cut in the middle of a frame.
            case 0:
                ScriptedServer.events([
                    Self.frame(1, "run.started"), Self.delta(2), Self.delta(3),
                    "id: 4\nevent: message.delta\ndata: {\"seq\":4,",
                ])
            // Repeats what was seen.
            case 1: ScriptedServer.events([Self.delta(3), Self.delta(4), Self.heartbeat])
            // A supervisor that restarts: no answer, then refusals.
            case 2: ScriptedServer.Reply(bytes: "")
            case 3:
                ScriptedServer.json(
                    503, "{\"error\":{\"code\":\"draining\",\"message\":\"shutting down\"}}")
            default: ScriptedServer.events([Self.delta(5), Self.frame(6, "run.completed")])
            }
        }
        #expect(events.compactMap(\.event.seq) == [1, 2, 3, 4, 5, 6])
        #expect(events.count == 7, "and one heartbeat")
        let expected = [0, 3, 4, 4, 4].map {
            "GET /v1/sessions/abc/events?after=\($0)&follow=1 HTTP/1.1"
        }
        #expect(server.requestLines == expected)
        #expect(server.requests[1].contains("Last-Event-ID: 3"))
    }

    @Test func theJSONStaysAsItCame() async throws {
        let server = try await ScriptedServer()
        let events = try await collect(server) { _, _ in
            ScriptedServer.events([
                Self.frame(1, "run.completed", ",\"duration_ms\":5,\"new\":[1]")
            ])
        }
        #expect(
            events.map(\.json) == [
                "{\"seq\":1,\"turn\":1,\"type\":\"run.completed\",\"duration_ms\":5,\"new\":[1]}"
            ])
        #expect(events.first?.event.durationMs == 5)
    }

    @Test func aGapIsAnError() async throws {
        let server = try await ScriptedServer()
        await expectFailure(.gap) {
            _ = try await collect(server, after: 7) { _, _ in
                ScriptedServer.events([Self.delta(8), Self.delta(10)])
            }
        }
        #expect(server.requests.count == 1)
    }

    @Test func refusalsAreFinal() async throws {
        let server = try await ScriptedServer()
        await expectFailure(.refused) {
            _ = try await collect(server) { _, _ in
                ScriptedServer.json(
                    404, "{\"error\":{\"code\":\"session_not_found\",\"message\":\"gone\"}}")
            }
        }
        #expect(server.requests.count == 1)
    }

    @Test func theEndOfTheSessionEndsTheStream() async throws {
        let server = try await ScriptedServer()
        let events = try await collect(server) { _, _ in
            ScriptedServer.events([
                Self.delta(1),
                "data: {\"type\":\"session.ended\",\"status\":\"timeout\"}\n\n",
            ])
        }
        #expect(events.last?.event.status == .timeout)
    }

    @Test func aSilentSupervisorCountsAsLost() async throws {
        let server = try await ScriptedServer()
        let events = try await collect(server, idleSeconds: 1) { index, _ in
            var reply = ScriptedServer.events(
                index == 0 ? [Self.delta(1)] : [Self.frame(2, "run.completed")])
            reply.silence = index == 0 ? .milliseconds(1200) : .zero
            return reply
        }
        #expect(events.compactMap(\.event.seq) == [1, 2])
    }

    @Test func anOutageEndsWithAClearError() async throws {
        let patience = EventStream.Patience(
            outage: .milliseconds(50), idleSeconds: 5,
            sleep: { _ in try await Task.sleep(for: .milliseconds(5)) })
        var stream = EventStream(
            client: APIClient(socketPath: "/nonexistent/x.sock"), sessionID: "abc", after: 0,
            patience: patience)
        do {
            try await stream.follow { _ in .proceed }
            Issue.record("nothing was thrown")
        } catch {
            let error = try #require(error as? ClientError)
            #expect(error.code == .unreachable)
            #expect(error.message.contains("/nonexistent/x.sock did not come back within"))
        }
    }

    @Test func backoffDoublesUpToItsCeiling() {
        var backoff = Backoff()
        let waits = (0..<7).map { _ in backoff.next() }
        #expect(waits == [100, 200, 400, 800, 1600, 2000, 2000].map { .milliseconds($0) })
        backoff.reset()
        #expect(backoff.next() == .milliseconds(100))
    }
}

/// Expects `body` to throw a `ClientError` of one kind.
func expectFailure(
    _ code: ClientError.Code, _ location: SourceLocation = #_sourceLocation,
    _ body: () async throws -> Void
) async {
    do {
        try await body()
        Issue.record("nothing was thrown", sourceLocation: location)
    } catch {
        #expect((error as? ClientError)?.code == code, sourceLocation: location)
    }
}
