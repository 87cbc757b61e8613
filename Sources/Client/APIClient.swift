internal import API
internal import Foundation
internal import NIOCore

/// An answer, decoded and as it came.
public struct Answer<Value: Sendable>: Sendable {
    public var value: Value
    /// The JSON text of the answer, with whatever a newer supervisor adds.
    public var json: [UInt8]

    public init(value: Value, json: [UInt8]) {
        self.value = value
        self.json = json
    }
}

/// The calls of the HTTP API, for one supervisor.
///
/// Every call throws `ClientError`, or what its body or handler threw.
public struct APIClient: Sendable {
    /// Bytes that an answer which is held in memory may have.
    static let answerLimit = 128 << 20

    /// The unix socket of the supervisor.
    public let socketPath: String
    let http: HTTPConnection

    public init(socketPath: String) {
        self.socketPath = socketPath
        http = HTTPConnection(socketPath: socketPath)
    }

    /// Sends a request and decodes the JSON answer.
    func call<Value: Decodable & Sendable>(_ request: HTTPRequest) async throws -> Answer<Value> {
        let body = try await data(request)
        do {
            let value = try WireCoding.decoder().decode(Value.self, from: Data(body))
            return Answer(value: value, json: body)
        } catch {
            throw ClientError(
                .badAnswer, "The supervisor's answer to \(request.target) is not understood",
                status: 200)
        }
    }

    /// Sends a request and returns the body of a successful answer.
    func data(_ request: HTTPRequest) async throws -> [UInt8] {
        try await http.perform(request) { head, body in
            let bytes = try await body.collect(limit: Self.answerLimit)
            guard head.isSuccess else { throw Self.refusal(head, bytes) }
            return bytes
        }
    }

    /// The error in an answer that is not a success.
    static func refusal(_ head: HTTPHead, _ body: [UInt8]) -> ClientError {
        if let wire = try? WireCoding.decoder().decode(WireErrorBody.self, from: Data(body)) {
            return ClientError(
                .refused, wire.error.message, status: head.status, answer: wire.error)
        }
        return ClientError(
            .badAnswer, "The supervisor answered with HTTP status \(head.status)",
            status: head.status)
    }

    /// `value` as a JSON body.
    static func encode(_ value: some Encodable) throws -> RequestBody {
        .json(try json(value))
    }

    static func json(_ value: some Encodable) throws -> [UInt8] {
        [UInt8](try WireCoding.encoder().encode(value))
    }

    /// Joins `path` and the parameters that have a value.
    static func target(_ path: String, _ query: [(String, String?)]) -> String {
        let pairs = query.compactMap { name, value in
            value.map { "\(name)=\(APIPath.escape($0))" }
        }
        return pairs.isEmpty ? path : path + "?" + pairs.joined(separator: "&")
    }
}
