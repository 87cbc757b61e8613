internal import Settings

/// Questions for names as a session's programs send them, and the answers to them (RFC 1035).
///
/// Only what a stub resolver sends is understood: one question of class IN, and an OPT record
/// (RFC 6891) at most. Nothing of what is asked ever leaves the host.
public enum DNSMessage {
    /// Bytes of a message that is looked at.
    public static let maximumBytes = 4096
    /// Seconds that a program may keep an address.
    public static let timeToLive: UInt32 = 5
    /// What is said about the own buffer in OPT, in bytes.
    static let announcedBytes: UInt16 = 1232

    /// Kinds of records that make a difference here.
    enum RecordType {
        static let address: UInt16 = 1
        static let options: UInt16 = 41
        static let any: UInt16 = 255
        /// Transfers of zones and what else is a question only: RFC 6895, section 3.1.
        static let questions: ClosedRange<UInt16> = 128...254
    }

    enum Code: UInt16 {
        case noError = 0
        case formatError = 1
        case notImplemented = 4
        case refused = 5
        /// In part in the OPT record.
        case badVersion = 16
    }

    /// What came in.
    public enum Reading: Sendable, Hashable {
        case query(DNSQuery)
        /// It is no query that can be understood; this is to be sent.
        case answer([UInt8])
        /// Too short for an answer, or an answer itself: nothing is to be sent.
        case ignored
    }

    /// Reads one message. Whatever the bytes are, the work is bounded by `maximumBytes`.
    public static func read(_ bytes: some Collection<UInt8>) -> Reading {
        guard (12...maximumBytes).contains(bytes.count) else { return .ignored }
        var reader = ByteReader(bytes)
        guard let id = reader.number(bytes: 2), let flags = reader.number(bytes: 2),
            flags & 0x8000 == 0
        else { return .ignored }
        let header = Header(id: UInt16(id), flags: UInt16(flags))
        guard flags & 0x7800 == 0 else { return .answer(header.answer(.notImplemented)) }
        guard let counts = reader.take(8),
            counts.elementsEqual([0, 1, 0, 0, 0, 0, 0, 0])
                || counts.elementsEqual([0, 1, 0, 0, 0, 0, 0, 1]),
            let question = Question(&reader)
        else { return .answer(header.answer(.formatError)) }
        var options: Options?
        if counts.last == 1 {
            guard let found = Options(&reader) else {
                return .answer(header.answer(.formatError))
            }
            options = found
        }
        guard reader.isAtEnd else { return .answer(header.answer(.formatError)) }
        let query = DNSQuery(header: header, question: question, options: options)
        if let options, options.version > 0 { return .answer(query.answer(.badVersion)) }
        guard question.recordClass == 1 else { return .answer(query.refused) }
        return .query(query)
    }

    /// The first four bytes.
    struct Header: Sendable, Hashable {
        var id: UInt16
        var flags: UInt16

        /// The beginning of an answer: QR, the opcode and RD of the query, RA, and the code.
        func answer(_ code: Code, questions: UInt16 = 0, answers: UInt16 = 0, others: UInt16 = 0)
            -> [UInt8]
        {
            let own = 0x8080 | (flags & 0x7900) | (code.rawValue & 0xf)
            return [id, own, questions, answers, 0, others].flatMap(DNSMessage.bytes)
        }
    }

    /// The only question of a message.
    struct Question: Sendable, Hashable {
        /// As it came, upper case and all: some resolvers compare it.
        var bytes: [UInt8]
        /// Nil for what no host is called.
        var name: HostName?
        var type: UInt16
        var recordClass: UInt16

        /// Labels in full only: a question comes first, there is nothing a pointer could lead to.
        init?(_ reader: inout ByteReader) {
            var bytes: [UInt8] = []
            var text: [UInt8] = []
            var isHost = true
            while true {
                guard let length = reader.byte(), length <= 63,
                    bytes.count + Int(length) + 1 <= 255,
                    let label = reader.take(Int(length))
                else { return nil }
                bytes.append(length)
                if length == 0 { break }
                bytes += label
                // A dot in a label would make two of it.
                if label.contains(UInt8(ascii: ".")) { isHost = false }
                if !text.isEmpty { text.append(UInt8(ascii: ".")) }
                text += label
            }
            guard let type = reader.number(bytes: 2), let recordClass = reader.number(bytes: 2)
            else { return nil }
            self.type = UInt16(type)
            self.recordClass = UInt16(recordClass)
            self.bytes = bytes + DNSMessage.bytes(self.type) + DNSMessage.bytes(self.recordClass)
            name = isHost ? try? HostName(text) : nil
        }
    }

    /// The OPT record of a query.
    struct Options: Sendable, Hashable {
        var version: UInt8
        /// DNSSEC is asked for, which the answer has to repeat (RFC 3225).
        var wantsSignatures: Bool

        init?(_ reader: inout ByteReader) {
            guard reader.byte() == 0, reader.number(bytes: 2) == Int(RecordType.options),
                reader.number(bytes: 2) != nil, reader.byte() != nil,
                let version = reader.byte(), let flags = reader.number(bytes: 2),
                reader.vector(lengthBytes: 2) != nil
            else { return nil }
            self.version = version
            wantsSignatures = flags & 0x8000 != 0
        }

        func answer(_ code: Code) -> [UInt8] {
            [0] + DNSMessage.bytes(RecordType.options) + DNSMessage.bytes(announcedBytes)
                + [UInt8(code.rawValue >> 4), 0, wantsSignatures ? 0x80 : 0, 0, 0, 0]
        }
    }

    static func bytes(_ number: UInt16) -> [UInt8] {
        [UInt8(number >> 8), UInt8(truncatingIfNeeded: number)]
    }
}
