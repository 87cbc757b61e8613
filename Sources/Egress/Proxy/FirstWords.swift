/// Collects what a client says first and looks at it as it comes. The work is bounded: a client
/// that sends byte by byte must not cost the thread that carries everybody's data.
struct FirstWords {
    /// How often bytes that are no TLS are looked at from their beginning. Real requests come in
    /// one or two pieces.
    private static let maximumLooks = 256

    private var bytes: [UInt8] = []
    private var looks = 0
    private var hello: ClientHelloReader?

    /// Takes what has come and says what all of it is. After another result than `needsMore`, no
    /// more is to be fed.
    mutating func feed(_ new: some Collection<UInt8>) -> Inspection {
        // A hello is read on from where it stands.
        if hello != nil { return Inspection(hello?.feed(new)) }
        bytes += new
        looks += 1
        guard looks <= Self.maximumLooks else { return .refused("bytes that come one by one") }
        let result = Inspection(of: bytes)
        if result == .needsMore, RequestSniff(bytes) == .tls {
            var reader = ClientHelloReader()
            let state = Inspection(reader.feed(bytes))
            hello = reader
            bytes = []
            return state
        }
        return result
    }
}
