import Foundation

/// A function's place in a file.
struct FunctionExtent: Equatable {
    var name: String
    /// First line of the declaration, from 1.
    var line: Int
    /// Lines from there to the closing brace.
    var length: Int

    /// The functions of Swift code: `func`, `init`, `deinit` and `subscript` that have a body.
    static func inSwift(_ source: Blanked) -> [FunctionExtent] {
        let keyword =
            /\b(?:func\s+(?<name>[^\s(<]+)|(?<other>init|deinit|subscript)(?=[?<({\s]))/
            .wordBoundaryKind(.simple)
        let text = source.code
        var result: [FunctionExtent] = []
        for match in text.matches(of: keyword) {
            if match.output.name == nil, !isDeclaration(text, before: match.range.lowerBound) {
                continue
            }
            let name = String(match.output.name ?? match.output.other ?? "")
            guard let open = bodyStart(text, from: match.range.upperBound),
                let close = matchingBrace(text, open)
            else { continue }
            result.append(extent(name, text, match.range.lowerBound, close))
        }
        return result
    }

    /// True when `init` here declares an initialiser and does not call one.
    private static func isDeclaration(_ text: String, before index: String.Index) -> Bool {
        let line =
            text[..<index].split(separator: "\n", omittingEmptySubsequences: false).last ?? ""
        let words = line.split(separator: " ")
        let modifiers: Set<Substring> = [
            "public", "internal", "private", "fileprivate", "package", "convenience", "required",
            "override", "static", "nonisolated", "isolated", "mutating", "borrowing", "consuming",
        ]
        return words.allSatisfy { modifiers.contains($0) || $0.hasPrefix("@") }
    }

    /// The brace that opens the body of a declaration; nil where it has none (a protocol's
    /// requirement).
    private static func bodyStart(_ text: String, from start: String.Index) -> String.Index? {
        var depth = 0
        var index = start
        while index < text.endIndex {
            switch text[index] {
            case "(", "[": depth += 1
            case ")", "]": depth -= 1
            case "{" where depth == 0: return index
            case "}" where depth == 0: return nil
            case "\n" where depth == 0:
                let rest = text[text.index(after: index)...].drop { $0 == " " }
                let next = rest.prefix { $0.isLetter || $0 == "@" || $0 == "{" || $0 == "-" }
                let goesOn = ["{", "where", "throws", "async", "-"].contains { next.hasPrefix($0) }
                if !goesOn, !rest.hasPrefix("->") { return nil }
            default: break
            }
            index = text.index(after: index)
        }
        return nil
    }

    /// The functions of C code: braces at the outermost level after a closing parenthesis.
    static func inC(_ source: Blanked) -> [FunctionExtent] {
        let text = withoutDirectives(source)
        var result: [FunctionExtent] = []
        var declaration = text.startIndex
        var index = text.startIndex
        while index < text.endIndex {
            switch text[index] {
            case ";": declaration = text.index(after: index)
            case "{":
                guard let close = matchingBrace(text, index) else { return result }
                let whole = text[declaration..<index]
                let head = whole.replacing(/__attribute__\s*\(\(.*?\)\)/, with: "")
                let first = whole.firstIndex { !$0.isWhitespace }
                if let first, head.contains("("), !head.contains("=") {
                    result.append(extent(cName(head), text, first, close))
                }
                index = close
                declaration = text.index(after: close)
            default: break
            }
            index = text.index(after: index)
        }
        return result
    }

    private static func withoutDirectives(_ source: Blanked) -> String {
        var goesOn = false
        return source.lines.map { line in
            let isDirective = goesOn || line.hasPrefix("#")
            goesOn = isDirective && line.hasSuffix("\\")
            return isDirective ? "" : String(line)
        }.joined(separator: "\n")
    }

    /// The name before the first parenthesis.
    private static func cName(_ head: Substring) -> String {
        head.firstMatch(of: /(?<name>[A-Za-z_]\w*)\s*\(/).map { String($0.output.name) } ?? ""
    }

    private static func matchingBrace(_ text: String, _ open: String.Index) -> String.Index? {
        var depth = 0
        for index in text.utf8[open...].indices {
            switch text.utf8[index] {
            case UInt8(ascii: "{"): depth += 1
            case UInt8(ascii: "}"):
                depth -= 1
                if depth == 0 { return index }
            default: break
            }
        }
        return nil
    }

    private static func extent(
        _ name: String, _ text: String, _ start: String.Index, _ end: String.Index
    ) -> FunctionExtent {
        let line = text.utf8[..<start].count { $0 == UInt8(ascii: "\n") } + 1
        return FunctionExtent(
            name: name, line: line,
            length: text.utf8[start...end].count { $0 == UInt8(ascii: "\n") } + 1)
    }
}
