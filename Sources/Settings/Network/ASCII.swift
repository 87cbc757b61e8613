/// What bytes of names and numbers mean. Nothing here knows of characters: what is checked are the
/// bytes that are used afterwards.
enum ASCII {
    /// A decimal number without leading zeros, sign or space; nil above `maximum`.
    static func decimal(_ text: some Collection<UInt8>, maximum: Int) -> Int? {
        guard let first = text.first, text.count <= 9 else { return nil }
        if first == UInt8(ascii: "0"), text.count > 1 { return nil }
        var value = 0
        for byte in text {
            guard isDigit(byte) else { return nil }
            value = value * 10 + Int(byte - UInt8(ascii: "0"))
        }
        return value <= maximum ? value : nil
    }

    static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

    static func isLetter(_ byte: UInt8) -> Bool {
        (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
    }

    static func hexadecimal(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x41 + 10
        case 0x61...0x66: byte - 0x61 + 10
        default: nil
        }
    }

    static func lowercased(_ byte: UInt8) -> UInt8 {
        (0x41...0x5a).contains(byte) ? byte + 0x20 : byte
    }

    /// For messages: what cannot be printed is shown as `\xNN`, and no more than 80 bytes.
    static func shown(_ text: some Collection<UInt8>) -> String {
        var result = ""
        for byte in text.prefix(80) {
            if (0x20...0x7e).contains(byte), byte != UInt8(ascii: "\\") {
                result.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                let digits = String(byte, radix: 16)
                result += "\\x" + (byte < 16 ? "0" : "") + digits
            }
        }
        return text.count > 80 ? result + "…" : result
    }
}
