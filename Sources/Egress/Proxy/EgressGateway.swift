internal import Glibc
internal import NIOCore
internal import NIOPosix
public import Settings
internal import Synchronization

/// What the ways out of all sessions share: threads, the resolver, bounds.
public final class EgressGateway: Sendable {
    /// Bounds and the operator's word.
    public struct Options: Sendable {
        /// Connections of one session that may be open at once.
        public var connectionsPerSession: Int
        /// Connections of all sessions together; each takes two descriptors.
        public var connections: Int
        /// Addresses beyond the public internet that the operator has opened.
        public var opened: PrivateDestinations
        /// Where sessions' inits listen for proxy clients.
        public var proxyPort: UInt16
        /// Directory of the network logs.
        public var logDirectory: String
        /// For requests that get a key; without it there are none.
        public var tls: (any EgressTLS)?

        public init(
            connectionsPerSession: Int, connections: Int, opened: PrivateDestinations,
            proxyPort: UInt16, logDirectory: String, tls: (any EgressTLS)? = nil
        ) {
            self.connectionsPerSession = connectionsPerSession
            self.connections = connections
            self.opened = opened
            self.proxyPort = proxyPort
            self.logDirectory = logDirectory
            self.tls = tls
        }
    }

    /// Bytes that one direction of a tunnel may hold before the other side is not read any more.
    static let waterMark = ChannelOptions.Types.WriteBufferWaterMark(low: 64 << 10, high: 256 << 10)

    /// Calls of recv(2) for a connection before others have their turn; each gives 64 KiB at most.
    static let readsInARow: UInt = 4

    let options: Options
    let dialer: Dialer
    /// What sessions tried, and what came of it.
    public let log: NetworkLog
    /// Threads that carry data. The kernel shares the processors among them, so more than there are
    /// processors cost little, and sessions that share none do not wait for each other.
    private let group: MultiThreadedEventLoopGroup
    private let loops: [any EventLoop]
    private let load: Mutex<Load>

    /// Connections that are open or being taken over.
    private struct Load {
        var total = 0
        /// On each event loop.
        var onLoop: [Int]
    }

    public init(_ options: Options) {
        self.options = options
        group = MultiThreadedEventLoopGroup(numberOfThreads: max(8, System.coreCount))
        loops = Array(group.makeIterator())
        load = Mutex(Load(onLoop: [Int](repeating: 0, count: loops.count)))
        log = NetworkLog(directory: options.logDirectory)
        dialer = Dialer(
            resolver: NameResolver(), hostAddresses: HostAddresses(), opened: options.opened)
    }

    /// The way out of one session. `notify` is called from any thread, and must not wait.
    public func open(
        session: String, policy: NetworkPolicy, secrets: SessionSecrets = .none,
        meter: NetworkMeter, notify: @escaping @Sendable (EgressNotice) -> Void
    ) -> SessionEgress {
        SessionEgress(session, policy, secrets, meter, self, notify: notify)
    }

    /// Connects, and agrees on TLS where that is asked for.
    func dial(
        _ hop: Hop, policy: NetworkPolicy, session: SessionEgress, on eventLoop: any EventLoop
    ) async throws -> Dialer.Dialled {
        // A key in clear goes nowhere but where the operator has said so.
        let inClear = hop.secret != nil && !hop.isTLS
        let dialled = try await dialer.dial(
            hop.destination, policy: policy, session: session, onlyOpened: inClear, on: eventLoop)
        guard hop.isTLS else { return dialled }
        do {
            guard let tls = options.tls else {
                throw EgressRefusal(.unsupported, "this supervisor has no TLS")
            }
            try tls.prepare()
            try await SessionEgress.secure(
                dialled.channel, to: hop.destination.host, with: tls
            ).get()
            return dialled
        } catch {
            dialled.channel.close(promise: nil)
            throw error
        }
    }

    /// The event loop with the fewest connections, by its number: for a session that has none open.
    /// All of its connections go there, so that a busy session keeps one loop busy, not all.
    func quietLoop() -> Int {
        load.withLock { load in
            loops.indices.min { load.onLoop[$0] < load.onLoop[$1] } ?? 0
        }
    }

    /// Takes over a connected socket of a session; `ended` is called once, when it is closed.
    func adopt(
        _ descriptor: Int32, for session: SessionEgress, on loop: Int,
        ended: @escaping @Sendable () -> Void
    ) {
        let isWithin = load.withLock { load in
            guard load.total < options.connections else { return false }
            load.total += 1
            load.onLoop[loop] += 1
            return true
        }
        let done: @Sendable () -> Void = { [self] in
            if isWithin {
                load.withLock { load in
                    load.total -= 1
                    load.onLoop[loop] -= 1
                }
            }
            ended()
        }
        guard isWithin, let (address, port) = Self.localAddress(descriptor) else {
            close(descriptor)
            return done()
        }
        let entry = Entry(address: address, port: port, proxyPort: options.proxyPort)
        ClientBootstrap(group: loops[loop])
            .channelOption(.allowRemoteHalfClosure, value: true)
            .channelOption(.writeBufferWaterMark, value: Self.waterMark)
            .channelOption(.maxMessagesPerRead, value: Self.readsInARow)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard session.add(channel) else { throw ChannelError.ioOnClosedChannel }
                    try entry.install(in: channel, session)
                }
            }
            .withConnectedSocket(descriptor)
            .whenComplete { result in
                switch result {
                case .success(let channel): channel.closeFuture.whenComplete { _ in done() }
                case .failure: done()
                }
            }
    }

    /// The end that the client reached (getsockname(2)).
    private static func localAddress(_ descriptor: Int32) -> (IPAddress, UInt16)? {
        let name = SocketName { getsockname(descriptor, $0, $1) }
        return name.map { ($0.address, $0.port) }
    }
}
