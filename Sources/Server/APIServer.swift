public import API
internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import HummingbirdCore
public import Logging
internal import NIOCore
public import Sessions

/// What the API needs to know about the process it runs in.
public struct ServerOptions: Sendable {
    /// Path of the unix socket.
    public var socketPath: String
    public var stateDirectory: String
    public var version: String
    /// Sessions that can exist at once.
    public var capacity: Int
    /// Bytes of a deployed tree.
    public var maximumDeploy: Int
    /// Bytes of one upload into a session.
    public var maximumUpload: Int
    public var maximumClients: Int
    public var operators: Operators

    public init(
        socketPath: String, stateDirectory: String, version: String, capacity: Int,
        maximumDeploy: Int,
        maximumUpload: Int, maximumClients: Int, operators: Operators
    ) {
        self.socketPath = socketPath
        self.stateDirectory = stateDirectory
        self.version = version
        self.capacity = capacity
        self.maximumDeploy = maximumDeploy
        self.maximumUpload = maximumUpload
        self.maximumClients = maximumClients
        self.operators = operators
    }
}

/// The HTTP API on a unix socket.
public struct APIServer: Sendable {
    let supervisor: Supervisor
    let options: ServerOptions
    let started = ContinuousClock.now
    let requestStop: @Sendable () async -> Void
    let reload: @Sendable () async throws -> WireReload

    /// `requestStop` is called when a client asks for the end of the whole service, `reload` when
    /// one asks that configuration and agents be read again.
    public init(
        supervisor: Supervisor, options: ServerOptions,
        requestStop: @escaping @Sendable () async -> Void,
        reload: @escaping @Sendable () async throws -> WireReload
    ) {
        self.supervisor = supervisor
        self.options = options
        self.requestStop = requestStop
        self.reload = reload
    }

    /// Serves until the task is cancelled or the process is told to stop. `onReady` is called once
    /// the socket takes connections.
    public func run(logger: Logger, onReady: @escaping @Sendable () async -> Void) async throws {
        let router = Router(context: PeerContext.self)
        router.add(middleware: PeerMiddleware(operators: options.operators))
        addRoutes(to: router)
        var logger = logger
        logger[metadataKey: "component"] = "http"
        let application = Application(
            responder: router.buildResponder(),
            server: .http1(
                configuration: .init(
                    idleTimeout: nil)),
            configuration: .init(
                address: .unixDomainSocket(path: options.socketPath), serverName: nil,
                backlog: options.maximumClients,
                availableConnectionsDelegate: MaximumAvailableConnections(options.maximumClients)),
            onServerRunning: { _ in await onReady() }, logger: logger)
        try await application.run()
    }

    private func addRoutes(to router: Router<PeerContext>) {
        router.get("/healthz") { _, _ in
            try Answer.json(
                WireHealth(
                    status: "ok", version: options.version, pid: getpid(),
                    uptimeSeconds: Int(started.duration(to: .now).components.seconds),
                    stateDirectory: options.stateDirectory,
                    liveSessions: try await supervisor.liveSessions(),
                    sessionCapacity: min(options.capacity, supervisor.limits.maximumSessions)))
        }
        router.post("/v1/supervisor/stop") { _, context in
            guard context.caller.isOperator else {
                throw WireError(code: .forbidden, message: "Only operators may stop the supervisor")
            }
            await requestStop()
            return Response(status: .accepted)
        }
        router.post("/v1/supervisor/reload") { _, context in
            guard context.caller.isOperator else {
                throw WireError(code: .forbidden, message: "Only operators may reload")
            }
            return try Answer.json(try await reload())
        }
        addAgentRoutes(to: router.group("/v1/agents"))
        let sessions = router.group("/v1/sessions")
        addSessionRoutes(to: sessions)
        addConversationRoutes(to: sessions.group("/:id"))
        addNetworkRoutes(to: sessions.group("/:id"))
        addFileRoutes(to: sessions.group("/:id/files"))
    }
}

extension PeerContext {
    /// The `{id}` or `{name}` of the path.
    func parameter(_ name: String) throws -> String {
        try parameters.require(name)
    }
}
