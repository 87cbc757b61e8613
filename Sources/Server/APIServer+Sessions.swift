internal import API
internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import Sessions

extension APIServer {
    func addSessionRoutes(to group: RouterGroup<PeerContext>) {
        group.get { request, context in
            var status: SessionStatus?
            if let text = request.query("status") {
                status = SessionStatus(rawValue: text.lowercased())
                guard status != nil else {
                    throw WireError(
                        code: .badRequest,
                        message: "Unknown status '\(TerminalText.neutralised(text))'",
                        hint: "Statuses are: active, idle, ended, timeout")
                }
            }
            return try Answer.json(
                try await supervisor.list(
                    agent: request.query("agent"), status: status,
                    limit: try request.integerQuery("limit", Int.self) ?? 50,
                    everybody: request.flag("all"), caller: context.caller))
        }
        group.post { request, context in
            let body = try await request.decode(WireCreateSession.self, limit: 1 << 16)
            let record = try await supervisor.create(
                agent: body.agent, idleTimeout: body.idleTimeoutSeconds,
                key: request.idempotencyKey, caller: context.caller)
            return try Answer.json(try await supervisor.show(record), status: .created)
        }
        group.get("/resolve") { request, context in
            let id = try await supervisor.resolve(
                request.query("prefix") ?? "", caller: context.caller)
            return try Answer.json(try await supervisor.show(id))
        }
    }

    func addConversationRoutes(to group: RouterGroup<PeerContext>) {
        group.get { _, context in
            let id = try await supervisor.resolve(context.parameter("id"), caller: context.caller)
            return try Answer.json(try await supervisor.show(id))
        }
        group.delete { _, context in
            try await supervisor.discard(context.parameter("id"), caller: context.caller)
            return Response(status: .noContent)
        }
        group.get("/messages") { request, context in
            let after = try request.integerQuery("after", Int.self) ?? 0
            let limit = try request.integerQuery("limit", Int.self) ?? 1000
            return try Answer.json(
                try await supervisor.history(
                    context.parameter("id"), after: max(0, after),
                    limit: min(max(limit, 1), 1000), caller: context.caller))
        }
        group.post("/messages") { request, context in
            // Six bytes of JSON may stand for one of the message ("\u0001").
            let body = try await request.decode(
                WireSendMessage.self, limit: supervisor.limits.maximumMessage * 6 + 4096)
            let (id, turn) = try await supervisor.send(
                context.parameter("id"), to: body.content, key: request.idempotencyKey,
                caller: context.caller)
            if body.detach == true {
                return try Answer.json(
                    WireAccepted(
                        sessionId: id.description, turn: turn.number, firstSeq: turn.firstSeq),
                    status: .accepted)
            }
            return Answer.stream(
                supervisor.events(id, after: turn.firstSeq - 1, turn: turn.number, follow: true))
        }
        group.get("/events") { request, context in
            let id = try await supervisor.resolve(context.parameter("id"), caller: context.caller)
            var after = try request.integerQuery("after", Int64.self) ?? 0
            if let name = HTTPField.Name("Last-Event-ID"), let last = request.headers[name] {
                guard let number = Int64(last) else {
                    throw WireError(
                        code: .badRequest, message: "Last-Event-ID must be a whole number")
                }
                after = number
            }
            let follow = request.query("follow") == nil || request.flag("follow")
            return Answer.stream(
                supervisor.events(id, after: max(0, after), turn: nil, follow: follow))
        }
        group.post("/cancel") { _, context in
            let record = try await supervisor.cancel(
                context.parameter("id"), caller: context.caller)
            return try Answer.json(
                try await supervisor.show(record), status: record.phase == .active ? .accepted : .ok
            )
        }
        group.post("/resume") { _, context in
            let record = try await supervisor.resume(
                context.parameter("id"), caller: context.caller)
            return try Answer.json(try await supervisor.show(record))
        }
        group.post("/end") { _, context in
            let record = try await supervisor.end(context.parameter("id"), caller: context.caller)
            return try Answer.json(try await supervisor.show(record))
        }
    }

    func addNetworkRoutes(to group: RouterGroup<PeerContext>) {
        group.get("/network") { request, context in
            let limit = try request.integerQuery("limit", Int.self) ?? 100
            return try Answer.json(
                try await supervisor.network(
                    context.parameter("id"), limit: min(max(limit, 0), 10_000),
                    caller: context.caller))
        }
        group.post("/network") { request, context in
            let body = try await request.decode(WireEditNetwork.self, limit: 1 << 16)
            return try Answer.json(
                try await supervisor.editNetwork(
                    context.parameter("id"), body, caller: context.caller))
        }
    }
}
