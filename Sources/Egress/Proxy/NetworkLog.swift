public import API
internal import Dispatch
internal import Foundation
internal import Synchronization

/// What the sessions of a supervisor tried on the network, as JSON lines in a file for each
/// session. Writing never holds up a connection: where the disk is too slow, records are left out,
/// and the next one says how many.
public final class NetworkLog: Sendable {
    /// Bytes of a session's file; the one before it is kept too.
    private static let maximumFile = 1 << 20
    /// Records of all sessions that may wait for the disk.
    private static let maximumWaiting = 8192

    private struct State {
        var waiting = 0
        var dropped: [String: Int] = [:]
    }

    /// One line of a file.
    private struct Line: Codable {
        var record: WireNetworkRecord
        /// Records before this one that were left out.
        var dropped: Int?
    }

    private let directory: String
    private let queue = DispatchQueue(label: "network log")
    private let state = Mutex(State())

    init(directory: String) { self.directory = directory }

    /// Adds a record; returns at once.
    func append(_ record: WireNetworkRecord, session: String) {
        let dropped = state.withLock { state -> Int? in
            guard state.waiting < Self.maximumWaiting else {
                state.dropped[session, default: 0] += 1
                return nil
            }
            state.waiting += 1
            return state.dropped.removeValue(forKey: session) ?? 0
        }
        guard let dropped else { return }
        queue.async { [self] in
            write(Line(record: record, dropped: dropped > 0 ? dropped : nil), session)
            state.withLock { $0.waiting -= 1 }
        }
    }

    /// The newest records of a session, oldest first, at most `limit`.
    public func records(of session: String, limit: Int) async -> [WireNetworkRecord] {
        await withCheckedContinuation { continuation in
            queue.async { [self] in
                continuation.resume(returning: read(session, limit))
            }
        }
    }

    /// The sessions that have records.
    public func sessions() async -> [String] {
        await withCheckedContinuation { continuation in
            queue.async { [self] in
                let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
                continuation.resume(
                    returning: Array(Set(names.compactMap { $0.split(separator: ".").first })).map {
                        String($0)
                    })
            }
        }
    }

    /// Deletes a session's records.
    public func remove(session: String) {
        queue.async { [self] in
            for path in [file(session), file(session) + ".1"] { unlink(path) }
        }
    }

    private func file(_ session: String) -> String { "\(directory)/\(session).jsonl" }

    private func write(_ line: Line, _ session: String) {
        guard var data = try? WireCoding.encoder().encode(line) else { return }
        data.append(UInt8(ascii: "\n"))
        let path = file(session)
        let descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { return lost(session) }
        defer { close(descriptor) }
        let size = lseek(descriptor, 0, SEEK_END)
        if size > 0, Int(size) + data.count > Self.maximumFile {
            rename(path, path + ".1")
            return write(line, session)
        }
        let written = data.withUnsafeBytes {
            Foundation.write(descriptor, $0.baseAddress, $0.count)
        }
        if written != data.count {
            // A line that is not whole would spoil the next one.
            ftruncate(descriptor, size)
            lost(session)
        }
    }

    private func lost(_ session: String) {
        state.withLock { $0.dropped[session, default: 0] += 1 }
    }

    private func read(_ session: String, _ limit: Int) -> [WireNetworkRecord] {
        let decoder = WireCoding.decoder()
        var found: [WireNetworkRecord] = []
        for path in [file(session), file(session) + ".1"] where found.count < limit {
            guard let data = FileManager.default.contents(atPath: path) else { continue }
            let lines = data.split(separator: UInt8(ascii: "\n")).suffix(limit - found.count)
            found = lines.compactMap { try? decoder.decode(Line.self, from: $0).record } + found
        }
        return found
    }
}
