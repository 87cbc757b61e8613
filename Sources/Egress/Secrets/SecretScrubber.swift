internal import Glibc
internal import NIOCore
internal import NIOHTTP1

/// Puts the stand-in in the place of the key wherever an answer has it: some servers say back what
/// they were asked with. Lengths stay as they are. Nothing waits but a beginning of the key at the
/// end of what has come, so streams stay alive.
struct SecretScrubber {
    private let key: [UInt8]
    private let replacement: [UInt8]
    /// For each place of the key, how much of its start ends there too (Knuth, Morris and Pratt).
    private let borders: [Int]
    /// The key's first bytes that came last.
    private var held = 0

    init(_ value: SecretValue, standIn: [UInt8]) {
        key = value.reveal()
        replacement = key.indices.map { standIn.isEmpty ? 0x2a : standIn[$0 % standIn.count] }
        borders = Self.borders(key)
    }

    private static func borders(_ key: [UInt8]) -> [Int] {
        var borders = [Int](repeating: 0, count: key.count)
        var length = 0
        for index in key.indices.dropFirst() {
            while length > 0, key[index] != key[length] { length = borders[length - 1] }
            if key[index] == key[length] { length += 1 }
            borders[index] = length
        }
        return borders
    }

    /// What can be passed on after these bytes have come.
    mutating func feed(_ new: ByteBuffer) -> ByteBuffer {
        var bytes = new
        if held > 0 {
            bytes = ByteBufferAllocator().buffer(capacity: held + new.readableBytes)
            bytes.writeBytes(key[..<held])
            bytes.writeImmutableBuffer(new)
        }
        replaceAll(in: &bytes)
        held = beginning(atEndOf: bytes)
        return bytes.readSlice(length: bytes.readableBytes - held) ?? bytes
    }

    /// What was still waiting: the answer has ended, so it was no key.
    mutating func finish() -> ByteBuffer? {
        defer { held = 0 }
        return held > 0 ? ByteBuffer(bytes: key[..<held]) : nil
    }

    private func replaceAll(in bytes: inout ByteBuffer) {
        var from = bytes.readerIndex
        while let found = find(in: bytes, from: from) {
            bytes.setBytes(replacement, at: found)
            from = found + key.count
        }
    }

    private func find(in bytes: ByteBuffer, from index: Int) -> Int? {
        let offset = index - bytes.readerIndex
        return bytes.withUnsafeReadableBytes { all in
            key.withUnsafeBytes { key in
                Self.find(key, in: UnsafeRawBufferPointer(rebasing: all.dropFirst(offset)))
            }
        }.map { index + $0 }
    }

    /// The C library looks for the first byte many at a time.
    private static func find(
        _ key: UnsafeRawBufferPointer, in text: UnsafeRawBufferPointer
    ) -> Int? {
        guard let start = text.baseAddress, let first = key.baseAddress else { return nil }
        var place = 0
        while text.count - place >= key.count {
            let room = text.count - place - key.count + 1
            guard let found = memchr(start + place, Int32(key[0]), room) else { return nil }
            if memcmp(found, first, key.count) == 0 { return UnsafeRawPointer(found) - start }
            place = UnsafeRawPointer(found) - start + 1
        }
        return nil
    }

    /// Bytes at the end that may be the beginning of the key, the whole of which is not in there.
    private func beginning(atEndOf bytes: ByteBuffer) -> Int {
        bytes.withUnsafeReadableBytes { all in
            var length = 0
            for byte in all.suffix(key.count - 1) {
                while length > 0, byte != key[length] { length = borders[length - 1] }
                if byte == key[length] { length += 1 }
            }
            return length
        }
    }

    /// Headers without the key.
    func clean(_ headers: HTTPHeaders) -> HTTPHeaders {
        HTTPHeaders(
            headers.map { (name, value) in
                var bytes = ByteBuffer(string: value)
                guard find(in: bytes, from: bytes.readerIndex) != nil else { return (name, value) }
                replaceAll(in: &bytes)
                return (name, String(buffer: bytes))
            })
    }

    /// A head without the key, also in the words beside the status.
    func clean(_ head: HTTPResponseHead) -> HTTPResponseHead {
        HTTPResponseHead(
            version: head.version, status: .init(statusCode: Int(head.status.code)),
            headers: clean(head.headers))
    }
}
