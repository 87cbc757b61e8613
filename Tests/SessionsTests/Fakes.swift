import API
import AgentProtocols
import Egress
import Foundation
import Gateway
import Logging
import Sandbox
import Sessions
import Settings
import Storage
import Synchronization

/// A clock that stands until a test moves it.
final class TestClock: SessionClock {
    private struct State {
        var boot = BootInstant(bootID: "boot-1", nanoseconds: 1_000_000_000_000)
        var wall = Date(timeIntervalSince1970: 1_800_000_000)
    }
    private let state = Mutex(State())

    var boot: BootInstant { state.withLock { $0.boot } }
    var wall: Date { state.withLock { $0.wall } }

    func advance(_ seconds: Double) {
        state.withLock {
            $0.boot.nanoseconds += UInt64(seconds * 1e9)
            $0.wall += seconds
        }
    }

    /// The clock of the next boot begins at an hour.
    func restartMachine() {
        state.withLock {
            $0.boot = BootInstant(bootID: "boot-2", nanoseconds: 3_600_000_000_000)
        }
    }

    func jumpWall(_ seconds: Double) { state.withLock { $0.wall += seconds } }
}

/// Sandboxes without processes: keeps each session's log like an init and replays it on attach.
/// Agents are played by the test through `agent`.
final class TestHost: SandboxHost {
    struct Box {
        var plan: SandboxPlan
        var process: ProcessIdentity
        var log: [(record: LogRecord.Event, generation: UInt64, end: UInt64)] = []
        var acknowledged: UInt64 = 0
        var input: [UInt8] = []
        var generation: UInt64 = 0
        var signals: [Int32] = []
        var deliver: (@Sendable (InitEvent) -> Void)?
    }

    struct State {
        var boxes: [String: Box] = [:]
        var trees: Set<String> = []
        var nextPID: Int32 = 100
        var destroyed: [String] = []
        var killed: [ProcessIdentity] = []
        /// Everything was ended in order.
        var wasStopped = false
        /// Called after each start and input, outside of the lock.
        var agent: (@Sendable (TestHost, String) -> Void)?
        var failStart: SandboxError?
        var enforcement = LimitEnforcement(
            inForce: Set(SandboxLimits.Limit.allCases), note: nil)
        var usage = SandboxUsage()
        /// What the file system lets each session own.
        var quota: DiskQuota? = DiskQuota(bytes: 0, files: 0)
        /// Bytes of every session's tree.
        var bytes: UInt64 = 0
    }

    let state = Mutex(State())

    var blocks: Int {
        get async throws(SandboxError) { 16 }
    }

    func start(_ plan: SandboxPlan) async throws(SandboxError) -> StartedSandbox {
        let result: Result<StartedSandbox, SandboxError> = state.withLock { state in
            if let error = state.failStart { return .failure(error) }
            do throws(SandboxError) { try plan.check(state.quota) } catch {
                return .failure(error)
            }
            state.nextPID += 1
            let process = ProcessIdentity(pid: state.nextPID, startTime: 7)
            state.boxes[plan.session] = Box(plan: plan, process: process)
            state.trees.insert(plan.session)
            return .success(
                StartedSandbox(
                    process: process, enforcement: state.enforcement, quota: state.quota))
        }
        return try result.get()
    }

    func attach(
        session: String, process: ProcessIdentity, nonce: [UInt8],
        onEvent: @escaping @Sendable (InitEvent) -> Void
    ) async throws(SandboxError) -> (link: any SandboxLink, state: InitState) {
        let found: (InitState, [LogRecord])? = state.withLock { state in
            guard var box = state.boxes[session], box.process == process, box.plan.nonce == nonce
            else {
                return nil
            }
            box.deliver = onEvent
            state.boxes[session] = box
            let kept = box.log.filter { $0.end > box.acknowledged }
            let start = InitState(
                generation: box.generation, running: true, logStart: box.acknowledged,
                logEnd: box.log.last?.end ?? 0, inputAccepted: UInt64(box.input.count))
            return (
                start,
                kept.map { LogRecord(event: $0.record, generation: $0.generation, end: $0.end) }
            )
        }
        guard let found else { throw SandboxError(.disconnected, stage: "connect", errno: 2) }
        if !found.1.isEmpty { onEvent(.records(found.1)) }
        return (TestLink(host: self, session: session), found.0)
    }

