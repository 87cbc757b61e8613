import CSandbox
import Testing

@testable import Sandbox

@Suite("The wire to launcher and init")
struct WireTests {
    @Test func framesAndFieldsRoundTrip() throws {
        var fields = Fields()
        fields.add(CSANDBOX_TAG_SESSION, "abc")
        fields.add(CSANDBOX_TAG_PID, 1 << 40)
        fields.add(CSANDBOX_TAG_ARG, "one")
        fields.add(CSANDBOX_TAG_ARG, "")
        let bytes = Packet(
            CSANDBOX_LAUNCHER_SPAWN, request: 7, offset: 9, payload: fields.payload
        ).encoded()
        let packet = try #require(bytes.withUnsafeBytes { Packet(bytes: $0, descriptor: nil) })
        #expect(packet.is(CSANDBOX_LAUNCHER_SPAWN) && packet.request == 7 && packet.offset == 9)
        let read = try #require(Fields(packet.payload))
        #expect(read.text(CSANDBOX_TAG_SESSION) == "abc")
        #expect(read.number(CSANDBOX_TAG_PID) == 1 << 40)
        #expect(read.texts(CSANDBOX_TAG_ARG) == ["one", ""])
        #expect(read.number(CSANDBOX_TAG_SESSION) == nil, "three bytes are no number")
    }

    @Test func headersAreChecked() {
        let good = Packet(CSANDBOX_OK, payload: [1, 2, 3]).encoded()
        for (index, name) in [(0, "magic"), (4, "version"), (8, "length")] {
            var bad = good
            bad[index] ^= 0xff
            #expect(bad.withUnsafeBytes { Packet(bytes: $0, descriptor: nil) } == nil, "\(name)")
        }
        for cut in 0..<good.count {
            #expect(good[..<cut].withUnsafeBytes { Packet(bytes: $0, descriptor: nil) } == nil)
        }
    }

    @Test func recordsRoundTripWithTheirOffsets() throws {
        func record(_ type: csandbox_record_type, _ payload: [UInt8]) -> [UInt8] {
            var header = csandbox_record(
                length: UInt32(payload.count), type: UInt16(type.rawValue), zero: 0, generation: 3)
            return withUnsafeBytes(of: &header) { Array($0) } + payload
        }
        var exit = csandbox_exit(status: -1, signal: 9, user_us: 1, system_us: 2, max_rss_kib: 3)
        let bytes =
            record(CSANDBOX_RECORD_STDOUT, [65]) + record(CSANDBOX_RECORD_STDOUT_EOF, [])
            + record(CSANDBOX_RECORD_EXITED, withUnsafeBytes(of: &exit) { Array($0) })
        let records = try #require(LogRecord.parse(bytes, offset: 1000))
        #expect(records.map(\.end) == [1017, 1033, 1000 + UInt64(bytes.count)])
        #expect(records[0].event == .stdout([65]))
        #expect(
            records[2].event
                == .exited(
                    AgentExit(
                        status: -1, signal: 9, userMicroseconds: 1, systemMicroseconds: 2,
                        maximumResidentKiB: 3)))
        for cut in 1..<16 { #expect(LogRecord.parse(Array(bytes[..<cut]), offset: 0) == nil) }
    }

    /// A launcher of an earlier version says nothing about quotas, which is not the same as none.
    @Test func quotasOfTheFileSystem() throws {
        var fields = Fields()
        #expect(DiskQuota(fields) == nil)
        fields.add(CSANDBOX_TAG_QUOTA_BYTES, 0)
        fields.add(CSANDBOX_TAG_QUOTA_FILES, 7)
        let answer = try #require(Fields(fields.payload))
        let none = try #require(DiskQuota(answer))
        #expect(none == DiskQuota(bytes: 0, files: 7))
        var plan = SandboxPlan(session: "a", block: 0, nonce: [], linger: 0)
        try plan.check(nil)
        plan.needsDiskQuota = true
        for quota in [none, nil] {
            let error = #expect(throws: SandboxError.self) { try plan.check(quota) }
            #expect(error?.code == .refused && error?.stage == "limits")
        }
        try plan.check(DiskQuota(bytes: 1, files: 0))
    }

    /// A hostile init can send anything: it is refused or read, never fatal.
    @Test func noiseIsHarmless() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<20_000 {
            let length = Int.random(in: 0..<200, using: &random)
            var bytes = (0..<length).map { _ in UInt8.random(in: .min ... .max, using: &random) }
            if length > 16, Bool.random(using: &random) {
                bytes[1] = 0
                bytes[2] = 0
                bytes[3] = 0
                bytes[5] = 0
            }
            _ = Fields(bytes)?.failure
            _ = LogRecord.parse(bytes, offset: .random(in: 0...(1 << 40), using: &random))
            _ = bytes.withUnsafeBytes { Packet(bytes: $0, descriptor: nil) }
        }
    }
}
