internal import NIOHTTP1
internal import Settings

// Requests that get a key on their way.

extension HTTPRoute {
    /// Where keys stand in requests. All of them are taken out of a request that gets one.
    private static let keyHeaders = [
        "authorization", "x-api-key", "api-key", "x-goog-api-key", "x-auth-token", "cookie",
    ]

    /// A request to the gateway: the secret that its path begins with, and the path behind it.
    ///
    /// - Returns: nil for a request that is none to the gateway.
    static func gateway(
        _ request: HTTPRequestHead, _ secrets: [GatewaySecret], port: UInt16
    ) throws(EgressRefusal) -> (secret: GatewaySecret, path: String)? {
        guard request.method != .CONNECT, !secrets.isEmpty,
            let target = ownPath(request.uri, port)
        else { return nil }
        let name = target.dropFirst().prefix { $0 != "/" && $0 != "?" }
        guard let secret = secrets.first(where: { $0.name == name }) else {
            throw EgressRefusal(.secret, "there is no secret '\(name.prefix(64))' here")
                .coded("unknown_secret")
        }
        guard let path = secret.url.joined(target.dropFirst(1 + name.count)) else {
            throw EgressRefusal(
                .malformed, "the path leaves \(secret.url), or servers may read it differently"
            ).coded("bad_path")
        }
        guard presents(request, secret) else {
            throw EgressRefusal(
                .secret,
                "the request does not have the value of \(secret.name) in a header for keys"
            ).coded("stand_in_missing")
        }
        try checkMethod(request)
        return (secret, path)
    }

    /// The secret that a request on an intercepted connection gets; nil where it gets none.
    static func intercepted(
        _ request: HTTPRequestHead, path: String, at destination: Destination,
        _ secrets: [GatewaySecret]
    ) throws(EgressRefusal) -> GatewaySecret? {
        let secret = secrets.first {
            $0.isIntercepted && $0.url.destination == destination && presents(request, $0)
                && $0.url.below(path).flatMap($0.url.joined) == path
        }
        if secret != nil { try checkMethod(request) }
        return secret
    }

    /// TRACE says back what was asked.
    private static func checkMethod(_ request: HTTPRequestHead) throws(EgressRefusal) {
        if request.method == .TRACE {
            throw EgressRefusal(.unsupported, "TRACE gets no key").coded("bad_method")
        }
    }

    /// The path on the proxy itself. A client that takes the proxy for this address too names it in
    /// full.
    private static func ownPath(_ target: String, _ port: UInt16) -> Substring? {
        if target.first == "/" { return target[...] }
        for host in ["127.0.0.1", "localhost"] {
            let own = "http://\(host):\(port)/"
            if target.hasPrefix(own) { return target.dropFirst(own.count - 1) }
        }
        return nil
    }

    private static func presents(_ request: HTTPRequestHead, _ secret: GatewaySecret) -> Bool {
        ([secret.header.name] + keyHeaders).contains { name in
            request.headers[name].contains { value in
                [secret.header.prefix, "Bearer ", ""].contains { prefix in
                    value.lowercased().hasPrefix(prefix.lowercased())
                        && secret.isStandIn(value.utf8.dropFirst(prefix.utf8.count))
                }
            }
        }
    }

    /// The head without any key, and without what would make an answer that cannot be looked at.
    static func withoutKeys(_ head: HTTPRequestHead, _ secret: GatewaySecret) -> HTTPRequestHead {
        var head = head
        for name in [secret.header.name] + keyHeaders { head.headers.remove(name: name) }
        // Parts of an answer would have parts of what it says back.
        for name in ["range", "if-range", "accept-encoding"] { head.headers.remove(name: name) }
        head.headers.add(name: "accept-encoding", value: "identity")
        return head
    }

    /// The same request with the key.
    func with(_ value: SecretValue) -> HTTPRoute {
        guard let secret else { return self }
        var route = self
        let text = String(decoding: value.reveal(), as: UTF8.self)
        route.head.headers.replaceOrAdd(
            name: secret.header.name, value: secret.header.prefix + text)
        return route
    }
}

extension HTTPResponseHead {
    /// The body is as it is: what it says back can be found.
    var isUncoded: Bool {
        headers[canonicalForm: "content-encoding"].allSatisfy { $0.lowercased() == "identity" }
            && headers[canonicalForm: "transfer-encoding"].allSatisfy {
                ["chunked", "identity"].contains($0.lowercased())
            }
    }
}
