internal import Glibc
internal import NIOPosix
internal import Settings

/// Looks names up with the host's own resolver (getaddrinfo(3)). Those of a session who ask for one
/// name at the same time share one lookup, and no session's slow names keep the others' waiting.
actor NameResolver {
    /// Lookups of one session that may run at once; more wait.
    private static let sessionShare = 4
    /// How long a client waits. The lookup goes on: a thread in getaddrinfo cannot be interrupted.
    private static let patience = Duration.seconds(15)
    /// Addresses of a name that are looked at.
    private static let maximumAddresses = 16

    typealias Outcome = Result<[IPAddress], EgressRefusal>
    private typealias Waiter = CheckedContinuation<Outcome, Never>

    private struct Lookup {
        var waiters: [Int: Waiter] = [:]
        var isRunning = false
    }

    private let threads: NIOThreadPool
    private var lookups: [String: [HostName: Lookup]] = [:]
    private var lastWaiter = 0

    /// - Parameter count: how many lookups of all sessions run at once.
    init(threads count: Int = 16) {
        threads = NIOThreadPool(numberOfThreads: count)
    }

    /// Every address of `name`, in the order of the host's resolver.
    func resolve(_ name: HostName, for session: String) async throws(EgressRefusal) -> [IPAddress] {
        lastWaiter += 1
        let number = lastWaiter
        let expiry = Task {
            try await Task.sleep(for: Self.patience)
            expire(number, name, session)
        }
        defer { expiry.cancel() }
        let outcome: Outcome = await withCheckedContinuation { waiter in
            lookups[session, default: [:]][name, default: Lookup()].waiters[number] = waiter
            startNext(session)
        }
        return try outcome.get()
    }

    private func startNext(_ session: String) {
        guard let names = lookups[session] else { return }
        var running = names.values.count { $0.isRunning }
        for (name, lookup) in names where !lookup.isRunning && running < Self.sessionShare {
            running += 1
            lookups[session]?[name]?.isRunning = true
            threads.start()  // with the first lookup: most supervisors never need them
            Task { [threads] in
                let outcome = try? await threads.runIfActive { Self.addresses(of: "\(name)") }
                finish(
                    name, session, outcome ?? .failure(.init(.busy, "the supervisor is leaving")))
            }
        }
    }

    private func finish(_ name: HostName, _ session: String, _ outcome: Outcome) {
        let lookup = lookups[session]?.removeValue(forKey: name)
        if lookups[session]?.isEmpty == true { lookups[session] = nil }
        for waiter in (lookup?.waiters ?? [:]).values { waiter.resume(returning: outcome) }
        startNext(session)
    }

    private func expire(_ number: Int, _ name: HostName, _ session: String) {
        guard let waiter = lookups[session]?[name]?.waiters.removeValue(forKey: number) else {
            return
        }
        waiter.resume(
            returning: .failure(EgressRefusal(.timeout, "\(name) was not looked up in time")))
        // One that nobody waits for and that has not begun need not begin.
        if let lookup = lookups[session]?[name], !lookup.isRunning, lookup.waiters.isEmpty {
            lookups[session]?[name] = nil
        }
    }

    private static func addresses(of name: String) -> Outcome {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let result = getaddrinfo(name, nil, &hints, &list)
        guard result == 0 else {
            let reason = String(cString: gai_strerror(result))
            return .failure(EgressRefusal(.noAddress, "\(name): \(reason)"))
        }
        defer { freeaddrinfo(list) }
        var found: [IPAddress] = []
        var entry = list
        while let current = entry, found.count < maximumAddresses {
            let bytes = UnsafeRawBufferPointer(
                start: current.pointee.ai_addr, count: Int(current.pointee.ai_addrlen))
            if let address = SocketName(bytes)?.address, !found.contains(address) {
                found.append(address)
            }
            entry = current.pointee.ai_next
        }
        return .success(found)
    }
}
