internal import CSandbox

/// One frame of the wire (`csandbox_header` and payload), see `CSandbox/include/csandbox.h`.
struct Packet: Sendable {
    var type: UInt16
    var request: UInt32 = 0
    var offset: UInt64 = 0
    var payload: [UInt8] = []
    var descriptor: PassedDescriptor?

    init(
        _ type: csandbox_frame_type, request: UInt32 = 0, offset: UInt64 = 0, payload: [UInt8] = []
    ) {
        self.type = UInt16(type.rawValue)
        self.request = request
        self.offset = offset
        self.payload = payload
    }

    /// Nil when the bytes are no frame of this version.
    init?(bytes: UnsafeRawBufferPointer, descriptor: PassedDescriptor?) {
        let size = MemoryLayout<csandbox_header>.size
        guard bytes.count >= size else { return nil }
        let header = bytes.loadUnaligned(as: csandbox_header.self)
        guard header.magic == CSANDBOX_WIRE_MAGIC, header.version == CSANDBOX_WIRE_VERSION,
            Int(header.length) == bytes.count - size
        else { return nil }
        type = header.type
        request = header.request
        offset = header.offset
        payload = [UInt8](bytes[size...])
        self.descriptor = descriptor
    }

    func encoded() -> [UInt8] {
        var header = csandbox_header(
            magic: CSANDBOX_WIRE_MAGIC, version: UInt16(CSANDBOX_WIRE_VERSION), type: type,
            length: UInt32(payload.count), request: request, offset: offset)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(MemoryLayout<csandbox_header>.size + payload.count)
        withUnsafeBytes(of: &header) { bytes.append(contentsOf: $0) }
        bytes.append(contentsOf: payload)
        return bytes
    }

    func `is`(_ other: csandbox_frame_type) -> Bool { type == UInt16(other.rawValue) }
}

/// Builds and reads payloads made of fields.
struct Fields: Sendable {
    private(set) var items: [(tag: UInt16, value: ArraySlice<UInt8>)] = []

    init() {}

    /// Nil when the payload is not a list of whole fields.
    init?(_ payload: [UInt8]) {
        let size = MemoryLayout<csandbox_field>.size
        var rest = payload[...]
        while !rest.isEmpty {
            guard rest.count >= size else { return nil }
            let field = rest.withUnsafeBytes { $0.loadUnaligned(as: csandbox_field.self) }
            guard Int(field.length) <= rest.count - size else { return nil }
            let start = rest.startIndex + size
            items.append((field.tag, rest[start..<start + Int(field.length)]))
            rest = rest[(start + Int(field.length))...]
        }
    }

    mutating func add(_ tag: csandbox_tag, _ bytes: some Sequence<UInt8>) {
        items.append((UInt16(tag.rawValue), ArraySlice(Array(bytes))))
    }

    mutating func add(_ tag: csandbox_tag, _ text: String) { add(tag, text.utf8) }

    mutating func add(_ tag: csandbox_tag, _ number: UInt64) {
        withUnsafeBytes(of: number.littleEndian) { add(tag, $0) }
    }

    var payload: [UInt8] {
        var bytes: [UInt8] = []
        for item in items {
            var field = csandbox_field(tag: item.tag, zero: 0, length: UInt32(item.value.count))
            withUnsafeBytes(of: &field) { bytes.append(contentsOf: $0) }
            bytes.append(contentsOf: item.value)
        }
        return bytes
    }

    func bytes(_ tag: csandbox_tag) -> ArraySlice<UInt8>? {
        items.first { $0.tag == UInt16(tag.rawValue) }?.value
    }

    func text(_ tag: csandbox_tag) -> String? {
        bytes(tag).map { String(decoding: $0, as: UTF8.self) }
    }

    func texts(_ tag: csandbox_tag) -> [String] {
        items.filter { $0.tag == UInt16(tag.rawValue) }.map {
            String(decoding: $0.value, as: UTF8.self)
        }
    }

    func number(_ tag: csandbox_tag) -> UInt64? {
        guard let value = bytes(tag), value.count == 8 else { return nil }
        return value.withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self)) }
    }
}

extension Fields {
    /// The error that a FAILED frame carries.
    var failure: SandboxError {
        SandboxError(
            .refused, stage: text(CSANDBOX_TAG_STAGE) ?? "unknown",
            errno: Int32(truncatingIfNeeded: number(CSANDBOX_TAG_ERRNO) ?? 0),
            detail: text(CSANDBOX_TAG_DETAIL) ?? "")
    }
}
