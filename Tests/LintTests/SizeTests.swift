import Foundation
import Testing

/// Small files, short functions, short lines.
@Suite struct SizeTests {
    static let longestFile = 400
    static let longestFunction = 70
    /// Columns. C has long names and is written to 120.
    static let swiftColumns = 100
    static let cColumns = 120
    /// A sentence for people or a statement of SQL is not broken for the sake of the margin.
    static let stringColumns = 180

    @Test func filesAreShort() {
        expectNone(
            Repository.code.filter { $0.lines.count - 1 > Self.longestFile }.map {
                "\($0.path): \($0.lines.count - 1) lines"
            })
    }

    @Test func functionsAreShort() {
        var problems: [String] = []
        for file in Repository.code {
            let blanked = file.blanked
            let functions =
                file.isSwift ? FunctionExtent.inSwift(blanked) : FunctionExtent.inC(blanked)
            for function in functions where function.length > Self.longestFunction {
                problems.append(
                    "\(file.path):\(function.line): \(function.name): \(function.length) lines")
            }
        }
        expectNone(problems)
    }

    @Test func linesAreShort() {
        var problems: [String] = []
        for file in Repository.code {
            let limit = file.isSwift ? Self.swiftColumns : Self.cColumns
            guard file.lines.contains(where: { $0.count > limit }) else { continue }
            let code = file.blanked.lines
            for (index, line) in file.lines.enumerated() where line.count > limit {
                let isText = file.isSwift && Self.isMostlyString(line, code: code[index], limit)
                if isText, line.count <= Self.stringColumns { continue }
                problems.append("\(file.path):\(index + 1): \(line.count) columns")
            }
        }
        expectNone(problems)
    }

    /// True when only the content of a string goes over the margin.
    private static func isMostlyString(_ line: Substring, code: Substring, _ limit: Int) -> Bool {
        if line.drop(while: { $0 == " " }).hasPrefix("//") { return false }
        let closing: Set<Character> = [" ", "\"", ",", ")"]
        guard let last = code.lastIndex(where: { !closing.contains($0) }) else { return true }
        return code.distance(from: code.startIndex, to: last) < limit
    }
}
