public import Sandbox

/// Makes and removes sandboxes: the launcher, seen from a session.
public protocol SandboxHost: Sendable {
    /// Sessions that can exist at once.
    var blocks: Int { get async throws(SandboxError) }
    /// Creates the directories and starts the sandbox.
    func start(_ plan: SandboxPlan) async throws(SandboxError) -> StartedSandbox
    /// Connects to a sandbox's init; events come in order, the replayed log first.
    func attach(
        session: String, process: ProcessIdentity, nonce: [UInt8],
        onEvent: @escaping @Sendable (InitEvent) -> Void
    ) async throws(SandboxError) -> (link: any SandboxLink, state: InitState)
    /// The init that runs for a session, whether or not the store knows it.
    func find(session: String) async throws(SandboxError) -> ProcessIdentity?
    /// Kills an init and waits for its end.
    func kill(_ process: ProcessIdentity) async throws(SandboxError)
    /// Deletes workspace, home and control socket.
    func destroy(session: String) async throws(SandboxError)
    /// What the session's agent has used since its sandbox was started.
    func usage(session: String) async throws(SandboxError) -> SandboxUsage
    /// Bytes in the session's workspace and home.
    func measure(session: String) async throws(SandboxError) -> UInt64
    /// Whether every sandbox was ended in order, as somebody had asked, after this one had started.
    func wasStopped(_ process: ProcessIdentity) -> Bool
    /// Sessions that have a tree on disk.
    func list() async throws(SandboxError) -> [String]
}

/// The control socket of one session, seen from a session.
public protocol SandboxLink: Sendable {
    func start(generation: UInt64, arguments: [String], environment: [String: String])
        async throws(SandboxError)
    func input(_ bytes: ArraySlice<UInt8>, offset: UInt64) throws(SandboxError)
    func closeInput(offset: UInt64) throws(SandboxError)
    func acknowledge(_ offset: UInt64) throws(SandboxError)
    func admit(_ total: UInt64) throws(SandboxError)
    func answer(_ token: UInt64, _ datagram: [UInt8]) throws(SandboxError)
    func signal(_ number: Int32, generation: UInt64, scope: InitLink.SignalScope)
        async throws(SandboxError)
    func shutdown() throws(SandboxError)
    func readFiles(_ path: String) async throws(SandboxError) -> FileTransfer
    func writeFiles(_ path: String) async throws(SandboxError) -> FileTransfer
    func outcome(of transfer: FileTransfer) async throws(SandboxError)
    func close()
}

extension InitLink: SandboxLink {}
