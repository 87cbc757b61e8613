internal import API
internal import Foundation
internal import Settings

/// Why a connection or a request did not leave the session.
struct EgressRefusal: Error, Sendable, Hashable {
    enum Cause: Sendable, Hashable {
        /// The client's own bytes are wrong.
        case malformed
        /// A part of the protocol that is not served.
        case unsupported
        /// The policy does not allow it.
        case policy
        /// A key is not given.
        case secret
        /// A bound of the session or of the supervisor is reached.
        case busy
        /// What the session may use in all is used up.
        case budget(NetworkBudget.Kind)
        /// The name has no address.
        case noAddress
        /// The other side cannot be reached.
        case unreachable
        /// The other side took too long.
        case timeout
        /// The other side did not speak the protocol.
        case badAnswer
    }

    var cause: Cause
    /// One line for the agent and the log, without a host's secrets.
    var text: String
    /// For programs, where the answer is shaped as those of model APIs.
    var code: String?

    init(_ cause: Cause, _ text: String) {
        self.cause = cause
        self.text = text
    }

    /// RFC 9110, section 15.
    var httpStatus: Int {
        switch cause {
        case .malformed, .unsupported: 400
        case .policy, .secret: 403
        case .busy, .budget: 429
        case .noAddress, .unreachable, .badAnswer: 502
        case .timeout: 504
        }
    }

    /// RFC 1928, section 6.
    var socksReply: UInt8 {
        switch cause {
        case .malformed, .badAnswer, .busy: 1
        case .unsupported: 7
        case .policy, .secret, .budget: 2
        case .noAddress: 4
        case .unreachable: 5
        case .timeout: 6
        }
    }
}

extension EgressRefusal {
    /// The same for a request that was to get a key.
    func coded(_ code: String? = nil) -> EgressRefusal {
        var coded = self
        coded.code = self.code ?? code ?? "\(cause)"
        return coded
    }

    /// As model APIs say it: clients show the message.
    var json: String {
        struct Body: Encodable {
            struct Failure: Encodable {
                var message: String
                var type: String
                var code: String?
            }
            var error: Failure
        }
        var type = "superserve_gateway"
        if case .budget = cause { type = "budget_exceeded" }
        let body = Body(error: .init(message: "superserve: \(text)", type: type, code: code))
        let data = try? WireCoding.encoder().encode(body)
        return data.map { String(decoding: $0, as: UTF8.self) + "\n" } ?? "{}\n"
    }

    /// Any error of the way out; those that are none of ours say that the other side failed.
    init(_ error: any Error) {
        if let error = error as? EgressTLSError {
            self.init(.badAnswer, "TLS: \(error)")
            code = error.isCertificate ? "bad_certificate" : "tls_failed"
            return
        }
        self = error as? EgressRefusal ?? EgressRefusal(.unreachable, "\(error)")
    }
}
