/// Messages in a stream: each after its length in two bytes (RFC 1035, section 4.2.2).
public struct DNSFrames: Sendable {
    private var pending: [UInt8] = []
    private var isBroken = false

    public init() {}

    /// Bytes that wait for more; never more than a message and its length.
    public var pendingBytes: Int { pending.count }

    /// Takes bytes as they come and returns the messages that are complete. Nil once a length is
    /// out of bounds (below a header's 12 bytes, above `DNSMessage.maximumBytes`): the connection
    /// has to be closed.
    public mutating func feed(_ bytes: some Collection<UInt8>) -> [[UInt8]]? {
        guard !isBroken else { return nil }
        pending += bytes
        var messages: [[UInt8]] = []
        var start = 0
        while pending.count - start >= 2 {
            let length = Int(pending[start]) << 8 | Int(pending[start + 1])
            guard (12...DNSMessage.maximumBytes).contains(length) else {
                isBroken = true
                pending = []
                return nil
            }
            guard pending.count - start >= 2 + length else { break }
            messages.append(Array(pending[(start + 2)..<(start + 2 + length)]))
            start += 2 + length
        }
        pending.removeFirst(start)
        return messages
    }

    /// A message with its length before it; nil for one that is longer than 65535 bytes.
    public static func framed(_ message: [UInt8]) -> [UInt8]? {
        UInt16(exactly: message.count).map { DNSMessage.bytes($0) + message }
    }
}