    func find(session: String) async throws(SandboxError) -> ProcessIdentity? {
        state.withLock { $0.boxes[session]?.process }
    }

    func kill(_ process: ProcessIdentity) async throws(SandboxError) {
        state.withLock { state in
            state.killed.append(process)
            for (session, box) in state.boxes where box.process == process {
                state.boxes[session] = nil
            }
        }
    }

    func destroy(session: String) async throws(SandboxError) {
        state.withLock { state in
            state.trees.remove(session)
            state.destroyed.append(session)
        }
    }

    func usage(session: String) async throws(SandboxError) -> SandboxUsage {
        state.withLock { $0.usage }
    }

    func measure(session: String) async throws(SandboxError) -> UInt64 {
        state.withLock { $0.bytes }
    }
    func wasStopped(_ process: ProcessIdentity) -> Bool { state.withLock { $0.wasStopped } }

    func list() async throws(SandboxError) -> [String] { state.withLock { Array($0.trees) } }

    /// The agent of `session` does something.
    func log(_ session: String, _ events: LogRecord.Event...) {
        let delivery = state.withLock { state -> ((@Sendable (InitEvent) -> Void)?, [LogRecord]) in
            guard var box = state.boxes[session] else { return (nil, []) }
            var records: [LogRecord] = []
            for event in events {
                let end = (box.log.last?.end ?? 0) + 20
                box.log.append((event, box.generation, end))
                records.append(LogRecord(event: event, generation: box.generation, end: end))
            }
            state.boxes[session] = box
            return (box.deliver, records)
        }
        delivery.0?(.records(delivery.1))
    }

    /// The supervisor's connection dies with it.
    func forgetSupervisor() {
        state.withLock { state in
            for session in state.boxes.keys { state.boxes[session]?.deliver = nil }
        }
    }

    func changed(_ session: String, _ change: (inout Box) -> Void) {
        let agent = state.withLock { state -> (@Sendable (TestHost, String) -> Void)? in
            guard var box = state.boxes[session] else { return nil }
            change(&box)
            state.boxes[session] = box
            return state.agent
        }
        agent?(self, session)
    }
}

struct TestLink: SandboxLink {
    let host: TestHost
    let session: String

    func start(
        generation: UInt64, arguments: [String], environment: [String: String]
    ) async throws(SandboxError) {
        let isNew = host.state.withLock { $0.boxes[session]?.generation != generation }
        guard isNew else { return }
        host.state.withLock { $0.boxes[session]?.generation = generation }
        host.log(session, .started(pid: 2))
        host.changed(session) { _ in }
    }

    func input(_ bytes: ArraySlice<UInt8>, offset: UInt64) throws(SandboxError) {
        host.changed(session) { box in
            if offset == UInt64(box.input.count) { box.input += bytes }
        }
        let taken = host.state.withLock { state in
            (state.boxes[session]?.deliver, UInt64(state.boxes[session]?.input.count ?? 0))
        }
        taken.0?(.inputAccepted(taken.1))
    }

    func admit(_ total: UInt64) throws(SandboxError) {}
    func answer(_ token: UInt64, _ datagram: [UInt8]) throws(SandboxError) {}
    func closeInput(offset: UInt64) throws(SandboxError) {}

    func acknowledge(_ offset: UInt64) throws(SandboxError) {
        host.state.withLock { $0.boxes[session]?.acknowledged = offset }
    }

    func signal(
        _ number: Int32, generation: UInt64, scope: InitLink.SignalScope
    ) async throws(SandboxError) {
        host.changed(session) { $0.signals.append(number) }
    }

    func shutdown() throws(SandboxError) {}
    func readFiles(_ path: String) async throws(SandboxError) -> FileTransfer {
        throw SandboxError(.refused, stage: "files")
    }
    func writeFiles(_ path: String) async throws(SandboxError) -> FileTransfer {
        throw SandboxError(.refused, stage: "files")
    }
    func outcome(of transfer: FileTransfer) async throws(SandboxError) {}
    func close() {}
}

/// A supervisor over a real store in a directory of its own, with test clock and test sandboxes.
struct World {
    let directory: URL
    let clock = TestClock()
    let host = TestHost()
    let store: SQLiteStore
    let alice = Caller(user: WireUser(uid: 1000, name: "alice"), isOperator: false)
    let bob = Caller(user: WireUser(uid: 1001, name: "bob"), isOperator: false)

