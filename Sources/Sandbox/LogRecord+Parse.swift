internal import CSandbox

extension LogRecord {
    /// The records of a LOG frame whose first byte has the log offset `offset`; nil when the
    /// payload is not made of whole, known records.
    static func parse(_ payload: [UInt8], offset: UInt64) -> [LogRecord]? {
        let size = MemoryLayout<csandbox_record>.size
        var records: [LogRecord] = []
        var position = 0
        while position < payload.count {
            guard payload.count - position >= size else { return nil }
            let record = payload.withUnsafeBytes {
                $0.loadUnaligned(fromByteOffset: position, as: csandbox_record.self)
            }
            let start = position + size
            guard Int(record.length) <= payload.count - start else { return nil }
            position = start + Int(record.length)
            guard let event = event(type: record.type, Array(payload[start..<position])) else {
                return nil
            }
            records.append(
                LogRecord(
                    event: event, generation: record.generation, end: offset &+ UInt64(position)))
        }
        return records
    }

    private static func event(type: UInt16, _ bytes: [UInt8]) -> Event? {
        switch UInt32(type) {
        case CSANDBOX_RECORD_STDOUT.rawValue: return .stdout(bytes)
        case CSANDBOX_RECORD_STDERR.rawValue: return .stderr(bytes)
        case CSANDBOX_RECORD_STDOUT_EOF.rawValue: return .stdoutEnd
        case CSANDBOX_RECORD_STDERR_EOF.rawValue: return .stderrEnd
        case CSANDBOX_RECORD_STARTED.rawValue:
            return .started(
                pid: Int32(truncatingIfNeeded: Fields(bytes)?.number(CSANDBOX_TAG_PID) ?? 0))
        case CSANDBOX_RECORD_START_FAILED.rawValue:
            guard let failure = Fields(bytes)?.failure else { return nil }
            return .startFailed(stage: failure.stage, errno: failure.errno, detail: failure.detail)
        case CSANDBOX_RECORD_EXITED.rawValue:
            guard bytes.count == MemoryLayout<csandbox_exit>.size else { return nil }
            let exit = bytes.withUnsafeBytes { $0.loadUnaligned(as: csandbox_exit.self) }
            return .exited(
                AgentExit(
                    status: exit.status, signal: exit.signal, userMicroseconds: exit.user_us,
                    systemMicroseconds: exit.system_us, maximumResidentKiB: exit.max_rss_kib))
        default: return nil
        }
    }
}
