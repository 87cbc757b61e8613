internal import API
internal import Foundation
internal import Logging
internal import Sessions
internal import Settings
internal import UnixSignals

/// Reads configuration and agents again while the service runs. What is wrong is refused with its
/// line, and what was there before stays.
struct Reload: Sendable {
    let file: ConfigFile
    /// What the service was started with, and so what counts until the next start for the settings
    /// that cannot change meanwhile.
    let started: SupervisorConfig
    /// Directories that no agent may mount.
    let forbidden: [String]
    let supervisor: Supervisor
    let manager: ServiceManager
    let logger: Logger

    /// Settings that are looked at once, when the service starts.
    private static let fixed: [(name: String, isSame: @Sendable (Pair) -> Bool)] = [
        ("max_clients", { $0.same(\.maximumClients) }),
        ("max_connections", { $0.same(\.maximumConnections) }),
        ("max_upload", { $0.same(\.maximumUpload) }),
        ("max_deploy", { $0.same(\.maximumDeploy) }),
        ("socket_group", { $0.same(\.socketGroup) }),
        ("operator_group", { $0.same(\.operatorGroup) }),
        ("private_destinations", { $0.same(\.privateDestinations) }),
        ("gateway_ca", { $0.same(\.gatewayCA) }),
        ("service_uid", { $0.same(\.serviceUID) }), ("service_gid", { $0.same(\.serviceGID) }),
        ("subordinate_first", { $0.same(\.subordinateFirst) }),
        ("subordinate_count", { $0.same(\.subordinateCount) }),
        ("log_level", { $0.same(\.logLevel) }),
    ]

    struct Pair {
        var old: SupervisorConfig
        var new: SupervisorConfig

        func same<Value: Equatable>(_ key: KeyPath<SupervisorConfig, Value>) -> Bool {
            old[keyPath: key] == new[keyPath: key]
        }
    }

    /// Names of the settings that differ and count from the next start only.
    static func waiting(_ pair: Pair) -> [String] {
        fixed.filter { !$0.isSame(pair) }.map(\.name)
    }

    /// Reads everything again and tells the service manager how it went.
    func run() async throws(WireError) -> WireReload {
        manager.reloading()
        do throws(WireError) {
            let answer = try await readAgain()
            let waiting = answer.waiting.joined(separator: ", ")
            let note = waiting.isEmpty ? "" : "; from the next start: \(waiting)"
            logger.notice("reloaded, \(answer.agents) agents\(note)")
            manager.ready("Serving\(note)")
            return answer
        } catch {
            logger.error("reload: \(error.message)", metadata: ["cause": "\(error.code.rawValue)"])
            manager.ready("Serving; reload refused: \(error.message)")
            throw error
        }
    }

    private func readAgain() async throws(WireError) -> WireReload {
        let config: SupervisorConfig
        do {
            config = try file.read()
        } catch {
            throw WireError(
                code: .configurationInvalid, message: "\(error); the old configuration stays")
        }
        await supervisor.apply(config, ceilings: AgentCeilings(config, forbidden: forbidden))
        let (count, problems) = await supervisor.catalog.check()
        guard problems.isEmpty else {
            let text = problems.joined(separator: "; ")
            throw WireError(
                code: .configurationInvalid, message: "\(text); the old version of each stays")
        }
        return WireReload(
            status: "reloaded", agents: count,
            waiting: Self.waiting(Pair(old: started, new: config)))
    }

    /// Reloads at every SIGHUP; not at a terminal's, whose end is meant by it.
    func onSignal() async {
        guard isatty(STDERR_FILENO) == 0 else { return }
        for await _ in await UnixSignalsSequence(trapping: .sighup) { _ = try? await run() }
    }
}

extension AgentCeilings {
    /// What the configuration allows deployed agents.
    init(_ config: SupervisorConfig, forbidden: [String]) {
        self.init(
            mounts: config.allowedMounts, roots: config.allowedRoots,
            loosening: config.allowedLoosening, network: config.allowedNetwork,
            budget: config.allowedBudget, prices: config.prices, forbidden: forbidden)
        resources = config.allowedLimits
    }
}
