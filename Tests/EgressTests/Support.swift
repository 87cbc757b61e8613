/// SplitMix64: the same numbers in every run.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }

    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) }
    }

    /// `seed` with a few bytes changed, added or taken away, or cut.
    mutating func mutated(_ seed: [UInt8]) -> [UInt8] {
        var bytes = seed
        for _ in 0..<Int.random(in: 1...4, using: &self) {
            let place = Int.random(in: 0...bytes.count, using: &self)
            // Zeros, ones and all bits are what lengths go wrong by.
            let byte =
                Bool.random(using: &self)
                ? UInt8.random(in: 0...255, using: &self)
                : [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xff].randomElement(using: &self) ?? 0
            switch Int.random(in: 0...8, using: &self) {
            case 0: bytes.insert(byte, at: place)
            case 1 where place < bytes.count: bytes.remove(at: place)
            case 2: bytes.removeSubrange(place...)
            case _ where place < bytes.count: bytes[place] = byte
            default: bytes.append(byte)
            }
        }
        return bytes
    }
}

extension UInt16 {
    var network: [UInt8] { [UInt8(self >> 8), UInt8(truncatingIfNeeded: self)] }
}
