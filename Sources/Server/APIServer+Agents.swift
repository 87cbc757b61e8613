internal import API
internal import HTTPTypes
internal import Hummingbird
internal import Sessions

extension APIServer {
    func addAgentRoutes(to group: RouterGroup<PeerContext>) {
        group.get { _, _ in
            var agents: [WireAgent] = []
            for version in try await supervisor.catalog.all() {
                agents.append(try await supervisor.show(version))
            }
            return try Answer.json(WireAgentList(agents: agents))
        }
        group.post { request, context in
            try await deploy(request, caller: context.caller)
        }
        group.get("/:name") { _, context in
            let version = try await supervisor.catalog.version(named: context.parameter("name"))
            return try Answer.json(try await supervisor.show(version))
        }
        group.delete("/:name") { _, context in
            try await supervisor.catalog.delete(
                named: context.parameter("name"), caller: context.caller)
            return Response(status: .noContent)
        }
        addSecretRoutes(to: group.group("/:name/secrets"))
    }

    private func addSecretRoutes(to group: RouterGroup<PeerContext>) {
        group.get { _, context in
            try Answer.json(
                try await supervisor.secrets(
                    agent: context.parameter("name"), caller: context.caller))
        }
        group.put("/:key") { request, context in
            // As JSON a byte may take six.
            let body = try await request.decode(
                WireSetSecret.self, limit: 6 * APILimits.secretBytes + 1024)
            try await supervisor.setSecret(
                context.parameter("key"), agent: context.parameter("name"), value: body.value,
                caller: context.caller)
            return Response(status: .noContent)
        }
        group.delete("/:key") { _, context in
            try await supervisor.deleteSecret(
                context.parameter("key"), agent: context.parameter("name"),
                caller: context.caller)
            return Response(status: .noContent)
        }
    }
}
