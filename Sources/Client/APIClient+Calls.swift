public import API
internal import NIOCore

extension APIClient {
    /// `GET /healthz`
    public func health() async throws -> Answer<WireHealth> {
        try await call(HTTPRequest(method: .get, target: APIPath.health, idleSeconds: 15))
    }

    /// `POST /v1/supervisor/stop`: running turns fail as `stopped`, agents stop, the supervisor
    /// exits.
    public func stopSupervisor() async throws {
        _ = try await data(HTTPRequest(method: .post, target: "/v1/supervisor/stop"))
    }

    /// `POST /v1/supervisor/reload`: configuration and agents are read again.
    public func reloadSupervisor() async throws -> Answer<WireReload> {
        try await call(HTTPRequest(method: .post, target: "/v1/supervisor/reload"))
    }

    /// `GET /v1/agents`
    public func agents() async throws -> Answer<WireAgentList> {
        try await call(HTTPRequest(method: .get, target: APIPath.agents))
    }

    /// `GET /v1/agents/{name}`
    public func agent(_ name: String) async throws -> Answer<WireAgent> {
        try await call(HTTPRequest(method: .get, target: APIPath.agent(name)))
    }

    /// `DELETE /v1/agents/{name}`
    public func deleteAgent(_ name: String) async throws {
        _ = try await data(HTTPRequest(method: .delete, target: APIPath.agent(name)))
    }

    /// `GET /v1/agents/{name}/secrets`: without values.
    public func secrets(of agent: String) async throws -> Answer<WireSecretList> {
        try await call(HTTPRequest(method: .get, target: APIPath.secrets(agent)))
    }

    /// `PUT /v1/agents/{name}/secrets/{key}`
    public func setSecret(_ key: String, of agent: String, to value: String) async throws {
        _ = try await data(
            HTTPRequest(
                method: .put, target: APIPath.secrets(agent, key),
                body: try Self.encode(WireSetSecret(value: value))))
    }

    /// `DELETE /v1/agents/{name}/secrets/{key}`
    public func deleteSecret(_ key: String, of agent: String) async throws {
        _ = try await data(
            HTTPRequest(method: .delete, target: APIPath.secrets(agent, key)))
    }

    /// `POST /v1/agents`
    ///
    /// - Parameter next: gives the archive in chunks, nil at its end.
    public func deploy(
        _ next: @escaping @Sendable () async throws -> [UInt8]?
    ) async throws -> Answer<WireAgent> {
        try await call(
            HTTPRequest(
                method: .post, target: APIPath.agents,
                body: .stream(contentType: "application/x-tar", next: next), idleSeconds: 600))
    }

    /// `GET /v1/sessions`
    ///
    /// - Parameters:
    ///   - limit: how many sessions at most.
    ///   - all: everyone's sessions, for operators.
    public func sessions(
        agent: String?, status: SessionStatus?, limit: Int, all: Bool
    ) async throws -> Answer<WireSessionList> {
        let target = Self.target(
            APIPath.sessions,
            [
                ("agent", agent), ("status", status?.rawValue), ("limit", String(limit)),
                ("all", all ? "true" : nil),
            ])
        return try await call(HTTPRequest(method: .get, target: target))
    }

    /// `POST /v1/sessions`
    ///
    /// - Parameter key: names the request, so that it can be sent again after a lost answer.
    public func createSession(
        _ request: WireCreateSession, key: String
    ) async throws -> Answer<WireSession> {
        try await call(
            HTTPRequest(
                method: .post, target: APIPath.sessions, headers: [("Idempotency-Key", key)],
                body: try Self.encode(request)))
    }

    /// `GET /v1/sessions/{id}`; `id` is any unique prefix.
    public func session(_ id: String) async throws -> Answer<WireSession> {
        try await call(HTTPRequest(method: .get, target: APIPath.session(id)))
    }

    /// `DELETE /v1/sessions/{id}`: only a session without messages.
    public func discardSession(_ id: String) async throws {
        _ = try await data(HTTPRequest(method: .delete, target: APIPath.session(id)))
    }

