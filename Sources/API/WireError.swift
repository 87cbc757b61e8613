// Errors on the wire: {"error": {"code": …, "message": …, "hint": …, "matches": […]}}.

/// The stable codes of errors that the API answers with.
public struct WireErrorCode: RawRepresentable, Codable, Sendable, Hashable {
    public var rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    /// 400: the request cannot be understood.
    public static let badRequest = Self(rawValue: "bad_request")
    /// 403: the caller may not do this.
    public static let forbidden = Self(rawValue: "forbidden")
    /// 404: no session matches the id or prefix.
    public static let sessionNotFound = Self(rawValue: "session_not_found")
    /// 409: the prefix matches several sessions; `matches` names them.
    public static let sessionAmbiguous = Self(rawValue: "session_ambiguous")
    /// 409: a turn is in progress.
    public static let sessionActive = Self(rawValue: "session_active")
    /// 409: the session has ended or timed out.
    public static let sessionNotResumable = Self(rawValue: "session_not_resumable")
    /// 409: `end` of a session that has ended.
    public static let sessionAlreadyEnded = Self(rawValue: "session_already_ended")
    /// 422: the `Idempotency-Key` came with another request before.
    public static let idempotencyMismatch = Self(rawValue: "idempotency_mismatch")
    /// 404: no such agent; the message names the known ones.
    public static let agentNotFound = Self(rawValue: "agent_not_found")
    /// 404: the agent has no such secret, or the secret has no value.
    public static let secretNotFound = Self(rawValue: "secret_not_found")
    /// 422: the agent definition is refused.
    public static let agentInvalid = Self(rawValue: "agent_invalid")
    /// 422: the configuration or an agent's file is refused at a reload.
    public static let configurationInvalid = Self(rawValue: "configuration_invalid")
    /// 404: no such file in the session.
    public static let fileNotFound = Self(rawValue: "file_not_found")
    /// 409: reading or writing a file of the session failed.
    public static let fileFailed = Self(rawValue: "file_failed")
    /// 413: the message or upload is over its limit.
    public static let tooLarge = Self(rawValue: "too_large")
    /// 503: a limit of the supervisor is reached.
    public static let capacity = Self(rawValue: "capacity")
    /// 403: the session has used what it may take of processor time or time.
    public static let limitReached = Self(rawValue: "limit_reached")
    /// 503: the supervisor is shutting down.
    public static let draining = Self(rawValue: "draining")
    /// 500: the sandbox could not be started; the message has stage and errno.
    public static let sandboxFailed = Self(rawValue: "sandbox_failed")
    /// 507: the disk is full or the state cannot be written.
    public static let storageFailed = Self(rawValue: "storage_failed")
    /// 500: a bug; the log has more.
    public static let `internal` = Self(rawValue: "internal")
}

/// The body of every answer that is not a success.
public struct WireError: Codable, Sendable, Hashable, Error {
    public var code: WireErrorCode
    /// One line: what happened, to what.
    public var message: String
    /// The command or action that helps, where there is one.
    public var hint: String?
    /// Short ids, for `session_ambiguous`.
    public var matches: [String]?

    public init(code: WireErrorCode, message: String, hint: String? = nil, matches: [String]? = nil)
    {
        self.code = code
        self.message = message
        self.hint = hint
        self.matches = matches
    }
}

/// `WireError` as it stands in a body.
public struct WireErrorBody: Codable, Sendable {
    public var error: WireError

    public init(error: WireError) { self.error = error }
}
