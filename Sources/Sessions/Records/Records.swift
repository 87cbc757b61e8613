public import API
public import AgentProtocols
public import Foundation
public import Sandbox
public import Settings

// What the store keeps. Catalogue state (sessions, turns, events, agents) and node-local state
// (sandboxes) are separate records, so that a fleet can keep the first centrally.

/// Where a session stands in its life; `creating` is not listed and never outlives a restart.
public enum SessionPhase: String, Codable, Sendable, CaseIterable {
    case creating, idle, active, ended, timeout

    /// The status that the outside sees.
    public var status: SessionStatus {
        switch self {
        case .creating, .idle: .idle
        case .active: .active
        case .ended: .ended
        case .timeout: .timeout
        }
    }

    /// True while the session has a workspace.
    public var isLive: Bool { self == .creating || self == .idle || self == .active }
}

/// Why a session ended.
public enum EndReason: String, Codable, Sendable, CaseIterable {
    case endedByUser = "ended_by_user"
    case idleTimeout = "idle_timeout"
    /// `end` of a session that had timed out: its archive was deleted.
    case archiveDeleted = "archive_deleted"
}

/// A session's row.
public struct SessionRecord: Sendable, Hashable, Codable {
    public var id: SessionID
    public var agentID: String
    public var agentName: String
    public var agentVersion: Int
    public var phase: SessionPhase
    public var reason: EndReason?
    public var title: String?
    /// User messages and agent responses.
    public var messages: Int
    public var createdAt: Date
    public var lastActiveAt: Date
    public var endedAt: Date?
    /// Seconds.
    public var idleTimeout: Int
    public var deadline: IdleDeadline?
    public var creator: WireUser
    /// What was changed in the agent's network policy for this session.
    public var networkEdits = NetworkEdits()
    /// What was changed in its budget; `NetworkBudget.unlimited` takes a bound away.
    public var budgetEdits = NetworkBudget()
    /// Number of the newest event.
    public var lastSeq: Int64
    /// Number of the newest turn.
    public var lastTurn: Int

    public init(
        id: SessionID, agentID: String, agentName: String, agentVersion: Int, idleTimeout: Int,
        creator: WireUser, createdAt: Date
    ) {
        self.id = id
        self.agentID = agentID
        self.agentName = agentName
        self.agentVersion = agentVersion
        phase = .creating
        messages = 0
        self.createdAt = createdAt
        lastActiveAt = createdAt
        self.idleTimeout = idleTimeout
        self.creator = creator
        lastSeq = 0
        lastTurn = 0
    }
}

/// A turn's row: one user message and what became of it.
public struct TurnRecord: Sendable, Hashable, Codable {
    public var number: Int
    public var content: String
    public var user: WireUser
    public var acceptedAt: Date
    /// Milliseconds on CLOCK_BOOTTIME, with the boot they belong to.
    public var acceptedBoot: BootInstant
    /// Number of the turn's `run.started` event.
    public var firstSeq: Int64
    /// Nil while the turn runs.
    public var outcome: TurnOutcome?
    public var endedAt: Date?
    /// Milliseconds.
    public var duration: Int64?
    /// Bytes of events stored for the turn.
    public var outputBytes: Int

    public init(
        number: Int, content: String, user: WireUser, acceptedAt: Date, acceptedBoot: BootInstant,
        firstSeq: Int64
    ) {
        self.number = number
        self.content = content
        self.user = user
        self.acceptedAt = acceptedAt
        self.acceptedBoot = acceptedBoot
        self.firstSeq = firstSeq
        outputBytes = 0
    }
}

/// The node-local side of a live session: ids, process, and how far the exchange with init is
/// stored.
public struct SandboxRecord: Sendable, Hashable, Codable {
    /// Index of the id block, unique among all records.
    public var block: Int
    /// The running init, if there is one.
    public var process: ProcessIdentity?
    /// The boot that `process` belongs to; after another one its pid means nothing. Nil in records
    /// of versions that did not keep it.
    public var bootID: String?
    /// What protects the session, as its newest init has said.
    public var isolation: Isolation?
    /// What init asks for on its control socket.
    public var nonce: [UInt8]
    /// Ports at which the sandbox's init listens for connections that leave the session, beside
    /// those of proxy and names; nil: for none at all.
    public var egressPorts: [UInt16]?
    /// Its limits and what it has used; nil in records of versions that had none.
    public var resources: ResourceState?
    /// Log offset up to which everything is stored.
    public var logOffset: UInt64
    /// Absolute input offset of the first byte of `pendingInput`.
    public var inputBase: UInt64
    /// Input that has been stored and is not known to have reached the agent.
    public var pendingInput: [UInt8]
    /// Absolute input offset at which the agent's input is closed.
    public var inputEnd: UInt64?
    public var machine: AgentMachine

    public init(block: Int, machine: AgentMachine) {
        self.block = block
        nonce = []
        logOffset = 0
        inputBase = 0
        pendingInput = []
        self.machine = machine
    }
}

/// One version of an agent, as sessions pin it.
public struct AgentVersion: Sendable, Hashable, Codable {
    /// Where an agent comes from.
    public enum Origin: String, Codable, Sendable {
        case shipped, `operator`, deployed
    }

    /// `agt_` + 16 hex digits, the same for all versions.
    public var agentID: String
    /// Counts from 1.
    public var version: Int
    public var definition: AgentDefinition
    public var origin: Origin
    /// Host directory that becomes `/agent`.
    public var sourcePath: String?
    /// Tells unchanged files from changed ones.
    public var fingerprint: String
    /// True: `mounts` and `root` are not held to the ceilings.
    public var trusted: Bool
    /// Who deployed it; nil for files.
    public var deployedBy: WireUser?
    public var createdAt: Date
    /// When version 1 was made.
    public var firstCreatedAt: Date

    public init(
        agentID: String, version: Int, definition: AgentDefinition, origin: Origin,
        sourcePath: String?,
        fingerprint: String, trusted: Bool, createdAt: Date, firstCreatedAt: Date
    ) {
        self.agentID = agentID
        self.version = version
        self.definition = definition
        self.origin = origin
        self.sourcePath = sourcePath
        self.fingerprint = fingerprint
        self.trusted = trusted
        self.createdAt = createdAt
        self.firstCreatedAt = firstCreatedAt
    }
}
