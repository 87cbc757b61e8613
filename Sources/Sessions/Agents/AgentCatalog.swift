public import API
internal import Foundation
public import Logging
internal import Settings

/// The agents that this supervisor knows: the operator's files, what was deployed, what ships with
/// it. An operator's file wins over a deploy of the same name, a deploy over a shipped agent.
public actor AgentCatalog {
    private let store: any SessionStore
    private let clock: any SessionClock
    private let shipped: String?
    private var operatorDirectory: String?
    private let trees: AgentTrees
    private var ceilings: AgentCeilings
    private let maximumSource: Int
    private let logger: Logger
    /// The end of the newest change; changes wait for each other.
    private var lastChange: Task<Void, Never>?
    /// Uploads that are not registered yet.
    private var uploads: Set<String> = []
    private var read = AgentFiles()

    /// `shipped` and `operatorDirectory` hold `*.yaml`; copies of source trees go below `copies`.
    public init(
        store: any SessionStore, clock: any SessionClock, shipped: String?,
        operatorDirectory: String?,
        copies: String, ceilings: AgentCeilings, maximumSource: Int, logger: Logger
    ) {
        self.store = store
        self.clock = clock
        self.shipped = shipped
        self.operatorDirectory = operatorDirectory
        trees = AgentTrees(directory: copies)
        self.ceilings = ceilings
        self.maximumSource = maximumSource
        self.logger = logger
    }

    /// The version that a new session of `name` gets.
    public func version(named name: String) async throws(WireError) -> AgentVersion {
        do throws(StoreError) {
            if let file = file(name, in: operatorDirectory) {
                return try await registered(file, origin: .operator)
            }
            if let known = try await store.newestAgent(name: name, origin: .deployed) {
                return known
            }
            if let file = file(name, in: shipped) {
                return try await registered(file, origin: .shipped)
            }
        } catch {
            throw WireError(error, "The agent could not be read")
        }
        let known = try await all().map(\.definition.name)
        throw WireError(
            code: .agentNotFound,
            message: known.isEmpty
                ? "No agent named '\(TerminalText.neutralised(name))'; there are none yet"
                : "No agent named '\(TerminalText.neutralised(name))'; known agents: \(known.joined(separator: ", "))",
            hint: "superserve agents list")
    }

    /// Every agent's newest version, by name.
    public func all() async throws(WireError) -> [AgentVersion] {
        var found: [String: AgentVersion] = [:]
        do throws(StoreError) {
            for file in files(in: shipped) {
                found[file.definition.name] = try await registered(file, origin: .shipped)
            }
            for version in try await store.agents(origin: .deployed) {
                found[version.definition.name] = version
            }
            for file in files(in: operatorDirectory) {
                found[file.definition.name] = try await registered(file, origin: .operator)
            }
        } catch {
            throw WireError(error, "The agents could not be read")
        }
        return found.values.sorted { $0.definition.name < $1.definition.name }
    }

    /// Takes a deployed agent. `source` is a directory below the copies that is already in place,
    /// or nil.
    public func deploy(
        yaml: String, source: AgentTrees.Staged?, caller: Caller
    ) async throws(WireError) -> AgentVersion {
        do {
            return try await inOrder {
                try await self.deployNow(yaml: yaml, source: source, caller: caller)
            }
        } catch let error as WireError {
            throw error
        } catch {
            throw WireError(error, "The agent could not be stored")
        }
    }

    /// Makes changes wait for each other: each reads what is there, works on files, then writes.
    private func inOrder<Value: Sendable>(
        _ change: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        let before = lastChange
        let task = Task {
            await before?.value
            return try await change()
        }
        lastChange = Task { _ = try? await task.value }
        return try await task.value
    }

    private func deployNow(
        yaml: String, source: AgentTrees.Staged?, caller: Caller
    ) async throws(WireError) -> AgentVersion {
        FaultPoint.deployUnpacked()
        let definition: AgentDefinition
        do throws(SettingsError) {
            definition = try AgentDefinition(yaml: yaml, file: "superserve.yaml")
        } catch {
            throw WireError(code: .agentInvalid, message: "\(error)")
        }
        if let objection = ceilings.objection(to: definition, trusted: caller.isOperator) {
            let key = objection.split(separator: "'").first.map(String.init) ?? ""
            let place = AgentDefinition.line(of: key, in: yaml).map { "superserve.yaml:\($0): " }
            throw WireError(
                code: .agentInvalid,
                message: "Agent '\(definition.name)': \(place ?? "")\(objection)")
        }
        if file(definition.name, in: operatorDirectory) != nil {
            throw WireError(
                code: .forbidden,
                message: "Agent '\(definition.name)' is set by the operator and cannot be replaced")
        }
        if !caller.isOperator, file(definition.name, in: shipped) != nil {
            throw WireError(
                code: .forbidden,
                message: """
                    Agent '\(definition.name)' ships with superserve; only operators replace it
                    """)
        }
        let previous: AgentVersion?
        do throws(StoreError) {
            previous = try await store.newestAgent(name: definition.name, origin: .deployed)
        } catch {
            throw WireError(error, "The agents could not be read")
        }
        try Self.requireOwner(previous, caller, to: "replace")
        do throws(StoreError) {
            return try await insert(
                definition, previous: previous, origin: .deployed, source: source,
                fingerprint: "", trusted: caller.isOperator, deployedBy: caller.user)
        } catch {
            throw WireError(error, "The agent could not be stored")
        }
    }

    /// A deployed agent belongs to who deployed it, and to operators.
    private static func requireOwner(
        _ version: AgentVersion?, _ caller: Caller, to verb: String
    ) throws(WireError) {
        guard let version, let owner = version.deployedBy, !caller.isOperator,
            owner.uid != caller.user.uid
        else { return }
        throw WireError(
            code: .forbidden,
            message: """
                Only \(owner.name), who deployed agent '\(version.definition.name)', or an operator \
                may \(verb) it
                """)
    }

    /// Forgets a deployed agent; sessions keep their version.
    public func delete(named name: String, caller: Caller) async throws(WireError) {
        let version = try await version(named: name)
        guard version.origin == .deployed else {
            throw WireError(
                code: .forbidden,
                message:
                    "Agent '\(name)' is \(version.origin.rawValue), not deployed, and cannot be deleted"
            )
        }
        do {
            try await inOrder { [self] in
                // Read again: another deploy may have come in between.
                let newest = try await store.newestAgent(name: name, origin: .deployed)
                try Self.requireOwner(newest, caller, to: "delete")
                try await store.deleteAgent(name: name)
                try await dropUnused()
            }
        } catch let error as WireError {
            throw error
        } catch {
            throw WireError(error, "The agent could not be deleted")
        }
    }

    /// Removes versions and source copies that nothing refers to.
    public func dropUnused() async throws(StoreError) {
        for version in try await store.dropUnusedVersions() {
            if let path = version.sourcePath { trees.remove(path) }
        }
    }

    /// Where an upload's source tree is unpacked.
    public func stage() throws(WireError) -> AgentTrees.Staged {
        let staged = try trees.stage()
        uploads.insert(staged.path)
        return staged
    }

    /// Throws an upload away.
    public func discard(_ staged: AgentTrees.Staged) {
        uploads.remove(staged.path)
        trees.remove(staged.path)
    }

    /// Deletes source copies that nothing refers to.
    func sweep() async throws(StoreError) {
        trees.sweep(keeping: try await store.sourcePaths().union(uploads))
    }

    // MARK: - Files

    /// Takes other settings, for what is asked from now on.
    func apply(_ config: SupervisorConfig, ceilings: AgentCeilings) {
        operatorDirectory = config.agentsDirectory
        self.ceilings = ceilings
    }

    /// Reads every file: how many agents there are, and what is wrong with which file.
    public func check() -> (agents: Int, problems: [String]) {
        let all = files(in: shipped) + files(in: operatorDirectory)
        return (Set(all.map(\.definition.name)).count, read.problems)
    }

    private func file(_ name: String, in directory: String?) -> AgentFile? {
        guard AgentDefinition.isValid(name: name) else { return nil }
        return files(in: directory).first { $0.definition.name == name }
    }

    private func files(in directory: String?) -> [AgentFile] {
        directory.map { read.files(in: $0, logger: logger) } ?? []
    }

    /// The file's version: the newest one, or a new one when file or source have changed.
    private func registered(
        _ file: AgentFile, origin: AgentVersion.Origin
    ) async throws(StoreError) -> AgentVersion {
        if let known = try await unchanged(file, origin: origin).current { return known }
        do {
            return try await inOrder { try await self.register(file, origin: origin) }
        } catch let error as StoreError {
            throw error
        } catch {
            throw StoreError(.other, "agent '\(file.definition.name)': \(error)")
        }
    }

    private func unchanged(
        _ file: AgentFile, origin: AgentVersion.Origin
    ) async throws(StoreError) -> (
        current: AgentVersion?, previous: AgentVersion?, fingerprint: String
    ) {
        let fingerprint = trees.fingerprint(file.source)
        let previous = try await store.newestAgent(name: file.definition.name, origin: origin)
        let isSame =
            previous?.definition == file.definition && previous?.fingerprint == fingerprint
        return (isSame ? previous : nil, previous, fingerprint)
    }

    private func register(
        _ file: AgentFile, origin: AgentVersion.Origin
    ) async throws(StoreError) -> AgentVersion {
        let (current, previous, fingerprint) = try await unchanged(file, origin: origin)
        if let current { return current }
        var staged: AgentTrees.Staged?
        if let source = file.source {
            do {
                let copy = try trees.copy(source, maximumBytes: maximumSource)
                uploads.insert(copy.path)
                staged = copy
            } catch {
                throw StoreError(.other, "source of agent '\(file.definition.name)': \(error)")
            }
        }
        return try await insert(
            file.definition, previous: previous, origin: origin, source: staged,
            fingerprint: fingerprint, trusted: true)
    }

    private func insert(
        _ definition: AgentDefinition, previous: AgentVersion?, origin: AgentVersion.Origin,
        source: AgentTrees.Staged?, fingerprint: String, trusted: Bool,
        deployedBy: WireUser? = nil
    ) async throws(StoreError) -> AgentVersion {
        let now = clock.wall
        var version = AgentVersion(
            agentID: previous?.agentID ?? RandomID.agent(), version: (previous?.version ?? 0) + 1,
            definition: definition, origin: origin, sourcePath: source?.path,
            fingerprint: fingerprint,
            trusted: trusted, createdAt: now, firstCreatedAt: previous?.firstCreatedAt ?? now)
        version.deployedBy = deployedBy
        do throws(StoreError) {
            try await store.insert(version)
        } catch {
            if let source { discard(source) }
            throw error
        }
        if let source { uploads.remove(source.path) }
        if origin == .deployed { FaultPoint.deployStored() }
        try await dropUnused()
        return version
    }
}
