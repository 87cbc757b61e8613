/// Finds the hello in a client's first bytes, however they are cut into records and pieces.
///
/// It copies what it needs; what the client sent has to be kept by the caller and goes on to the
/// server unchanged.
public struct ClientHelloReader: Sendable {
    /// What is not a record's content yet.
    private var header: [UInt8] = []
    /// Content that the current record still has.
    private var recordRest = 0
    /// The handshake message: type, length in three bytes, body.
    private var message: [UInt8] = []
    private var total = 0

    /// The newest result. Once it is another than `needMore` it stays.
    public private(set) var result = ClientHello.Inspection.needMore

    public init() {}

    /// Takes bytes as they come. What follows a hello is not looked at.
    @discardableResult
    public mutating func feed(_ bytes: some Collection<UInt8>) -> ClientHello.Inspection {
        guard result == .needMore else { return result }
        var rest = ByteReader(bytes.prefix(ClientHello.maximumBytes - total))
        while result == .needMore, !rest.isAtEnd {
            if recordRest == 0 {
                readHeader(&rest)
            } else {
                readContent(&rest)
            }
        }
        if result == .needMore, total == ClientHello.maximumBytes {
            result = .malformed("the hello is larger than \(ClientHello.maximumBytes) bytes")
        }
        return result
    }

    private mutating func readHeader(_ rest: inout ByteReader) {
        guard let byte = rest.byte() else { return }
        total += 1
        header.append(byte)
        switch header.count {
        case 1 where byte != 22:
            result =
                message.isEmpty ? .notTLS : .malformed("a record of type \(byte) is in the hello")
        case 2 where byte != 3:
            result = message.isEmpty ? .notTLS : .malformed("a record has another version")
        case 5:
            recordRest = Int(header[3]) << 8 | Int(header[4])
            header = []
            if !(1...16384).contains(recordRest) {
                result = .malformed("a record of \(recordRest) bytes is none")
            }
        default: break
        }
    }

    private mutating func readContent(_ rest: inout ByteReader) {
        let count = min(recordRest, rest.rest.count)
        guard let content = rest.take(count) else { return }
        total += count
        recordRest -= count
        message += content
        guard message.first == 1 else {
            result = .malformed("the first message is of type \(message.first ?? 0)")
            return
        }
        guard message.count >= 4 else { return }
        let length = message[1...3].reduce(0) { $0 << 8 | Int($1) }
        guard 4 + length <= ClientHello.maximumBytes else {
            result = .malformed("the hello is larger than \(ClientHello.maximumBytes) bytes")
            return
        }
        guard message.count >= 4 + length else { return }
        guard message.count == 4 + length, recordRest == 0 else {
            result = .malformed("something follows the hello in its record")
            return
        }
        do throws(ClientHello.Mistake) {
            result = .hello(try ClientHello(body: message[4...]))
        } catch {
            result = .malformed(error.text)
        }
        message = []
    }
}
