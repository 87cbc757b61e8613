public import API
internal import Foundation
internal import NIOCore

/// An event and the JSON line it came as.
public struct ReceivedEvent: Sendable, Hashable {
    public var event: WireEvent
    /// The data of the event as the supervisor wrote it.
    public var json: String

    public init(event: WireEvent, json: String) {
        self.event = event
        self.json = json
    }
}

/// Reads the events of a session in order, across lost connections and restarts of the supervisor.
///
/// Numbers are unique and gapless within a session, so the reader asks for what follows the last
/// number it saw: an event that comes again is dropped, one that is missing is an error.
public struct EventStream: Sendable {
    /// What the receiver wants next.
    public enum Step: Sendable { case proceed, stop }

    /// Settings that tests shorten.
    struct Patience: Sendable {
        /// How long the supervisor may stay away.
        var outage = Duration.seconds(60)
        /// Seconds without an event or a heartbeat after which the connection counts as lost.
        var idleSeconds = Int64(APILimits.heartbeatSeconds * 3)
        /// How long to wait before the next attempt; injected so that tests need not wait.
        var sleep: @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) }
    }

    private let client: APIClient
    private let sessionID: String
    private let patience: Patience
    /// Number of the last event that was handed on.
    public private(set) var lastSeq: Int64

    /// - Parameters:
    ///   - sessionID: any unique prefix; a full id where sessions come and go meanwhile.
    ///   - after: number of the last event that is known already; 0 starts with the first.
    public init(client: APIClient, sessionID: String, after: Int64) {
        self.init(client: client, sessionID: sessionID, after: after, patience: Patience())
    }

    init(client: APIClient, sessionID: String, after: Int64, patience: Patience) {
        self.client = client
        self.sessionID = sessionID
        self.patience = patience
        lastSeq = after
    }

    /// Hands on events until `receive` says stop or the session ends.
    ///
    /// - Throws: `ClientError`: what a supervisor refused, a gap, or `unreachable` after a minute
    /// of
    ///   attempts; and whatever `receive` throws.
    public mutating func follow(_ receive: (ReceivedEvent) async throws -> Step) async throws {
        var backoff = Backoff()
        var outageStart: ContinuousClock.Instant?
        while true {
            var progress = Progress()
            do {
                if try await readOnce(&progress, receive) { return }
            } catch let error as ClientError where error.isTransient {
                if progress.isConnected { outageStart = nil }
                let start = outageStart ?? .now
                outageStart = start
                guard .now - start < patience.outage else { throw gaveUp(error) }
            }
            try Task.checkCancellation()
            if progress.hasEvents { backoff.reset() }
            try await patience.sleep(backoff.next())
        }
    }

    private struct Progress {
        var isConnected = false
        var hasEvents = false
    }

    /// One connection: true when nothing more is wanted.
    private mutating func readOnce(
        _ progress: inout Progress, _ receive: (ReceivedEvent) async throws -> Step
    ) async throws -> Bool {
        let target = APIClient.target(
            APIPath.session(sessionID, "events"), [("after", String(lastSeq)), ("follow", "1")])
        let request = HTTPRequest(
            method: .get, target: target, accept: "text/event-stream",
            headers: lastSeq > 0 ? [("Last-Event-ID", String(lastSeq))] : [],
            idleSeconds: patience.idleSeconds)
        var last = lastSeq
        var connected = false
        var seen = false
        defer {
            lastSeq = last
            progress = Progress(isConnected: connected, hasEvents: seen)
        }
        return try await client.http.perform(request) { head, body in
            guard head.isSuccess else {
                throw APIClient.refusal(head, try await body.collect(limit: 1 << 20))
            }
            connected = true
            var parser = ServerSentEventParser()
            while let buffer = try await body.next() {
                for message in try parser.feed(buffer.readableBytesView) {
                    guard let received = try accept(message, &last) else { continue }
                    seen = seen || received.event.seq != nil
                    let step = try await receive(received)
                    if step == .stop || received.event.type == .sessionEnded { return true }
                }
            }
            return false
        }
    }

    /// Decodes an event and checks its number; nil for one that was seen before.
    private func accept(
        _ message: ServerSentEvent, _ last: inout Int64
    ) throws(ClientError) -> ReceivedEvent? {
        let event: WireEvent
        do {
            event = try WireCoding.decoder().decode(WireEvent.self, from: Data(message.data.utf8))
        } catch {
            throw ClientError(.badAnswer, "An event of session \(sessionID) is not understood")
        }
        guard let seq = event.seq ?? message.id.flatMap({ Int64($0) }) else {
            return ReceivedEvent(event: event, json: message.data)
        }
        guard seq > last else { return nil }
        guard seq == last + 1 else {
            throw ClientError(
                .gap,
                "Events \(last + 1) to \(seq - 1) of session \(sessionID) are missing from its stream"
            )
        }
        last = seq
        return ReceivedEvent(event: event, json: message.data)
    }

    private func gaveUp(_ error: ClientError) -> ClientError {
        var error = error
        error.message =
            "The supervisor at \(client.socketPath) did not come back within "
            + "\(patience.outage.components.seconds) s; the session goes on without this terminal"
        return error
    }
}