    /// Nothing leaves test sandboxes.
    static let gateway = EgressGateway(
        .init(
            connectionsPerSession: 1, connections: 1, opened: .init(), proxyPort: 1,
            logDirectory: ""))

    static func with(
        _ agent: String = "command: [x]", _ body: (World, Supervisor) async throws -> Void
    ) async throws {
        let directory = FileManager.default.temporaryDirectory
            .appending(path: "superserve-sessions-\(UUID().uuidString)")
        let agents = directory.appending(path: "agents")
        try FileManager.default.createDirectory(at: agents, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        try "name: bot\n\(agent)\n".write(
            to: agents.appending(path: "bot.yaml"), atomically: true, encoding: .utf8)
        let store = try SQLiteStore(path: directory.appending(path: "db.sqlite").path)
        defer { store.close() }
        let world = World(directory: directory, store: store)
        let supervisor = world.supervisor()
        try await body(world, supervisor)
        await supervisor.leave()
    }

    /// Alice's message, and every event of its turn.
    func turn(
        _ supervisor: Supervisor, _ id: SessionID, _ text: String = "hi"
    ) async throws -> [WireEvent] {
        let (_, turn) = try await supervisor.send(id.description, to: text, caller: alice)
        return try await events(supervisor, id, turn: turn.number, after: turn.firstSeq - 1)
    }

    func supervisor(store other: (any SessionStore)? = nil) -> Supervisor {
        var config = SupervisorConfig()
        config.maximumMessage = 4096
        let ceilings = AgentCeilings(mounts: [], roots: [], forbidden: [directory.path])
        var limits = SessionLimits(config, ceilings: ceilings)
        limits.storageRetry = .milliseconds(5)
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let catalog = AgentCatalog(
            store: other ?? store, clock: clock, shipped: nil,
            operatorDirectory: directory.appending(path: "agents").path,
            copies: directory.appending(path: "copies").path, ceilings: ceilings,
            maximumSource: 1 << 20, logger: logger)
        return Supervisor(
            store: other ?? store, host: host, clock: clock, limits: limits,
            gateway: Self.gateway, secrets: secrets, catalog: catalog, logger: logger)
    }

    /// With a master key in the world's directory.
    var secrets: SecretKeeper {
        guard
            let key = try? MasterKey(path: directory.appending(path: "key").path, given: nil)
        else { fatalError("no master key") }
        return SecretKeeper(store: store, vault: Vault(key))
    }

    /// An agent that greets and answers each message with `answer`.
    func playNative(_ answer: String) {
        host.state.withLock { state in
            state.agent = { host, session in
                let (isNew, messages) = host.state.withLock { state -> (Bool, Int) in
                    guard let box = state.boxes[session] else { return (false, 0) }
                    return (
                        !box.log.contains {
                            $0.record == .stdout(Array("{\"type\":\"ready\"}\n".utf8))
                        },
                        box.input.count { $0 == 0x0a }
                    )
                }
                if isNew { host.log(session, .stdout(Array("{\"type\":\"ready\"}\n".utf8))) }
                let answered = host.state.withLock { state in
                    state.boxes[session]?.log.count { $0.record == .stdout(done) } ?? 0
                }
                if messages > answered {
                    host.log(
                        session,
                        .stdout(Array("{\"type\":\"text\",\"content\":\"\(answer)\"}\n".utf8)),
                        .stdout(done))
                }
            }
        }
    }

    /// Events of the session up to the terminal event of `turn`.
    func events(_ supervisor: Supervisor, _ id: SessionID, turn: Int, after: Int64 = 0) async throws
        -> [WireEvent]
    {
        var events: [WireEvent] = []
        for try await event in supervisor.events(id, after: after, turn: turn, follow: true)
        where event.type != .heartbeat {
            events.append(event)
        }
        return events
    }
}

let done = Array("{\"type\":\"turn_done\"}\n".utf8)

/// Waits until `condition` holds; false after 10 s.
func eventually(_ condition: () async throws -> Bool) async throws -> Bool {
    for _ in 0..<1000 {
        if try await condition() { return true }
        try await Task.sleep(for: .milliseconds(10))
    }
    return false
}
