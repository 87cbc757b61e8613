public import API
internal import Foundation

/// A client's own name for a request, so that it can repeat the request after a lost answer (the
/// `Idempotency-Key` header): the same key of the same user, for the same session or for creating
/// one, means the same request.
public struct IdempotencyKey: Sendable, Hashable {
    /// Seconds that a key is remembered.
    public static let lifetime = 86400.0

    /// Who sent it.
    public var uid: UInt32
    /// 1 to 255 visible ASCII characters.
    public var key: String
    /// What was asked for, as a short text; a key that comes back with another text is a mistake.
    public var request: String

    /// Throws `bad_request` where `key` is empty, too long or has other characters.
    public init(_ key: String, uid: UInt32, request: String) throws(WireError) {
        guard (1...255).contains(key.utf8.count),
            key.utf8.allSatisfy({ (0x21...0x7e).contains($0) })
        else {
            throw WireError(
                code: .badRequest,
                message: "Idempotency-Key must have 1 to 255 visible ASCII characters")
        }
        self.uid = uid
        self.key = key
        self.request = request
    }

    /// What the store remembers of the first request.
    public struct Outcome: Sendable, Hashable {
        public var request: String
        public var session: SessionID
        /// Nil for the creation of a session.
        public var turn: Int?

        public init(request: String, session: SessionID, turn: Int?) {
            self.request = request
            self.session = session
            self.turn = turn
        }

        /// Throws when `key` came with another request the first time.
        func check(_ key: IdempotencyKey) throws(WireError) {
            guard request == key.request else {
                throw WireError(
                    code: .idempotencyMismatch,
                    message: "This Idempotency-Key was used for another request")
            }
        }
    }
}
