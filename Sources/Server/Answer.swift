internal import API
internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
internal import Sessions

/// Builds the API's answers.
enum Answer {
    static func json(_ value: some Encodable, status: HTTPResponse.Status = .ok) throws -> Response
    {
        var data = try WireCoding.encoder().encode(value)
        data.append(UInt8(ascii: "\n"))
        return Response(
            status: status, headers: [.contentType: "application/json"],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: data)))
    }

    static func failure(_ error: WireError, status: HTTPResponse.Status? = nil) throws -> Response {
        try json(WireErrorBody(error: error), status: status ?? Self.status(error.code))
    }

    static func status(_ code: WireErrorCode) -> HTTPResponse.Status {
        switch code {
        case .badRequest: .badRequest
        case .forbidden, .limitReached: .forbidden
        case .sessionNotFound, .agentNotFound, .fileNotFound, .secretNotFound: .notFound
        case .sessionAmbiguous, .sessionActive, .sessionNotResumable, .sessionAlreadyEnded,
            .fileFailed:
            .conflict
        case .agentInvalid, .configurationInvalid, .idempotencyMismatch: .unprocessableContent
        case .tooLarge: .contentTooLarge
        case .capacity, .draining: .serviceUnavailable
        case .storageFailed: .init(code: 507, reasonPhrase: "Insufficient Storage")
        default: .internalServerError
        }
    }

    /// A Server-Sent Events stream (WHATWG HTML, section 9.2) of what `reader` yields.
    static func stream(_ reader: EventReader) -> Response {
        Response(
            status: .ok,
            headers: [
                .contentType: "text/event-stream", .cacheControl: "no-store",
                HTTPField.Name("X-Accel-Buffering") ?? .cacheControl: "no",
            ],
            body: ResponseBody { writer in
                let encoder = WireCoding.encoder()
                for try await event in reader {
                    var text = event.seq.map { "id: \($0)\n" } ?? ""
                    text += "event: \(event.type.rawValue)\ndata: "
                    text += String(decoding: try encoder.encode(event), as: UTF8.self)
                    text += "\n\n"
                    try await writer.write(ByteBuffer(string: text))
                }
                try await writer.finish(nil)
            })
    }
}

extension Request {
    /// A query parameter, percent-decoded.
    func query(_ name: String) -> String? {
        uri.queryParameters[Substring(name)].map(String.init)
    }

    func integerQuery<T: FixedWidthInteger>(_ name: String, _ type: T.Type) throws(WireError) -> T?
    {
        guard let text = query(name) else { return nil }
        guard let value = T(text) else {
            throw WireError(code: .badRequest, message: "'\(name)' must be a whole number")
        }
        return value
    }

    /// The client's own name for this request.
    var idempotencyKey: String? {
        HTTPField.Name("Idempotency-Key").flatMap { headers[$0] }
    }

    func flag(_ name: String) -> Bool { ["1", "true", "yes"].contains(query(name) ?? "") }

    /// The JSON body, at most `limit` bytes.
    func decode<T: Decodable>(_ type: T.Type, limit: Int) async throws -> T {
        var request = self
        let buffer: ByteBuffer
        do {
            buffer = try await request.collectBody(upTo: limit)
        } catch {
            throw WireError(code: .tooLarge, message: "The request is larger than \(limit) bytes")
        }
        do {
            return try WireCoding.decoder().decode(T.self, from: Data(buffer.readableBytesView))
        } catch {
            throw WireError(
                code: .badRequest, message: "The body is not the JSON that was expected")
        }
    }
}
