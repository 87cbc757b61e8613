internal import NIOCore
internal import NIOPosix
internal import Settings

/// Opens connections to the outside, to addresses that were checked one by one. What is dialled is
/// the address that was checked: nothing is resolved a second time.
struct Dialer: Sendable {
    /// For one address, and how many are tried.
    private static let connectTimeout = TimeAmount.seconds(10)
    private static let attempts = 4

    let resolver: NameResolver
    let hostAddresses: HostAddresses
    let opened: PrivateDestinations

    /// A connection that nothing is read from yet: its `FlowGate` is held.
    struct Dialled: Sendable {
        var channel: any Channel
        var address: IPAddress
    }

    /// Connects to the first address of `destination` that may be dialled and answers. The channel
    /// runs on `eventLoop`.
    ///
    /// - Parameter onlyOpened: to addresses that the operator has opened.
    func dial(
        _ destination: Destination, policy: NetworkPolicy, session: SessionEgress,
        onlyOpened: Bool = false, on eventLoop: any EventLoop
    ) async throws(EgressRefusal) -> Dialled {
        var addresses = try await addresses(
            of: destination, policy: policy, session: session.id)
        if onlyOpened {
            addresses = addresses.filter { opened.contains($0, port: destination.port) }
            guard !addresses.isEmpty else {
                throw EgressRefusal(
                    .policy, "\(destination): without TLS only 'private_destinations' get a key")
            }
        }
        var last = EgressRefusal(.unreachable, "\(destination): no address")
        for address in addresses.prefix(Self.attempts) {
            do {
                let channel = try await connect(
                    address, destination.port, for: session, on: eventLoop)
                return Dialled(channel: channel, address: address)
            } catch let error as ChannelError where error.isTimeout {
                last = EgressRefusal(.timeout, "\(destination): \(address) does not answer")
            } catch {
                last = EgressRefusal(.unreachable, "\(destination): \(address): \(error)")
            }
        }
        throw last
    }

    /// The addresses that may be dialled.
    private func addresses(
        of destination: Destination, policy: NetworkPolicy, session: String
    ) async throws(EgressRefusal) -> [IPAddress] {
        let found: [IPAddress]
        switch destination.host {
        case .address(let address): found = [address]
        case .name(let name): found = try await resolver.resolve(name, for: session)
        }
        var allowed: [IPAddress] = []
        var refusal: String?
        for address in found.map(\.withoutMapping) {
            let verdict = policy.mayDial(address, named: destination, opened: opened)
            if !verdict.isAllowed {
                refusal = refusal ?? "\(address) is refused: \(verdict.reason)"
            } else if hostAddresses.contain(address),
                !opened.contains(address, port: destination.port)
            {
                refusal = refusal ?? "\(address) is an address of this host"
            } else {
                allowed.append(address)
            }
        }
        guard !allowed.isEmpty else {
            throw EgressRefusal(.policy, "\(destination): \(refusal ?? "it has no address")")
        }
        return allowed
    }

    private func connect(
        _ address: IPAddress, _ port: UInt16, for session: SessionEgress,
        on eventLoop: any EventLoop
    ) async throws -> any Channel {
        let target = try SocketAddress(
            packedIPAddress: ByteBuffer(bytes: address.octets), port: Int(port))
        return try await ClientBootstrap(group: eventLoop)
            .connectTimeout(Self.connectTimeout)
            .channelOption(.allowRemoteHalfClosure, value: true)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.socketOption(.so_keepalive), value: 1)
            .channelOption(.writeBufferWaterMark, value: EgressGateway.waterMark)
            .channelOption(.maxMessagesPerRead, value: EgressGateway.readsInARow)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let gate = FlowGate(isHeld: true, session.turns(on: channel.eventLoop))
                    try channel.pipeline.syncOperations.addHandler(gate)
                    try channel.pipeline.syncOperations.addHandler(SocketMeter(session))
                }
            }
            .connect(to: target).get()
    }
}

extension ChannelError {
    fileprivate var isTimeout: Bool {
        if case .connectTimeout = self { true } else { false }
    }
}
