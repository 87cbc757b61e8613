import Settings
import Testing

@Suite("Secrets of an agent")
struct AgentSecretTests {
    static func agent(_ secrets: String) throws -> AgentDefinition {
        try AgentDefinition(yaml: "name: a\ncommand: x\n\(secrets)\n", file: "a.yaml")
    }

    @Test func presets() throws {
        let secrets = try #require(
            try Self.agent("secrets: {K: {api: openai}, A: {api: anthropic}}").secrets)
        #expect(secrets.map(\.name) == ["A", "K"])
        #expect(secrets[0].binding == "https://api.anthropic.com:443 x-api-key")
        #expect(secrets[0].baseURL == ["ANTHROPIC_BASE_URL"])
        #expect(secrets[1].binding == "https://api.openai.com:443/v1 authorization: Bearer")
        #expect(secrets[1].baseURL == ["OPENAI_BASE_URL", "OPENAI_API_BASE"])
    }

    @Test func everythingGiven() throws {
        let secret = try #require(
            try Self.agent(
                """
                secrets:
                  KEY:
                    url: https://Host.example:8443/a/b/
                    header: X-Key
                    base_url: [BASE]
                    intercept: true
                """
            ).secrets?.first)
        #expect(secret.binding == "https://host.example:8443/a/b x-key")
        #expect(secret.baseURL == ["BASE"])
        #expect(secret.isIntercepted && !secret.isPlain)
    }

    @Test func plainGoesNowhere() throws {
        let secret = try #require(try Self.agent("secrets: {K: {plain: true}}").secrets?.first)
        #expect(secret.isPlain && secret.url == nil && secret.binding == "plain")
    }

    @Test(arguments: [
        ("secrets: {K: {}}", 3, "needs 'api', 'url' or 'plain: true'"),
        ("secrets:\n  K:\n    api: nobody", 5, "must be one of: anthropic, openai"),
        ("secrets:\n  K:\n    url: ftp://a.example", 5, "must begin with https://"),
        ("secrets:\n  K:\n    url: https://a.example/../b", 5, "'.' or '..'"),
        ("secrets:\n  K:\n    url: https://a.example/%2e%2e/b", 5, "'.' or '..'"),
        ("secrets:\n  K:\n    url: https://user@a.example/", 5, "no name may have"),
        ("secrets:\n  K:\n    url: https://a.example/?x=1", 5, "no path may have"),
        ("secrets:\n  K:\n    url: https://127.1/", 5, "four numbers"),
        ("secrets:\n  K:\n    api: openai\n    header: \"a b\"", 6, "the name of a header"),
        ("secrets:\n  K:\n    api: openai\n    header: Host", 6, "not for a key"),
        ("secrets:\n  K:\n    api: openai\n    colour: red", 6, "unknown key 'colour'"),
        ("secrets:\n  K:\n    api: openai\n    plain: true", 5, "together with 'plain"),
        ("secrets:\n  PATH:\n    api: openai", 4, "superserve sets by itself"),
        ("secrets:\n  https_proxy:\n    api: openai", 4, "superserve sets by itself"),
        ("secrets:\n  SUPERSERVE_X:\n    api: openai", 4, "superserve sets by itself"),
        ("secrets:\n  1K:\n    api: openai", 4, "is no name of a variable"),
        ("secrets:\n  K:\n    api: openai\n    base_url: [K]", 4, "sets 'K' twice"),
        ("env: {K: x}\nsecrets:\n  K:\n    api: openai", 5, "which 'env' sets too"),
        ("secrets:\n  K:\n    url: http://a.example\n    intercept: true", 6, "needs a url"),
        ("secrets:\n  K:\n    url: https://192.0.2.7\n    intercept: true", 6, "needs a url"),
        ("secrets: [K]", 3, "must be a mapping"),
        ("secrets: {K: openai}", 3, "must be a mapping"),
    ])
    func mistakes(_ text: String, _ line: Int, _ part: String) {
        let error = #expect(throws: SettingsError.self) { try Self.agent(text) }
        #expect(error?.line == line, "\(error?.description ?? "")")
        #expect(error?.message.contains(part) == true, "\(error?.description ?? "")")
    }

    @Test func thereAreBounds() throws {
        func many(_ count: Int) -> String {
            "secrets:\n"
                + (0..<count).map { "  K\($0): {url: 'https://h\($0).example'}\n" }.joined()
        }
        #expect(try Self.agent(many(16)).secrets?.count == 16)
        #expect(throws: SettingsError.self) { try Self.agent(many(17)) }
        let name = String(repeating: "K", count: 129)
        #expect(throws: SettingsError.self) { try Self.agent("secrets: {\(name): {api: openai}}") }
    }
}

@Suite("Paths that keys are sent to")
struct SecretURLTests {
    @Test(arguments: [
        ("https://a.example/v1", "/chat/completions", "/v1/chat/completions"),
        ("https://a.example/v1", "", "/v1"), ("https://a.example/v1", "?q=1", "/v1?q=1"),
        ("https://a.example", "", "/"), ("https://a.example/", "/v1/messages", "/v1/messages"),
        ("https://a.example/v1", "/a%20b/", "/v1/a%20b/"),
        ("https://a.example/v1", "/x?path=../..%2f", "/v1/x?path=../..%2f"),
        ("https://a.example/v1", "/...", "/v1/..."), ("https://a.example/v1", "/a..b", "/v1/a..b"),
    ])
    func joined(_ url: String, _ rest: String, _ whole: String) throws {
        #expect(try SecretURL(url).joined(rest) == whole)
    }

    @Test(arguments: [
        "/..", "/../x", "/a/../../x", "/./x", "/%2e%2e/x", "/%2E./x", "/.%2e", "/%252e%252e/x",
        "/%25252e./x", "/a%2fb", "/a%2F..%2Fb", "/a%252fb", "/a\\..\\b", "/a%5cb", "/..;x/y",
        "/.;/y", "/%2e%2e;a=b/y", "//x", "/a//b", "/a%00b", "/a%0d%0ab", "/a b", "/a\u{7f}", "/%",
        "/%2", "/%zz", "/a#b", "x", "/é", "/x?a#b", "/x?a b",
    ])
    func leaving(_ rest: String) throws {
        #expect(try SecretURL("https://a.example/v1").joined(rest) == nil)
    }

    @Test func whatIsBelow() throws {
        let url = try SecretURL("https://a.example/v1")
        #expect(url.below("/v1/x?y") == "/x?y")
        #expect(url.below("/v1") == "")
        #expect(url.below("/v1?x") == "?x")
        for other in ["/v10", "/v", "/", "/V1/x", "/x/v1/", "*"] {
            #expect(url.below(other) == nil)
        }
    }
}
