import NIOHTTP1
import Settings
import Testing

@testable import Egress

@Suite("Requests that get a key")
struct SecretRouteTests {
    static let standIn = "sk-superserve-0123456789"

    static func secrets() throws -> [GatewaySecret] {
        let agent = try AgentDefinition(
            yaml: """
                name: a
                command: x
                secrets:
                  KEY: {url: https://api.example/v1}
                  OTHER: {url: https://other.example, header: X-Key}
                  REAL: {url: https://real.example/v1, intercept: true}
                """, file: "a")
        return (agent.secrets ?? []).compactMap { GatewaySecret($0, standIn: standIn + $0.name) }
    }

    static func route(
        _ method: HTTPMethod = .POST, _ target: String, _ headers: [(String, String)],
        _ mode: HTTPGate.Mode = .proxy
    ) throws -> HTTPRoute {
        try HTTPRoute(
            HTTPRequestHead(
                version: .http1_1, method: method, uri: target, headers: HTTPHeaders(headers)),
            mode, secrets())
    }

    @Test(arguments: [
        ("/KEY/chat?x=1", "/v1/chat?x=1"), ("/KEY", "/v1"), ("/KEY?a", "/v1?a"),
        ("http://127.0.0.1:3128/KEY/chat", "/v1/chat"), ("http://localhost:3128/KEY", "/v1"),
    ])
    func gateway(_ target: String, _ path: String) throws {
        let route = try Self.route(
            .POST, target,
            [
                ("Host", "127.0.0.1:3128"), ("Authorization", "Bearer \(Self.standIn)KEY"),
                ("X-Api-Key", "mine"), ("Cookie", "a=b"), ("Range", "bytes=0-5"),
                ("Accept-Encoding", "gzip, br"), ("Connection", "keep-alive, x-hop"),
                ("X-Hop", "1"), ("X-Kept", "2"),
            ])
        #expect("\(route.destination)" == "api.example:443" && route.isTLS)
        #expect(route.head.uri == path)
        #expect(route.head.headers["host"] == ["api.example"])
        #expect(route.head.headers["accept-encoding"] == ["identity"])
        #expect(route.head.headers["x-kept"] == ["2"])
        for name in ["authorization", "x-api-key", "cookie", "range", "x-hop", "connection"] {
            #expect(route.head.headers[name].isEmpty, "\(name)")
        }
        let value = try #require(SecretValue("sk-real-value".utf8))
        #expect(route.with(value).head.headers["authorization"] == ["Bearer sk-real-value"])
        #expect(route.hop == Hop(destination: route.destination, isTLS: true, secret: "KEY"))
    }

    @Test(arguments: [
        [("Authorization", "Bearer \(standIn)OTHER")], [("X-Key", "\(standIn)OTHER")],
        [("x-api-key", "\(standIn)OTHER")], [("authorization", "bearer \(standIn)OTHER")],
    ])
    func anyHeaderForKeys(_ headers: [(String, String)]) throws {
        let route = try Self.route(.GET, "/OTHER/v1", headers)
        let value = try #require(SecretValue("real-value".utf8))
        #expect(route.with(value).head.headers["x-key"] == ["real-value"])
        #expect(route.with(value).head.headers["authorization"].isEmpty)
    }

    @Test(arguments: [
        ("/KEY/x", [], "stand_in_missing"),
        ("/KEY/x", [("Authorization", "Bearer \(standIn)OTHER")], "stand_in_missing"),
        ("/KEY/x", [("Authorization", "Bearer \(standIn)KEY2")], "stand_in_missing"),
        ("/KEY/x", [("X-Something", "\(standIn)KEY")], "stand_in_missing"),
        ("/NOBODY/x", [("Authorization", "Bearer \(standIn)KEY")], "unknown_secret"),
        ("/", [], "unknown_secret"), ("/key/x", [], "unknown_secret"),
        ("/KEY/../x", [("Authorization", "Bearer \(standIn)KEY")], "bad_path"),
        ("/KEY/%2e%2e/x", [("Authorization", "Bearer \(standIn)KEY")], "bad_path"),
        ("/KEY//x", [("Authorization", "Bearer \(standIn)KEY")], "bad_path"),
        ("http://127.0.0.1:3128/KEY/..", [("Authorization", "Bearer \(standIn)KEY")], "bad_path"),
    ])
    func refused(_ target: String, _ headers: [(String, String)], _ code: String) {
        let error = #expect(throws: EgressRefusal.self) {
            try Self.route(.POST, target, headers)
        }
        #expect(error?.code == code)
        #expect(error?.json.contains("\"code\":\"\(code)\"") == true)
    }

    @Test func traceIsRefused() {
        let error = #expect(throws: EgressRefusal.self) {
            try Self.route(.TRACE, "/KEY", [("Authorization", "Bearer \(Self.standIn)KEY")])
        }
        #expect(error?.code == "bad_method")
    }

    /// Only below the path and with the stand-in; all else is passed on as it is.
    @Test(arguments: [
        ("/v1/x", "REAL", true), ("/v1", "REAL", true), ("/v10/x", "REAL", false),
        ("/v2/x", "REAL", false), ("/v1/../x", "REAL", false), ("/v1/x", "KEY", false),
        ("/v1/x", "", false), ("https://real.example/v1/x", "REAL", true),
    ])
    func intercepted(_ target: String, _ name: String, _ getsKey: Bool) throws {
        let route = try Self.route(
            .GET, target,
            [("Host", "real.example"), ("Authorization", "Bearer \(Self.standIn)\(name)")],
            .intercepted(try Destination("real.example:443")))
        #expect((route.secret != nil) == getsKey)
        #expect(route.isTLS)
        #expect(route.head.headers["host"] == ["real.example"])
        #expect(route.head.headers["authorization"].isEmpty == getsKey)
    }

    @Test func interceptedIsOneHost() throws {
        for (target, host) in [
            ("/v1", "evil.example"), ("https://evil.example/v1", "evil.example"),
            ("https://evil.example/v1", "real.example"),
        ] {
            #expect(throws: EgressRefusal.self) {
                try Self.route(
                    .GET, target, [("Host", host)],
                    .intercepted(try Destination("real.example:443")))
            }
        }
        let secrets = SessionSecrets(try Self.secrets()) { _ in
            .failure(.init(code: "", text: ""))
        }
        #expect(secrets.intercepts(try Destination("real.example:443")))
        for other in ["real.example:80", "api.example:443", "a.real.example:443"] {
            #expect(!secrets.intercepts(try Destination(other)))
        }
    }

    /// A secret opens its own place, and nothing that is denied.
    @Test func policyOfASecret() throws {
        let secret = try #require(try Self.secrets().first { $0.name == "KEY" })
        let policy = try secret.policy(deny: [])
        #expect(policy.mayAsk(try Destination("api.example:443")).isAllowed)
        for other in ["api.example:80", "a.api.example:443", "other.example:443"] {
            #expect(!policy.mayAsk(try Destination(other)).isAllowed)
        }
        let denied = try secret.policy(deny: [NetworkRule("*.example"), NetworkRule("api.example")])
        #expect(!denied.mayAsk(try Destination("api.example:443")).isAllowed)
        let loopback = IPAddress(text: Array("127.0.0.1".utf8))
        #expect(
            !policy.mayDial(
                try #require(loopback), named: try Destination("api.example:443"), opened: .init()
            ).isAllowed)
    }
}
