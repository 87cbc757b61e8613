/// Text from agents and clients, made harmless for terminals and logs.
public enum TerminalText {
    /// Control characters (C0, DEL, C1) other than tab become U+FFFD, line ends a space.
    public static func neutralised(_ text: String) -> String {
        var result = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0x09: result.append(scalar)
            case 0x0a, 0x0d: result.append(" ")
            case 0..<0x20, 0x7f..<0xa0: result.append("\u{fffd}")
            default: result.append(scalar)
            }
        }
        return String(result)
    }

    /// A session's title (spec row 4): white space folded, control characters removed, at most 200
    /// characters. Nil when nothing is left.
    public static func title(_ message: String) -> String? {
        let visible = message.unicodeScalars.lazy.map { scalar -> Unicode.Scalar? in
            switch scalar.value {
            case 0x09...0x0d, 0x20, 0x85, 0xa0, 0x2028, 0x2029: " "
            case 0..<0x20, 0x7f..<0xa0, 0x200b...0x200f, 0x202a...0x202e, 0x2066...0x2069, 0xfeff:
                nil
            default: scalar
            }
        }
        var view = String.UnicodeScalarView()
        view.append(contentsOf: visible.compactMap(\.self).prefix(4000))
        let words = String(view).split(separator: " ")
        var folded = words.joined(separator: " ").prefix(200)
        // The schema counts code points, of which one character may have many.
        while folded.unicodeScalars.count > 200 { folded.removeLast() }
        return folded.isEmpty ? nil : String(folded)
    }
}
