import Foundation
import Testing

/// A public declaration says what it is for.
///  Needs `///`: types, functions and subscripts. Values, aliases, cases and plain initialisers may
/// go without where their type has one. So may what implements a protocol: the requirement is
/// documented there.
@Suite struct DocumentationTests {
    @Test func publicDeclarationsAreDocumented() throws {
        let requirements = Self.requirements
        let attributes = #"(?:@\w+(?:\([^)]*\))?\s+)*"#
        let modifiers = #"(?:\w+(?:\([^)]*\))?\s+)*?"#
        let kinds = "func|struct|class|enum|actor|protocol|subscript|macro"
        let declaration = try Regex(
            #"^\s*\#(attributes)public\s+\#(modifiers)(\#(kinds))\s+([^\s(<:]+)"#,
            as: (Substring, Substring, Substring).self)
        var problems: [String] = []
        for file in Repository.swiftSources {
            let lines = file.lines
            for (index, line) in file.blanked.lines.enumerated() {
                guard let match = line.firstMatch(of: declaration) else { continue }
                let name = String(match.output.2)
                if match.output.1 == "func", requirements.contains(name) { continue }
                if isDocumented(lines, index) { continue }
                problems.append("\(file.path):\(index + 1): \(match.output.1) \(name)")
            }
        }
        expectNone(problems)
    }

    private func isDocumented(_ lines: [Substring], _ index: Int) -> Bool {
        var above = index - 1
        while above >= 0 {
            let line = lines[above].drop { $0 == " " }
            if line.hasPrefix("///") { return true }
            guard line.hasPrefix("@") else { return false }
            above -= 1
        }
        return false
    }

    /// Names of functions that a protocol asks for: of the language, of packages, of our own.
    private static var requirements: Set<String> {
        var names: Set = [
            "encode", "hash", "makeAsyncIterator", "next", "log", "run", "handle", "validate", "==",
            "<",
        ]
        let requirement = /^\s+func\s+(?<name>[^\s(<]+)/
        for file in Repository.swiftSources {
            var isInside = false
            for line in file.blanked.lines {
                if line.contains(/^\s*(?:public |package )?protocol\s/) { isInside = true }
                if line.hasPrefix("}") { isInside = false }
                guard isInside, let match = line.firstMatch(of: requirement) else { continue }
                names.insert(String(match.output.name))
            }
        }
        return names
    }
}
