internal import Glibc
internal import Settings

/// A socket address of the kernel as bytes (ip(7), ipv6(7)): family, port in network order, then
/// for IPv4 the address, for IPv6 four bytes of flow and the address.
struct SocketName {
    /// Bytes that hold every kind of address.
    private static let size = MemoryLayout<sockaddr_storage>.size

    let address: IPAddress
    let port: UInt16

    /// Nil for another family than IPv4 and IPv6, and for too few bytes.
    init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= 8 else { return nil }
        let octets: UnsafeRawBufferPointer.SubSequence
        switch Int32(bytes.loadUnaligned(as: sa_family_t.self)) {
        case AF_INET: octets = bytes[4..<8]
        case AF_INET6 where bytes.count >= 24: octets = bytes[8..<24]
        default: return nil
        }
        guard let address = IPAddress(octets: octets) else { return nil }
        self.address = address
        port = UInt16(bytes[2]) << 8 | UInt16(bytes[3])
    }

    /// What `read` writes, a call like getsockname(2); nil where it fails.
    init?(
        _ read: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
    ) {
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.size, alignment: 8)
        defer { bytes.deallocate() }
        guard let base = bytes.baseAddress else { return nil }
        var length = socklen_t(Self.size)
        guard read(base.assumingMemoryBound(to: sockaddr.self), &length) == 0 else { return nil }
        self.init(UnsafeRawBufferPointer(rebasing: bytes[..<min(Self.size, Int(length))]))
    }
}
