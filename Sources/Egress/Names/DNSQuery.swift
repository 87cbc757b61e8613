public import Settings

/// One question, and the bytes of each answer that it can get.
public struct DNSQuery: Sendable, Hashable {
    let header: DNSMessage.Header
    let question: DNSMessage.Question
    let options: DNSMessage.Options?

    /// Nil for what no host is called: there is no answer but `refused`.
    public var name: HostName? { question.name }

    /// The type of the question: 1 for A, 28 for AAAA, 65 for HTTPS, and so on.
    public var type: UInt16 { question.type }

    /// REFUSED: programs give up at once. NXDOMAIN would make them try other names, silence would
    /// make them wait.
    public var refused: [UInt8] { answer(.refused) }

    /// NOERROR without a record: the name is there, but has nothing of this type.
    public var empty: [UInt8] { answer(.noError) }

    /// The answer by the address that stands for the name; nil where the name is not allowed.
    ///
    /// Addresses of names lead nowhere but to the supervisor, so names of addresses
    /// (`in-addr.arpa`, `ip6.arpa`) are refused whatever the policy is.
    public func answer(_ address: (HostName) -> IPAddress?) -> [UInt8] {
        guard let name, !Self.isReverse(name), !DNSMessage.RecordType.questions.contains(type),
            case .v4(let value)? = address(name)
        else { return refused }
        guard type == DNSMessage.RecordType.address || type == DNSMessage.RecordType.any else {
            return empty
        }
        return answer(.noError, address: value)
    }

    private static func isReverse(_ name: HostName) -> Bool {
        let labels = name.text.split(separator: ".").suffix(2)
        return labels == ["in-addr", "arpa"] || labels == ["ip6", "arpa"]
    }

    func answer(_ code: DNSMessage.Code, address: UInt32? = nil) -> [UInt8] {
        var bytes = header.answer(
            code, questions: 1, answers: address == nil ? 0 : 1, others: options == nil ? 0 : 1)
        bytes += question.bytes
        if let address {
            // A pointer to the name of the question, which begins at byte 12.
            bytes += [0xc0, 12]
            bytes += [DNSMessage.RecordType.address, 1].flatMap(DNSMessage.bytes)
            let time = DNSMessage.timeToLive
            bytes += [UInt16(time >> 16), UInt16(truncatingIfNeeded: time), 4].flatMap(
                DNSMessage.bytes)
            bytes += IPAddress.v4(address).octets
        }
        if let options { bytes += options.answer(code) }
        return bytes
    }
}
