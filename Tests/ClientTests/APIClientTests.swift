import API
import Foundation
import Testing

@testable import Client

@Suite(.timeLimit(.minutes(1))) struct APIClientTests {
    private struct Broken: Error {}

    @Test func refusalsCarryTheSupervisorsWords() async throws {
        let server = try await ScriptedServer()
        let body = """
            {"error":{"code":"session_ambiguous","message":"Ambiguous ID 'a1'","hint":"More",\
            "matches":["a1b2c3d4e5f6","a1f9e8d7c6b5"]}}
            """
        do {
            try await server.run { _, _ in
                ScriptedServer.json(409, body)
            } while: {
                _ = try await APIClient(socketPath: server.path).session("a1")
            }
            Issue.record("nothing was thrown")
        } catch {
            let error = try #require(error as? ClientError)
            #expect(error.code == .refused)
            #expect(error.status == 409)
            #expect(error.answer?.matches == ["a1b2c3d4e5f6", "a1f9e8d7c6b5"])
        }
    }

    @Test(arguments: [
        ("HTTP/1.1 500 X\r\nContent-Length: 4\r\n\r\noops", ClientError.Code.badAnswer),
        ("HTTP/1.1 200 X\r\nContent-Length: 4\r\n\r\noops", .badAnswer),
        ("HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\noops", .lost),
        ("", .lost),
        ("not HTTP at all\r\n\r\n", .badAnswer),
    ])
    func wrongAnswers(bytes: String, code: ClientError.Code) async throws {
        let server = try await ScriptedServer()
        await expectFailure(code) {
            try await server.run { _, _ in
                ScriptedServer.Reply(bytes: bytes)
            } while: {
                _ = try await APIClient(socketPath: server.path).health()
            }
        }
    }

    @Test func absentAndUnusableSockets() async throws {
        await expectFailure(.unreachable) {
            _ = try await APIClient(socketPath: "/nonexistent/s").health()
        }
        await expectFailure(.address) {
            _ = try await APIClient(socketPath: "/" + String(repeating: "x", count: 200)).health()
        }
    }

    @Test func namesAreEscaped() async throws {
        let server = try await ScriptedServer()
        try await server.run { _, _ in
            ScriptedServer.json(200, "{\"sessions\":[],\"total\":0}")
        } while: {
            let client = APIClient(socketPath: server.path)
            _ = try await client.sessions(agent: "a b/&", status: .idle, limit: 5, all: true)
            try await client.discardSession("../x")
        }
        #expect(
            server.requestLines == [
                "GET /v1/sessions?agent=a%20b%2F%26&status=idle&limit=5&all=true HTTP/1.1",
                "DELETE /v1/sessions/..%2Fx HTTP/1.1",
            ])
    }

    @Test func bodiesAreStreamed() async throws {
        let server = try await ScriptedServer()
        try await server.run { _, _ in
            ScriptedServer.json(204, "")
        } while: {
            let pieces = Pieces(["one", "two"])
            try await APIClient(socketPath: server.path)
                .writeFiles("abc", path: "/workspace/x") { await pieces.next() }
        }
        let request = try #require(server.requests.first)
        #expect(request.hasPrefix("PUT /v1/sessions/abc/files?path=%2Fworkspace%2Fx HTTP/1.1\r\n"))
        #expect(request.contains("3\r\none\r\n"))
        #expect(request.contains("3\r\ntwo\r\n"))
    }

    @Test func aBodyThatFailsIsTheError() async throws {
        let server = try await ScriptedServer()
        do {
            try await server.run { _, _ in
                ScriptedServer.json(204, "")
            } while: {
                try await APIClient(socketPath: server.path)
                    .writeFiles("abc", path: "/x") { throw Broken() }
            }
            Issue.record("nothing was thrown")
        } catch {
            let error = try #require(error as? ClientError)
            #expect(error.code == .body)
            #expect(error.cause is Broken)
        }
    }

    @Test func filesAreReadInPieces() async throws {
        let server = try await ScriptedServer()
        let bytes = try await server.run { _, _ in
            ScriptedServer.events(["abc", "def"])
        } while: {
            let sum = Pieces([])
            await expectFailure(.lost) {
                try await APIClient(socketPath: server.path).readFiles("abc", path: "x") {
                    await sum.add($0)
                }
            }
            return await sum.text
        }
        #expect(bytes == "abcdef", "what came before the connection was lost")
    }

    @Test func requestsThatMayBeRepeatedAreNamed() async throws {
        let server = try await ScriptedServer()
        _ = try await server.run { _, _ in
            ScriptedServer.json(202, "{\"session_id\":\"abc\",\"turn\":1,\"first_seq\":4}")
        } while: {
            try await APIClient(socketPath: server.path).send("hello", to: "abc", key: "k-1").value
        }
        #expect(server.requests.first?.lowercased().contains("idempotency-key: k-1\r\n") == true)
    }
}

/// Pieces of a body, in and out.
private actor Pieces {
    private var pieces: [String]
    private(set) var text = ""

    init(_ pieces: [String]) { self.pieces = pieces }

    func next() -> [UInt8]? { pieces.isEmpty ? nil : Array(pieces.removeFirst().utf8) }
    func add(_ bytes: [UInt8]) { text += String(decoding: bytes, as: UTF8.self) }
}
