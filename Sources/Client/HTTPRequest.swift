/// The body of a request.
public enum RequestBody: Sendable {
    case none
    case json([UInt8])
    /// Sent in chunks until `next` returns nil. An error of `next` gives the request up.
    case stream(contentType: String, next: @Sendable () async throws -> [UInt8]?)
}

/// One request to the supervisor.
struct HTTPRequest: Sendable {
    enum Method: Sendable { case get, post, put, delete }

    var method: Method
    /// Path and query, percent-encoded.
    var target: String
    var accept = "application/json"
    var headers: [(name: String, value: String)] = []
    var body = RequestBody.none
    /// Seconds without a byte in either direction after which the call is given up.
    var idleSeconds: Int64 = 120
}

/// What an answer starts with.
struct HTTPHead: Sendable {
    var status: Int
    var contentType: String

    var isSuccess: Bool { (200..<300).contains(status) }
}
