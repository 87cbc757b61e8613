internal import API
internal import Glibc
internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import Sessions
internal import Synchronization

/// A request with the user at the other end of its connection.
struct PeerContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel
    /// Set by `PeerMiddleware` before any route runs.
    var caller = Caller(user: WireUser(uid: UInt32.max, name: "unknown"), isOperator: false)

    init(source: Source) {
        coreContext = CoreRequestContextStorage(source: source)
        channel = source.channel
    }

    /// Files travel in bodies of their own; everything else is JSON.
    var maxUploadSize: Int { 8 << 20 }
}

/// Asks the kernel who is at the other end (`SO_PEERCRED`, unix(7)) and turns errors into answers.
struct PeerMiddleware: RouterMiddleware {
    let operators: Operators

    @concurrent func handle(
        _ request: Request, context: PeerContext,
        next: @concurrent (Request, PeerContext) async throws -> Response
    ) async throws -> Response {
        var context = context
        do {
            context.caller = try await operators.caller(on: context.channel)
            return try await next(request, context)
        } catch let error as WireError {
            return try Answer.failure(error)
        } catch let error as HTTPError where error.status.code < 500 {
            let code: WireErrorCode = error.status == .contentTooLarge ? .tooLarge : .badRequest
            return try Answer.failure(
                WireError(code: code, message: error.body ?? error.status.reasonPhrase),
                status: error.status)
        } catch {
            context.logger.error("request failed: \(error)")
            return try Answer.failure(
                WireError(code: .internal, message: "The supervisor failed; its log has the cause"))
        }
    }
}

/// Who counts as an operator: root, the supervisor's own user, members of a group.
public final class Operators: Sendable {
    /// How long names and groups are believed; the system's user database may be slow.
    private static let lifetime = Duration.seconds(10)

    private struct Known {
        var caller: Caller
        var gid: UInt32
        var since: ContinuousClock.Instant
    }

    private let ownUID: UInt32
    private let groupName: String?
    private let known = Mutex<[UInt32: Known]>([:])

    /// `ownUID`: the user the supervisor was started by. `group`: name of the operators' group.
    public init(ownUID: UInt32, group: String?) {
        self.ownUID = ownUID
        groupName = group
    }

    func caller(on channel: any Channel) async throws -> Caller {
        guard let provider = channel as? any SocketOptionProvider else {
            throw WireError(code: .forbidden, message: "The connection has no peer credentials")
        }
        let (_, uid, gid): (Int32, UInt32, UInt32) = try await provider.unsafeGetSocketOption(
            level: .socket, name: .init(rawValue: SO_PEERCRED)
        ).get()
        if let found = known.withLock({ $0[uid] }), found.gid == gid,
            found.since.duration(to: .now) < Self.lifetime
        {
            return found.caller
        }
        // Whole directories may stand behind these questions (nsswitch.conf(5)).
        let caller = try await NIOThreadPool.singleton.runIfActive { [self] in
            let name = Self.name(uid)
            let isOperator = uid == 0 || uid == ownUID || isMember(name, gid)
            return Caller(user: WireUser(uid: uid, name: name), isOperator: isOperator)
        }
        known.withLock { known in
            if known.count >= 4096 { known = [:] }
            known[uid] = Known(caller: caller, gid: gid, since: .now)
        }
        return caller
    }

    private static func name(_ uid: UInt32) -> String {
        var entry = passwd()
        var result: UnsafeMutablePointer<passwd>?
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 16384) { buffer in
            guard let base = buffer.baseAddress,
                getpwuid_r(uid, &entry, base, buffer.count, &result) == 0, result != nil
            else { return String(uid) }
            return String(cString: entry.pw_name)
        }
    }

    private func isMember(_ user: String, _ gid: UInt32) -> Bool {
        guard let groupName else { return false }
        var entry = group()
        var result: UnsafeMutablePointer<group>?
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 65536) { buffer in
            guard let base = buffer.baseAddress,
                getgrnam_r(groupName, &entry, base, buffer.count, &result) == 0, result != nil
            else { return false }
            if entry.gr_gid == gid { return true }
            var member = entry.gr_mem
            while let name = member?.pointee {
                if String(cString: name) == user { return true }
                member = member?.advanced(by: 1)
            }
            return false
        }
    }
}
