/// Source text whose comments and string contents are blanks: what is left is code, at its old
/// place.
struct Blanked: Sendable {
    /// Without comments and strings.
    let code: String
    /// Only the comments.
    let comments: String
    /// `"` wherever a string is, with its quotes and what is interpolated into it; else blank.
    let strings: String

    var lines: [Substring] { code.split(separator: "\n", omittingEmptySubsequences: false) }

    init(_ text: String, isSwift: Bool) {
        var scanner = Scanner(bytes: Array(text.utf8), isSwift: isSwift)
        scanner.run()
        code = String(decoding: scanner.code, as: UTF8.self)
        comments = String(decoding: scanner.comments, as: UTF8.self)
        strings = String(decoding: scanner.strings, as: UTF8.self)
    }

    private struct Scanner {
        let bytes: [UInt8]
        let isSwift: Bool
        var code: [UInt8]
        var comments: [UInt8]
        var strings: [UInt8]
        var position = 0

        init(bytes: [UInt8], isSwift: Bool) {
            self.bytes = bytes
            self.isSwift = isSwift
            let blank = bytes.map { $0 == UInt8(ascii: "\n") ? $0 : UInt8(ascii: " ") }
            code = blank
            comments = blank
            strings = blank
        }

        private func at(_ text: StaticString, _ offset: Int = 0) -> Bool {
            let start = position + offset
            guard start + text.utf8CodeUnitCount <= bytes.count else { return false }
            for index in 0..<text.utf8CodeUnitCount
            where bytes[start + index] != text.utf8Start[index] {
                return false
            }
            return true
        }

        mutating func run() {
            while position < bytes.count { step() }
        }

        /// One comment, string or byte of code.
        private mutating func step() {
            if at("//") {
                while position < bytes.count, !at("\n") { copyComment() }
            } else if at("/*") {
                blockComment()
            } else if at("\"") || (isSwift && rawStringHashes > 0) {
                string()
            } else if !isSwift, at("'") {
                character()
            } else if isSwift, at("/"), isRegexStart {
                regex()
            } else {
                copyCode()
            }
        }

        /// True where a slash can only begin a regex literal: an operator has a value before it.
        private var isRegexStart: Bool {
            guard position + 1 < bytes.count, bytes[position + 1] != UInt8(ascii: " ") else {
                return false
            }
            var before = position - 1
            while before >= 0, bytes[before] == UInt8(ascii: " ") { before -= 1 }
            guard before >= 0 else { return true }
            return "(,=:[{\n".utf8.contains(bytes[before])
        }

        private mutating func regex() {
            copyCode()
            while position < bytes.count, !at("/"), !at("\n") { position += at("\\") ? 2 : 1 }
            if position < bytes.count { copyCode() }
        }

        private mutating func copyComment() {
            comments[position] = bytes[position]
            position += 1
        }

        private mutating func copyCode() {
            code[position] = bytes[position]
            position += 1
        }

        private mutating func blockComment() {
            var depth = 0
            repeat {
                if at("/*"), isSwift || depth == 0 {
                    depth += 1
                    copyComment()
                } else if at("*/") {
                    depth -= 1
                    copyComment()
                }
                if position < bytes.count { copyComment() }
            } while depth > 0 && position < bytes.count
        }

        private mutating func character() {
            copyCode()
            while position < bytes.count, !at("'"), !at("\n") { position += at("\\") ? 2 : 1 }
            if position < bytes.count { copyCode() }
        }

        /// The number of `#` before a quote here, 0 when this is no raw string.
        private var rawStringHashes: Int {
            var end = position
            while end < bytes.count, bytes[end] == UInt8(ascii: "#") { end += 1 }
            return end < bytes.count && bytes[end] == UInt8(ascii: "\"") ? end - position : 0
        }

        private mutating func string() {
            let start = position
            defer {
                let end = min(position, bytes.count)
                for index in start..<end where bytes[index] != UInt8(ascii: "\n") {
                    strings[index] = UInt8(ascii: "\"")
                }
            }
            let hashes = at("\"") ? 0 : rawStringHashes
            for _ in 0..<hashes { copyCode() }
            let isLong = isSwift && at("\"\"\"")
            for _ in 0..<(isLong ? 3 : 1) { copyCode() }
            while position < bytes.count {
                if !isLong, at("\n") { return }
                if isEnd(hashes: hashes, isLong: isLong) {
                    for _ in 0..<((isLong ? 3 : 1) + hashes) { copyCode() }
                    return
                }
                if at("\\"), hashes == 0 || isHashes(hashes, after: 1) {
                    position += 1 + hashes
                    if isSwift, at("(") {
                        interpolation()
                    } else {
                        position += 1
                    }
                } else {
                    position += 1
                }
            }
        }

        private func isHashes(_ count: Int, after offset: Int) -> Bool {
            let start = position + offset
            return start + count <= bytes.count
                && bytes[start..<start + count].allSatisfy { $0 == UInt8(ascii: "#") }
        }

        private func isEnd(hashes: Int, isLong: Bool) -> Bool {
            isLong
                ? at("\"\"\"") && isHashes(hashes, after: 3)
                : at("\"") && isHashes(hashes, after: 1)
        }

        /// Code inside a string.
        private mutating func interpolation() {
            var depth = 0
            repeat {
                if at("(") { depth += 1 }
                if at(")") { depth -= 1 }
                step()
            } while depth > 0 && position < bytes.count
        }
    }
}