    /// `GET /v1/sessions/{id}/messages`, page after page.
    public func history(_ id: String) async throws -> Answer<WireHistory> {
        var whole = try await historyPage(id, after: 0)
        guard whole.value.nextAfter != nil else { return whole }
        while let next = whole.value.nextAfter {
            let page = try await historyPage(id, after: next).value
            whole.value.messages += page.messages
            whole.value.nextAfter = page.nextAfter.map { max($0, next + 1) }
        }
        whole.json = try Self.json(whole.value)
        return whole
    }

    private func historyPage(_ id: String, after: Int) async throws -> Answer<WireHistory> {
        let target = Self.target(APIPath.session(id, "messages"), [("after", String(after))])
        return try await call(HTTPRequest(method: .get, target: target))
    }

    /// `POST /v1/sessions/{id}/messages` without waiting for the turn; its events have numbers from
    /// the answer's `firstSeq`.
    ///
    /// - Parameter key: names the message, so that it can be sent again after a lost answer.
    public func send(
        _ content: String, to id: String, key: String
    ) async throws -> Answer<WireAccepted> {
        try await call(
            HTTPRequest(
                method: .post, target: APIPath.session(id, "messages"),
                headers: [("Idempotency-Key", key)],
                body: try Self.encode(WireSendMessage(content: content, detach: true))))
    }

    /// `POST /v1/sessions/{id}/cancel`
    public func cancel(_ id: String) async throws -> Answer<WireSession> {
        try await call(HTTPRequest(method: .post, target: APIPath.session(id, "cancel")))
    }

    /// `POST /v1/sessions/{id}/resume`: restarts the idle clock.
    public func resume(_ id: String) async throws -> Answer<WireSession> {
        try await call(HTTPRequest(method: .post, target: APIPath.session(id, "resume")))
    }

    /// `POST /v1/sessions/{id}/end`
    public func end(_ id: String) async throws -> Answer<WireSession> {
        try await call(HTTPRequest(method: .post, target: APIPath.session(id, "end")))
    }

    /// `GET /v1/sessions/{id}/network`: what it may reach, and its newest `limit` records.
    public func network(_ id: String, limit: Int) async throws -> Answer<WireNetwork> {
        let target = Self.target(APIPath.session(id, "network"), [("limit", String(limit))])
        return try await call(HTTPRequest(method: .get, target: target))
    }

    /// `POST /v1/sessions/{id}/network`
    public func editNetwork(
        _ id: String, _ edit: WireEditNetwork
    ) async throws -> Answer<WireNetwork> {
        try await call(
            HTTPRequest(
                method: .post, target: APIPath.session(id, "network"),
                body: try Self.encode(edit)))
    }

    /// `GET /v1/sessions/{id}/files`: a tar archive, chunk by chunk.
    public func readFiles(
        _ id: String, path: String, _ receive: ([UInt8]) async throws -> Void
    ) async throws {
        let target = Self.target(APIPath.session(id, "files"), [("path", path)])
        let request = HTTPRequest(
            method: .get, target: target, accept: "application/x-tar", idleSeconds: 600)
        try await http.perform(request) { head, body in
            guard head.isSuccess else {
                throw Self.refusal(head, try await body.collect(limit: Self.answerLimit))
            }
            while let buffer = try await body.next() {
                try await receive([UInt8](buffer.readableBytesView))
            }
        }
    }

    /// `PUT /v1/sessions/{id}/files`: a tar archive with one top entry; `cp -r` semantics.
    ///
    /// - Parameter next: gives the archive in chunks, nil at its end.
    public func writeFiles(
        _ id: String, path: String, _ next: @escaping @Sendable () async throws -> [UInt8]?
    ) async throws {
        let target = Self.target(APIPath.session(id, "files"), [("path", path)])
        _ = try await data(
            HTTPRequest(
                method: .put, target: target,
                body: .stream(contentType: "application/x-tar", next: next), idleSeconds: 600))
    }
}
