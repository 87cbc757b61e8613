internal import NIOCore
internal import NIOHTTP1
internal import Settings

/// Where a request goes and how it reads there: a value that follows from its head alone.
struct HTTPRoute {
    let destination: Destination
    /// The head for the other side: path only, `Host` of the destination, nothing that is meant for
    /// this hop.
    var head: HTTPRequestHead
    /// The secret that the request gets.
    let secret: GatewaySecret?
    /// The other side is spoken to over TLS.
    let isTLS: Bool
    /// The client wishes to change the protocol (WebSocket).
    let asksForUpgrade: Bool

    /// Longest request target, in bytes.
    private static let maximumTarget = 16384

    /// The connection that it takes.
    var hop: Hop { Hop(destination: destination, isTLS: isTLS, secret: secret?.name) }

    /// - Parameters:
    ///   - secrets: of the session.
    ///   - proxyPort: the gateway's, in the session.
    init(
        _ request: HTTPRequestHead, _ mode: HTTPGate.Mode, _ secrets: [GatewaySecret] = [],
        proxyPort: UInt16 = 3128
    ) throws(EgressRefusal) {
        try Self.checkFraming(request)
        guard request.uri.utf8.count <= Self.maximumTarget else {
            throw EgressRefusal(.malformed, "the request's target is too long")
        }
        let hosts = request.headers["host"]
        guard hosts.count <= 1 else {
            throw EgressRefusal(.malformed, "the request has \(hosts.count) Host headers")
        }
        asksForUpgrade = request.headers.contains(name: "upgrade")
        if case .proxy = mode,
            let found = try Self.gateway(request, secrets, port: proxyPort)
        {
            secret = found.secret
            destination = found.secret.url.destination
            isTLS = found.secret.url.isTLS
            let onward = Self.onward(
                request, to: destination, path: found.path, upgrade: asksForUpgrade,
                defaultPort: isTLS ? 443 : 80)
            head = Self.withoutKeys(onward, found.secret)
            return
        }
        let (destination, path) = try Self.target(request, hosts.first, mode)
        if let host = hosts.first {
            let fallback = request.method == .CONNECT ? destination.port : mode.defaultPort
            try Self.check(host: host, is: destination, defaultPort: fallback)
        }
        self.destination = destination
        isTLS = mode.isIntercepted
        let onward = Self.onward(
            request, to: destination, path: path, upgrade: asksForUpgrade,
            defaultPort: mode.defaultPort)
        secret =
            mode.isIntercepted
            ? try Self.intercepted(request, path: path, at: destination, secrets) : nil
        head = secret.map { Self.withoutKeys(onward, $0) } ?? onward
    }

    /// A body whose end two readers could see in two places is none (RFC 9112, section 6.3).
    private static func checkFraming(_ request: HTTPRequestHead) throws(EgressRefusal) {
        let codings = request.headers["transfer-encoding"]
        let lengths = request.headers["content-length"]
        guard codings.isEmpty || lengths.isEmpty, codings.count <= 1, lengths.count <= 1,
            codings.first.map({ $0.lowercased() == "chunked" }) ?? true
        else { throw EgressRefusal(.malformed, "the length of the request's body is ambiguous") }
        guard codings.isEmpty || request.version.minor > 0 else {
            throw EgressRefusal(.malformed, "Transfer-Encoding in a request of HTTP/1.0")
        }
        guard request.version.major == 1 else {
            throw EgressRefusal(.malformed, "\(request.version) is not HTTP/1")
        }
    }

    private static func target(
        _ request: HTTPRequestHead, _ host: String?, _ mode: HTTPGate.Mode
    ) throws(EgressRefusal) -> (Destination, path: String) {
        let target = request.uri
        if request.method == .CONNECT {
            guard case .proxy = mode else {
                throw EgressRefusal(.malformed, "CONNECT is for a proxy")
            }
            return (try destination(target.utf8, nil), "")
        }
        let scheme = mode.isIntercepted ? "https://" : "http://"
        if target.utf8.count > scheme.utf8.count,
            target.prefix(scheme.count).lowercased() == scheme
        {
            let rest = target.dropFirst(scheme.count)
            let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
            let named = try destination(authority.utf8, mode.defaultPort)
            if let expected = mode.fixed, named != expected {
                throw EgressRefusal(.policy, "\(named) is asked for on a connection to \(expected)")
            }
            let path = rest.dropFirst(authority.count)
            return (named, path.first == "/" ? String(path) : "/" + path)
        }
        guard target.first == "/" || target == "*" else {
            throw EgressRefusal(
                .malformed, "the request's target must be http://HOST/PATH; use CONNECT for https")
        }
        switch mode {
        case .proxy:
            throw EgressRefusal(.malformed, "this is a proxy: ask for http://HOST/PATH")
        case .fixed(let destination), .intercepted(let destination):
            return (destination, target)
        case .host(let port):
            guard let host else { throw EgressRefusal(.malformed, "the request has no Host") }
            return (try destination(host.utf8, port), target)
        }
    }

