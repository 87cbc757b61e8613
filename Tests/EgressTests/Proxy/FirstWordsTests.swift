import Testing

@testable import Egress

@Suite("What a client says first, byte by byte")
struct FirstWordsTests {
    @Test func whatCannotBeReadIsRefused() {
        for bytes in [
            Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8),
            Array("GET /".utf8) + [UInt8](repeating: 0x61, count: 20_000),
            [0x16, 3, 1, 0, 4, 9, 9, 9, 9], [0x15, 3, 1, 0, 2, 1, 0], [0x14, 3, 3, 0, 1, 1],
            [0x80, 0x2e, 1, 3, 1, 0], [0x80, 0x2e, 1, 0, 2, 0],
        ] {
            let result = Inspection(of: bytes)
            guard case .refused = result else {
                Issue.record("\(result) for \(bytes.prefix(20))")
                continue
            }
            // Nothing of it is passed on before it is whole, however it is cut.
            var words = FirstWords()
            var last = Inspection.needsMore
            for byte in bytes where last == .needsMore { last = words.feed([byte]) }
            #expect(last != .other && last != .needsMore, "\(bytes.prefix(20))")
        }
    }
}
