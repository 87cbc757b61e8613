internal import API
internal import Foundation
internal import Glibc
internal import NIOCore
public import Settings
internal import Synchronization

/// What leaves one session: its policy, its open connections, its names, its log.
///
/// Safe to use from any thread; the calls for connections and queries never block.
public final class SessionEgress: Sendable {
    /// The way back to the session's init.
    public struct Link: Sendable {
        /// Lets init hand over this many connections in all since it was connected to.
        public var admit: @Sendable (_ total: UInt64) -> Void
        /// Answers a query; with no bytes, it is dropped.
        public var answer: @Sendable (_ token: UInt64, _ datagram: [UInt8]) -> Void

        public init(
            admit: @escaping @Sendable (_ total: UInt64) -> Void,
            answer: @escaping @Sendable (_ token: UInt64, _ datagram: [UInt8]) -> Void
        ) {
            self.admit = admit
            self.answer = answer
        }
    }

    private struct State {
        var policy: NetworkPolicy
        var denied: [NetworkRule] = []
        var secrets: SessionSecrets
        var names: SyntheticNames
        var channels: [ObjectIdentifier: any Channel] = [:]
        /// Those of them that lead to the outside.
        var upstreams: Set<ObjectIdentifier> = []
        var denials = DenialLedger()
        /// By event loop.
        var turns: [ObjectIdentifier: NIOLoopBound<ReadTurns>] = [:]
        /// Connections that are open or being taken over.
        var open = 0
        /// Where they are served; chosen anew when there are none.
        var loop = 0
        var link: Link?
        var admitted: UInt64 = 0
        /// Queries that came before `connected`.
        var early: [(token: UInt64, query: [UInt8])] = []
        /// The newest name that was asked for and refused.
        var refusedName: HostName?
        var isClosed = false
        /// The session's history is deleted: nothing more is recorded.
        var isForgotten = false
    }

    let id: String
    let meter: NetworkMeter
    private let gateway: EgressGateway
    private let notify: @Sendable (EgressNotice) -> Void
    private let state: Mutex<State>

    init(
        _ id: String, _ policy: NetworkPolicy, _ secrets: SessionSecrets, _ meter: NetworkMeter,
        _ gateway: EgressGateway, notify: @escaping @Sendable (EgressNotice) -> Void
    ) {
        self.id = id
        self.meter = meter
        self.gateway = gateway
        self.notify = notify
        // Names that the policy has in full keep their addresses over restarts.
        let names = SyntheticNames(
            pinned: policy.exactNames + secrets.interceptedNames, start: .random(in: 0 ... .max))
        state = Mutex(State(policy: policy, secrets: secrets, names: names))
    }

    /// What holds for every connection and request from here on; those that are open stay.
    public var policy: NetworkPolicy {
        get { state.withLock { $0.policy } }
        set { state.withLock { $0.policy = newValue } }
    }

    /// What requests with a key may not reach either, beside what the policy denies.
    public var denied: [NetworkRule] {
        get { state.withLock { $0.denied } }
        set { state.withLock { $0.denied = newValue } }
    }

    /// The keys that requests may be given.
    public var secrets: SessionSecrets {
        get { state.withLock { $0.secrets } }
        set { state.withLock { $0.secrets = newValue } }
    }

    var tls: (any EgressTLS)? { gateway.options.tls }
    var proxyPort: UInt16 { gateway.options.proxyPort }

    // MARK: - The session's init

    /// The control socket of init is connected: connections may come.
    public func connected(_ link: Link) {
        let limit = gateway.options.connectionsPerSession
        let (admitted, early) = state.withLock { state in
            state.link = link
            state.admitted = UInt64(max(0, limit - state.open))
            defer { state.early = [] }
            return (state.admitted, state.early)
        }
        link.admit(admitted)
        for (token, query) in early { link.answer(token, answer(query)) }
    }

    /// The control socket is gone; open connections go on.
    public func disconnected() {
        state.withLock { state in
            state.link = nil
            state.early = []
        }
    }

    /// A connection of the session, as a descriptor that is owned from here on.
    public func take(connection descriptor: Int32) {
        let loop: Int? = state.withLock { state in
            guard !state.isClosed else { return nil }
            if state.open == 0 { state.loop = gateway.quietLoop() }
            state.open += 1
            return state.loop
        }
        guard let loop else {
            Glibc.close(descriptor)
            return
        }
        gateway.adopt(descriptor, for: self, on: loop) { [weak self] in self?.ended() }
    }

    private func ended() {
        let (link, admitted) = state.withLock { state in
            state.open -= 1
            state.admitted += 1
            return (state.link, state.admitted)
        }
        link?.admit(admitted)
    }

    /// A name query as a datagram.
    public func take(query: [UInt8], token: UInt64) {
        let link = state.withLock { state in
            if state.link == nil { state.early.append((token, query)) }
            return state.link
        }
        link?.answer(token, answer(query))
    }

    /// Cuts every connection at once and takes no more.
    public func close() {
        let channels = state.withLock { state in
            state.isClosed = true
            state.link = nil
            defer {
                state.channels = [:]
                state.upstreams = []
            }
            return Array(state.channels.values)
        }
        for channel in channels { channel.close(promise: nil) }
    }

    /// Records nothing from here on, not even the end of what is still open.
    public func forget() { state.withLock { $0.isForgotten = true } }

    // MARK: - For the handlers

