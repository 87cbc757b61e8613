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
    static let stringColumns = 200

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
            let strings = file.blanked.strings.split(
                separator: "\n", omittingEmptySubsequences: false)
            for (index, line) in file.lines.enumerated() where line.count > limit {
                let mask = Array(strings[index].utf8)
                let isText = mask.count > limit && mask[limit - 1] == UInt8(ascii: "\"")
                if isText ? line.count <= Self.stringColumns : Self.isTable(line) { continue }
                problems.append("\(file.path):\(index + 1): \(line.count) columns")
            }
        }
        expectNone(problems)
    }

    /// A comment in columns, which wrapping would spoil.
    private static func isTable(_ line: Substring) -> Bool {
        let text = line.drop { $0 == " " }
        return text.hasPrefix("//") && text.dropFirst(5).contains("   ") && line.count <= 120
    }
}
