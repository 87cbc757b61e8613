/// Takes bytes from the front; whatever is asked for beyond the end is nil.
struct ByteReader {
    private(set) var rest: ArraySlice<UInt8>

    init(_ bytes: some Collection<UInt8>) { rest = Array(bytes)[...] }
    init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

    var isAtEnd: Bool { rest.isEmpty }

    mutating func byte() -> UInt8? { rest.popFirst() }

    /// An unsigned number of up to 7 bytes in network order.
    mutating func number(bytes count: Int) -> Int? {
        take(count).map { $0.reduce(0) { $0 << 8 | Int($1) } }
    }

    mutating func take(_ count: Int) -> ArraySlice<UInt8>? {
        guard rest.count >= count else { return nil }
        defer { rest = rest.dropFirst(count) }
        return rest.prefix(count)
    }

    /// What a length of `count` bytes announces; nil where less is there.
    mutating func vector(lengthBytes count: Int) -> ArraySlice<UInt8>? {
        number(bytes: count).flatMap { take($0) }
    }
}
