import NIOCore
import NIOHTTP1
import Settings
import Testing

@testable import Egress

@Suite("Where a request goes")
struct HTTPRouteTests {
    static func request(
        _ method: HTTPMethod, _ target: String, _ headers: [(String, String)],
        _ version: HTTPVersion = .http1_1
    ) -> HTTPRequestHead {
        HTTPRequestHead(
            version: version, method: method, uri: target, headers: HTTPHeaders(headers))
    }

    static func fixed(_ text: String) throws -> HTTPGate.Mode { .fixed(try Destination(text)) }

    @Test(arguments: [
        ("http://example.com/a?b=c", "example.com:80", "/a?b=c"),
        ("http://EXAMPLE.com.", "example.com:80", "/"),
        ("HTTP://example.com:8080?q", "example.com:8080", "/?q"),
        ("http://203.0.113.7/x", "203.0.113.7:80", "/x"),
        ("http://[2001:db8::7]:81/x", "[2001:db8::7]:81", "/x"),
    ])
    func absoluteTargets(_ target: String, _ destination: String, _ path: String) throws {
        let route = try HTTPRoute(Self.request(.GET, target, []), .proxy)
        #expect("\(route.destination)" == destination)
        #expect(route.head.uri == path)
        let host = destination.hasSuffix(":80") ? String(destination.dropLast(3)) : destination
        #expect(route.head.headers["host"] == [host])
    }

