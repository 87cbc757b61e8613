internal import API
internal import Foundation
internal import Settings

/// The record of something that is under way; written to the session's log once, at its end. It
/// belongs to one event loop.
final class OpenRecord {
    private let session: SessionEgress
    private let began = ContinuousClock.now
    private var record: WireNetworkRecord
    private var isWritten = false

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

    /// Ends it as refused or failed.
    func end(_ refusal: EgressRefusal) {
        switch refusal.cause {
        case .policy, .secret, .malformed, .unsupported, .busy: record.verdict = .denied
        case .noAddress, .unreachable, .timeout, .badAnswer: record.verdict = .failed
        }
        record.reason = refusal.text
        end()
    }

    /// Ends it; later calls do nothing.
    func end() {
        guard !isWritten else { return }
        isWritten = true
        let time = began.duration(to: .now)
        record.duration = Int(time / .milliseconds(1))
        session.log(record)
    }
}
