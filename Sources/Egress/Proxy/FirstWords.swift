/// Collects what a client says first and looks at it as it comes. The work is bounded: a client
/// that sends byte by byte must not cost the thread that carries everybody's data.
struct FirstWords {
    /// How often bytes that are no TLS are looked at from their beginning. Real requests come in
    /// one or two pieces.
    private static let maximumLooks = 256

    private var bytes: [UInt8] = []
    private var looks = 0
    private var hello: ClientHelloReader?

    /// What has come so far may be passed on as it is: it names no host yet, and is no TLS.
    var mayPassOn: Bool { hello == nil && bytes.first.map(Self.isText) == true }

    /// Bytes that begin a word or a line, not a record of TLS.
    private static func isText(_ byte: UInt8) -> Bool {
        (0x09...0x0d).contains(byte) || (0x20...0x7e).contains(byte)
    }

    /// Takes what has come and says what all of it is. After another result than `needsMore`, no
    /// more is to be fed.
    mutating func feed(_ new: some Collection<UInt8>) -> Inspection {
        // A hello is read on from where it stands.
        if let result = hello?.feed(new) { return Inspection(result) }
        bytes += new
        looks += 1
        guard looks <= Self.maximumLooks else { return .refused("bytes that come one by one") }
        guard RequestSniff(bytes) == .tls else { return Inspection(of: bytes) }
        var reader = ClientHelloReader()
        defer {
            hello = reader
            bytes = []
        }
        return Inspection(reader.feed(bytes))
    }
}