    @Test(arguments: [
        "http://user@example.com/", "http://user:pass@example.com/", "http://example.com%00/",
        "http://exam%70le.com/", "http://127.1/", "http://0x7f000001/", "http://2130706433/",
        "http://example.com:0/", "http://example.com:080/", "http://example.com:65536/",
        "http://ex ample.com/", "http:///path", "http://", "https://example.com/", "/path", "*",
        "example.com", "ftp://example.com/", "http://ex\u{e4}mple.com/", "http://a..b/",
    ])
    func targetsThatAreRefused(_ target: String) {
        let error = #expect(throws: EgressRefusal.self) {
            try HTTPRoute(Self.request(.GET, target, [("Host", "example.com")]), .proxy)
        }
        #expect(error?.cause == .malformed)
    }

    @Test(arguments: [
        [("Host", "other.example")], [("Host", "example.com"), ("Host", "example.com")],
        [("Host", "example.com:81")], [("Host", "example.com, other.example")],
        [("Host", "")], [("Host", "user@example.com")],
        [("Content-Length", "3"), ("Transfer-Encoding", "chunked")],
        [("Content-Length", "3"), ("Content-Length", "4")],
        [("Content-Length", "3"), ("Content-Length", "3")],
        [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")],
        [("Transfer-Encoding", "gzip, chunked")], [("Transfer-Encoding", "xchunked")],
        [("Transfer-Encoding", "chunked, identity")], [("Transfer-Encoding", "")],
    ])
    func headersThatAreRefused(_ headers: [(String, String)]) throws {
        for mode in [HTTPGate.Mode.proxy, try Self.fixed("example.com:80")] {
            #expect(throws: EgressRefusal.self) {
                try HTTPRoute(Self.request(.POST, "http://example.com/", headers), mode)
            }
        }
    }

    @Test func oldRequestsHaveNoChunks() {
        #expect(throws: EgressRefusal.self) {
            try HTTPRoute(
                Self.request(
                    .POST, "http://example.com/", [("Transfer-Encoding", "chunked")], .http1_0),
                .proxy)
        }
    }

    @Test func tunnelsNameTheirDestinationOnce() throws {
        let route = try HTTPRoute(
            Self.request(.CONNECT, "example.com:443", [("Host", "example.com:443")]), .proxy)
        #expect("\(route.destination)" == "example.com:443")
        // Some clients leave the port out.
        _ = try HTTPRoute(
            Self.request(.CONNECT, "example.com:443", [("Host", "example.com")]), .proxy)
        for (target, host) in [
            ("example.com:443", "other.example:443"), ("example.com:443", "example.com:80"),
            ("example.com", "example.com"), ("http://example.com:443", "example.com"),
            ("user@example.com:443", "example.com"), ("example.com:443/", "example.com"),
        ] {
            #expect(throws: EgressRefusal.self, "\(target) \(host)") {
                try HTTPRoute(Self.request(.CONNECT, target, [("Host", host)]), .proxy)
            }
        }
        #expect(throws: EgressRefusal.self) {
            try HTTPRoute(
                Self.request(.CONNECT, "example.com:443", []), try Self.fixed("example.com:443"))
        }
    }

    @Test func aTunnelLeadsToOneHost() throws {
        let mode = try Self.fixed("example.com:8080")
        let route = try HTTPRoute(
            Self.request(.GET, "/x", [("Host", "Example.COM:8080")]), mode)
        #expect("\(route.destination)" == "example.com:8080")
        for (target, host) in [
            ("/x", "other.example"), ("http://other.example/", "example.com:8080"),
            ("http://example.com/", "example.com:8080"),
        ] {
            #expect(throws: EgressRefusal.self, "\(target) \(host)") {
                try HTTPRoute(Self.request(.GET, target, [("Host", host)]), mode)
            }
        }
    }

    @Test func theHostDecidesWhereTheAddressDoesNot() throws {
        let route = try HTTPRoute(
            Self.request(.GET, "/x", [("Host", "example.com")]), .host(port: 80))
        #expect("\(route.destination)" == "example.com:80")
        #expect(throws: EgressRefusal.self) {
            try HTTPRoute(Self.request(.GET, "/x", []), .host(port: 80))
        }
    }

    @Test func headersOfOneHopStay() throws {
        let route = try HTTPRoute(
            Self.request(
                .POST, "http://example.com/",
                [
                    ("Connection", "x-secret, host, content-length"), ("X-Secret", "1"),
                    ("Proxy-Authorization", "Basic xyz"), ("Keep-Alive", "3"), ("TE", "trailers"),
                    ("Content-Length", "3"), ("Accept", "*/*"),
                ]), .proxy)
        let headers = route.head.headers
        #expect(headers["content-length"] == ["3"], "the length is not for the client to remove")
        #expect(headers["host"] == ["example.com"])
        #expect(headers["accept"] == ["*/*"])
        for name in ["connection", "x-secret", "proxy-authorization", "keep-alive", "te"] {
            #expect(!headers.contains(name: name), "\(name)")
        }
    }

    @Test func changesOfProtocolAreAskedFor() throws {
        let route = try HTTPRoute(
            Self.request(
                .GET, "http://example.com/ws",
                [("Connection", "Upgrade"), ("Upgrade", "websocket")]), .proxy)
        #expect(route.asksForUpgrade)
        #expect(route.head.headers["upgrade"] == ["websocket"])
        #expect(route.head.headers["connection"] == ["upgrade"])
    }

    @Test(arguments: [
        (HTTPMethod.GET, 200, [String](), HTTPVersion.http1_1, true, false),
        (.GET, 200, ["5"], .http1_1, false, false), (.HEAD, 200, [], .http1_1, false, false),
        (.GET, 204, [], .http1_1, false, false), (.GET, 304, [], .http1_1, false, false),
        (.GET, 200, [], .http1_0, false, true),
    ])
    func answersAreFramedForTheClient(
        _ method: HTTPMethod, _ status: Int, _ length: [String], _ version: HTTPVersion,
        _ isChunked: Bool, _ mustClose: Bool
    ) {
        var head = HTTPResponseHead(version: .http1_1, status: .init(statusCode: status))
        for value in length { head.headers.add(name: "content-length", value: value) }
        head.headers.add(name: "transfer-encoding", value: "gzip")
        var closing = false
        let answer = HTTPRoute.answer(
            head, to: Self.request(method, "/", [], version), closing: &closing)
        #expect(answer.headers["transfer-encoding"] == (isChunked ? ["chunked"] : []))
        #expect(answer.headers["content-length"] == length)
        #expect(closing == mustClose)
        #expect(answer.version == version)
    }
}
