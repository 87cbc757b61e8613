// The layout of a tar header: POSIX.1-1988 (ustar), POSIX.1-2001 (pax) and GNU tar's additions.

/// Positions and sizes in a header block.
enum TarFormat {
    static let blockSize = 512

    static let name = 0..<100
    static let mode = 100..<108
    static let uid = 108..<116
    static let gid = 116..<124
    static let size = 124..<136
    static let modified = 136..<148
    static let checksum = 148..<156
    static let type = 156
    static let linkName = 157..<257
    static let magic = 257..<263
    static let version = 263..<265
    static let prefix = 345..<500

    /// Bytes that fill the last block of `size` bytes.
    static func padding(_ size: Int64) -> Int {
        Int((Int64(blockSize) - size % Int64(blockSize)) % Int64(blockSize))
    }

    /// The sum of all bytes of a header, its checksum field taken as spaces.
    static func checksum(of block: ArraySlice<UInt8>) -> Int {
        var sum = 0
        for (index, byte) in block.enumerated() {
            sum += checksum.contains(index) ? 0x20 : Int(byte)
        }
        return sum
    }
}