    private static func destination(
        _ authority: some Collection<UInt8>, _ port: UInt16?
    ) throws(EgressRefusal) -> Destination {
        do throws(NetworkTextError) {
            return try Destination(authority: authority, defaultPort: port)
        } catch {
            throw EgressRefusal(.malformed, error.message)
        }
    }

    /// Two names for one request would mean that two readers see two destinations.
    private static func check(
        host: String, is destination: Destination, defaultPort: UInt16
    ) throws(EgressRefusal) {
        let named = try Self.destination(host.utf8, defaultPort)
        // Clients leave the port out where they believe it to be the usual one.
        guard named.host == destination.host,
            named.port == destination.port || !host.hasSuffix(":\(named.port)")
        else {
            throw EgressRefusal(.policy, "Host names \(named), the connection is to \(destination)")
        }
    }

    /// Headers for one hop only (RFC 9110, section 7.6.1).
    private static let hopByHop = [
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization",
        "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    ]

    private static func withoutHop(_ headers: HTTPHeaders) -> HTTPHeaders {
        var result = headers
        for name in headers[canonicalForm: "connection"] {
            // The length of a body is not for the client to take away.
            if name.lowercased() != "content-length" { result.remove(name: String(name)) }
        }
        for name in hopByHop { result.remove(name: name) }
        return result
    }

    private static func onward(
        _ request: HTTPRequestHead, to destination: Destination, path: String, upgrade: Bool,
        defaultPort: UInt16
    ) -> HTTPRequestHead {
        var headers = withoutHop(request.headers)
        let host = "\(destination.host)"
        headers.replaceOrAdd(
            name: "host",
            value: destination.port == defaultPort ? host : "\(host):\(destination.port)")
        if request.headers.contains(name: "transfer-encoding") {
            headers.add(name: "transfer-encoding", value: "chunked")
        }
        if upgrade {
            headers.add(name: "connection", value: "upgrade")
            for value in request.headers["upgrade"] { headers.add(name: "upgrade", value: value) }
        }
        return HTTPRequestHead(
            version: .http1_1, method: request.method, uri: path, headers: headers)
    }

    // MARK: - Answers

    /// The head of an answer for the client, with the framing that its request allows.
    static func answer(
        _ head: HTTPResponseHead, to request: HTTPRequestHead, closing: inout Bool
    ) -> HTTPResponseHead {
        var answer = HTTPResponseHead(
            version: request.version, status: head.status, headers: withoutHop(head.headers))
        if head.status.code < 200 { return answer }
        let hasBody = request.method != .HEAD && head.status.mayHaveResponseBody
        if hasBody, !answer.headers.contains(name: "content-length") {
            if request.version.minor > 0 {
                answer.headers.add(name: "transfer-encoding", value: "chunked")
            } else {
                closing = true
            }
        }
        if closing { answer.headers.add(name: "connection", value: "close") }
        return answer
    }

    /// The head that tells the client that the protocol changes.
    static func switched(_ head: HTTPResponseHead) -> HTTPResponseHead {
        var answer = HTTPResponseHead(
            version: .http1_1, status: head.status, headers: withoutHop(head.headers))
        answer.headers.add(name: "connection", value: "upgrade")
        for value in head.headers["upgrade"] { answer.headers.add(name: "upgrade", value: value) }
        return answer
    }

    /// What a client is told instead of an answer.
    static func refusal(
        _ refusal: EgressRefusal, to request: HTTPRequestHead, closing: Bool
    ) -> [HTTPServerResponsePart] {
        let isCoded = refusal.code != nil
        let text = ByteBuffer(
            string: isCoded ? refusal.json : "superserve: \(refusal.text)\n")
        var headers: HTTPHeaders = [
            "content-type": isCoded ? "application/json" : "text/plain; charset=utf-8",
            "content-length": "\(text.readableBytes)",
        ]
        switch refusal.cause {
        case .policy: headers.add(name: "x-superserve-refusal", value: "policy")
        case .budget:
            headers.add(name: "x-superserve-refusal", value: "budget")
            // Asking again is of no use, and clients of models' APIs would.
            headers.add(name: "x-should-retry", value: "false")
        default: headers.add(name: "x-superserve-refusal", value: "failed")
        }
        if closing { headers.add(name: "connection", value: "close") }
        let head = HTTPResponseHead(
            version: request.version, status: .init(statusCode: refusal.httpStatus),
            headers: headers)
        let body: [HTTPServerResponsePart] =
            request.method == .HEAD ? [] : [.body(.byteBuffer(text))]
        return [.head(head)] + body + [.end(nil)]
    }
}
