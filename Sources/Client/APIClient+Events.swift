public import API
internal import Foundation
internal import NIOCore

extension APIClient {
    /// Looks for the turn that a message has started, among the events after number `after`.
    ///
    /// - Returns: nil where no such turn is stored.
    public func findTurn(
        of sessionID: String, after: Int64, by uid: UInt32, content: String
    ) async throws -> WireAccepted? {
        let target = Self.target(
            APIPath.session(sessionID, "events"), [("after", String(after)), ("follow", "0")])
        let request = HTTPRequest(
            method: .get, target: target, accept: "text/event-stream", idleSeconds: 30)
        return try await http.perform(request) { head, body in
            guard head.isSuccess else {
                throw Self.refusal(head, try await body.collect(limit: Self.answerLimit))
            }
            var parser = ServerSentEventParser()
            while let buffer = try await body.next() {
                for message in try parser.feed(buffer.readableBytesView) {
                    let data = Data(message.data.utf8)
                    let event = try WireCoding.decoder().decode(WireEvent.self, from: data)
                    if let found = Self.accepted(event, sessionID, uid, content) { return found }
                }
            }
            return nil
        }
    }

    private static func accepted(
        _ event: WireEvent, _ sessionID: String, _ uid: UInt32, _ content: String
    ) -> WireAccepted? {
        guard event.type == .runStarted, event.user?.uid == uid, event.content == content,
            let seq = event.seq, let turn = event.turn
        else { return nil }
        return WireAccepted(sessionId: sessionID, turn: turn, firstSeq: seq)
    }
}
