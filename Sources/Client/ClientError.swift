public import API

/// Why a call to the supervisor failed.
public struct ClientError: Error, Sendable {
    /// The closed set of causes.
    public enum Code: Sendable, Equatable {
        /// Nobody listens: the socket is absent or refuses connections.
        case unreachable
        /// The socket exists and the caller may not use it (EACCES).
        case permission
        /// The connection ended before the answer was complete.
        case lost
        /// Nothing was sent or received for the allowed time.
        case timeout
        /// The answer is not what the API promises.
        case badAnswer
        /// The supervisor answered with an error.
        case refused
        /// The event stream skipped a number.
        case gap
        /// The request's body could not be produced here.
        case body
        /// The address is not one that this program can use.
        case address
    }

    public var code: Code
    /// The socket, request or stream concerned, and what happened; one line.
    public var message: String
    /// The underlying errno, or 0.
    public var errno: Int32
    /// HTTP status, for `refused` and `badAnswer`.
    public var status: Int?
    /// What the supervisor answered, for `refused`.
    public var answer: WireError?
    /// What stopped the request's body, for `body`.
    public var cause: (any Error)?

    public init(
        _ code: Code, _ message: String, errno: Int32 = 0, status: Int? = nil,
        answer: WireError? = nil, cause: (any Error)? = nil
    ) {
        self.code = code
        self.message = message
        self.errno = errno
        self.status = status
        self.answer = answer
        self.cause = cause
    }

    /// True where the same request may succeed a moment later: a supervisor that restarts.
    public var isTransient: Bool {
        switch code {
        case .unreachable, .lost, .timeout: true
        case .refused: answer?.code == .draining
        case .permission, .badAnswer, .gap, .body, .address: false
        }
    }
}
