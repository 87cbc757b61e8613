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
    }
}
