internal import API
internal import Foundation
internal import NIOCore
internal import NIOHTTP1
internal import Settings

/// The record of something that is under way; written to the session's log once, at its end. It
/// belongs to one event loop.
final class OpenRecord {
    private let session: SessionEgress
    private let began = ContinuousClock.now
    private var record: WireNetworkRecord
    private var isWritten = false
    /// Of requests.
    private var call: ModelCall?

    init(_ kind: WireNetworkRecord.Kind, _ destination: Destination?, in session: SessionEgress) {
        self.session = session
        record = WireNetworkRecord(
            kind, host: destination?.host.description, port: destination.map { Int($0.port) },
            time: Date())
    }

    func name(_ destination: Destination) {
        record.host = destination.host.description
        record.port = Int(destination.port)
    }

    /// A request line, without its query.
    func request(method: String, path: String) {
        call = ModelCall()
        record.method = String(method.prefix(32))
        record.path = String(path.prefix { $0 != "?" && $0 != "#" }.prefix(1024))
    }

    func allowed(by rule: String, address: IPAddress?) {
        record.verdict = .allowed
        record.reason = rule
        record.address = address?.description
    }

    func uses(_ secret: String) { record.secret = secret }

    func status(_ code: Int) { record.status = code }
    func sent(_ count: Int) { record.sent += count }
    /// The other side has said something.
    var hasReceived: Bool { record.received > 0 }

    func received(_ count: Int) { record.received += count }

    // MARK: - Requests, as far as they may be calls to models

    func sentBody(_ bytes: ByteBuffer) {
        sent(bytes.readableBytes)
        call?.sent(bytes)
    }

    func answered(_ head: HTTPResponseHead) {
        status(Int(head.status.code))
        call?.answered(head)
    }

    func receivedBody(_ bytes: ByteBuffer) {
        received(bytes.readableBytes)
        call?.received(bytes)
    }

    /// Ends it as refused or failed.
    func end(_ refusal: EgressRefusal) {
        switch refusal.cause {
        case .policy, .secret, .malformed, .unsupported, .busy, .budget: record.verdict = .denied
        case .noAddress, .unreachable, .timeout, .badAnswer: record.verdict = .failed
        }
        record.reason = refusal.text
        if refusal.cause == .policy, !isWritten {
            let port = record.port.map { ":\($0)" } ?? ""
            session.denied((record.host ?? "something without a name") + port, refusal.text)
        }
        end()
    }

    /// Ends it for whatever reason; where the session's bytes are used up, that was it.
    func endOrCut() {
        if let refusal = session.endOfBytes { end(refusal) } else { end() }
    }

    /// Ends it; later calls do nothing.
    func end() {
        guard !isWritten else { return }
        isWritten = true
        let time = began.duration(to: .now)
        record.duration = Int(time / .milliseconds(1))
        if let result = call?.result {
            record.model = result.model
            record.inputTokens = Int(result.usage.input)
            record.outputTokens = Int(result.usage.output)
            record.cachedTokens = result.usage.cached > 0 ? Int(result.usage.cached) : nil
            record.tokensEstimated = result.usage.isEstimated ? true : nil
            record.cost = session.count(result)
        }
        session.log(record)
    }
}
