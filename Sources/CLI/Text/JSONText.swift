/// JSON as the command line prints it.
enum JSONText {
    /// `json` with every character that a terminal may act on written as `\uXXXX`.
    ///
    /// Encoders escape C0 controls; C1, DEL and direction controls stand unescaped, always inside
    /// strings, where the escaped form means the same.
    static func clean(_ json: String) -> String {
        var result = String.UnicodeScalarView()
        for scalar in json.unicodeScalars {
            switch scalar.value {
            case 0x7F..<0xA0, 0x061C, 0x200E...0x200F, 0x2028...0x202E, 0x2066...0x2069:
                result.append(contentsOf: escaped(scalar).unicodeScalars)
            default:
                result.append(scalar)
            }
        }
        return String(result)
    }

    /// `clean` for the bytes of an answer.
    static func clean(_ json: [UInt8]) -> String {
        clean(String(decoding: json, as: UTF8.self))
    }

    private static func escaped(_ scalar: Unicode.Scalar) -> String {
        let digits = String(scalar.value, radix: 16)
        return "\\u" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }
}