    /// False once the session is closed.
    func add(_ channel: any Channel, isUpstream: Bool = false) -> Bool {
        let key = ObjectIdentifier(channel)
        let isOpen = state.withLock { state in
            if !state.isClosed {
                state.channels[key] = channel
                if isUpstream { state.upstreams.insert(key) }
            }
            return !state.isClosed
        }
        guard isOpen else { return false }
        channel.closeFuture.whenComplete { [weak self] _ in
            self?.state.withLock { state in
                state.channels.removeValue(forKey: key)
                state.upstreams.remove(key)
            }
        }
        return true
    }

    /// What the client meant by an address of the session; nil for one that stands for nothing.
    func host(of address: IPAddress) -> Destination.Host? {
        guard SyntheticNames.isSynthetic(address) else { return .address(address) }
        return state.withLock { $0.names.name(for: address) }.map(Destination.Host.name)
    }

    /// Connects to a destination if the policy allows it. What becomes of it is in `record`, but
    /// for its end.
    private func open(
        _ hop: Hop, _ record: OpenRecord, on eventLoop: any EventLoop
    ) -> EventLoopFuture<any Channel> {
        let policy: NetworkPolicy
        let asked: NetworkVerdict
        do throws(EgressRefusal) {
            policy = try self.policy(for: hop)
            asked = policy.mayAsk(hop.destination)
            guard asked.isAllowed else {
                throw EgressRefusal(
                    .policy, "\(hop.destination) is not allowed: \(asked.reason)")
            }
        } catch {
            return eventLoop.makeFailedFuture(error)
        }
        if let refusal = refusal(meter.countConnection()) {
            return eventLoop.makeFailedFuture(refusal)
        }
        let dialled = eventLoop.makeFutureWithTask { [self] in
            try await gateway.dial(hop, policy: policy, session: self, on: eventLoop)
        }
        return dialled.assumeIsolated().flatMapThrowing { [self] dialled in
            record.allowed(by: asked.reason, address: dialled.address)
            // So that the end of the session cuts it too.
            guard add(dialled.channel, isUpstream: true) else {
                dialled.channel.close(promise: nil)
                throw EgressRefusal(.unreachable, "the session has ended")
            }
            return dialled.channel
        }.nonisolated()
    }

    /// Connects for a client, of which nothing is read until a tunnel or an answer begins. One that
    /// leaves meanwhile gets nothing: `then` is not called.
    func connect(
        _ client: any Channel, to hop: Hop, _ record: OpenRecord,
        then: @escaping (Result<any Channel, EgressRefusal>) -> Void
    ) {
        client.holdReading()
        open(hop, record, on: client.eventLoop).assumeIsolated().whenComplete { result in
            guard client.isActive else {
                if case .success(let upstream) = result { upstream.close(promise: nil) }
                return record.end(EgressRefusal(.unreachable, "the client left"))
            }
            then(result.mapError { EgressRefusal($0) })
        }
    }

    /// The answer to a name query: an address that stands for the name where any of its ports may
    /// be asked for, a refusal at once where none may; empty where the datagram is no query.
    func answer(_ query: [UInt8]) -> [UInt8] {
        switch DNSMessage.read(query) {
        case .answer(let datagram): datagram
        case .ignored: []
        case .query(let query):
            query.answer { name in
                let verdict = policy.mayResolve(name)
                guard verdict.isAllowed || secrets.interceptedNames.contains(name) else {
                    logRefusal(of: name, verdict.reason)
                    return nil
                }
                return state.withLock { $0.names.address(for: name) }
            }
        }
    }

    /// Programs ask again and again: only another name than the last one is worth a record.
    private func logRefusal(of name: HostName, _ reason: String) {
        denied(name.text, "\(name.text) is not allowed: \(reason)")
        let isNew = state.withLock { state in
            defer { state.refusedName = name }
            return state.refusedName != name
        }
        guard isNew else { return }
        var record = WireNetworkRecord(.name, host: name.text, port: nil, time: Date())
        record.reason = reason
        log(record)
    }

    /// Counts a denial; the first of a destination is said, within bounds.
    func denied(_ destination: String, _ reason: String) {
        meter.countDenial()
        switch state.withLock({ $0.denials.denied(destination, at: .now) }) {
        case .nothing: break
        case .first: say(.denied(destination: destination, reason: reason))
        case .last:
            say(.denied(destination: destination, reason: reason))
            say(.manyDenied)
        }
    }

    /// Destinations that were denied in the last hour, and how often others were.
    public var denials: (known: [(destination: String, count: Int)], others: Int) {
        state.withLock { ($0.denials.known, $0.denials.others) }
    }

    /// The session's share in the reading of an event loop; on that loop.
    func turns(on eventLoop: any EventLoop) -> ReadTurns {
        state.withLock { state in
            let key = ObjectIdentifier(eventLoop)
            if let turns = state.turns[key] { return turns.value }
            let turns = ReadTurns(on: eventLoop)
            state.turns[key] = NIOLoopBound(turns, eventLoop: eventLoop)
            return turns
        }
    }

    func say(_ notice: EgressNotice) { notify(notice) }

    /// Closes what leads to the outside, when bytes are used up.
    func cutUpstreams(but one: any Channel) {
        let channels = state.withLock { state in
            state.channels.filter {
                state.upstreams.contains($0.key) && $0.key != ObjectIdentifier(one)
            }
        }
        // Not at once: one of them may be about to be written to.
        for channel in channels.values {
            channel.eventLoop.execute { channel.close(promise: nil) }
        }
    }

    func log(_ record: WireNetworkRecord) {
        state.withLock { state in
            if !state.isForgotten { gateway.log.append(record, session: id) }
        }
    }
}
