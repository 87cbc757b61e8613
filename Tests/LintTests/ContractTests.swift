import Foundation
import Testing

/// Names that stand in two places are the same in both.
@Suite struct ContractTests {
    @Test func everySettingIsDocumented() throws {
        let keys = try keys(in: "Sources/Settings/SupervisorConfig.swift")
        let yaml = try Repository.text("config/superserved.yaml")
        let lines = yaml.split(separator: "\n").filter { !$0.hasPrefix("#") }
        let shown = Set(lines.compactMap { $0.split(separator: ":").first.map(String.init) })
        #expect(keys == shown)
        let manual = try Repository.text("docs/operations.md")
        expectNone(keys.filter { !manual.contains("`\($0)`") }.sorted())
    }

    @Test func everyKeyOfAnAgentIsDocumented() throws {
        let manual = try Repository.text("docs/agents.md")
        let keys = try keys(in: "Sources/Settings/AgentDefinition.swift")
        expectNone(keys.filter { !manual.contains("`\($0)`") }.sorted())
    }

    private func keys(in path: String) throws -> Set<String> {
        let text = try Repository.text(path)
        let list = try #require(text.firstMatch(of: /static let keys = \[(?<list>[^\]]*)\]/))
        let names = list.output.list.split(separator: "\"").enumerated().filter {
            $0.offset % 2 == 1
        }
        return Set(names.map { String($0.element) })
    }

    @Test func everyErrorCodeIsDocumented() throws {
        let manual = try Repository.text("docs/api.md")
        let source = try Repository.text("Sources/API/WireError.swift")
        let pattern = try Regex(#"Self\(rawValue: "([a-z_]+)"\)"#)
        let codes = source.matches(of: pattern).map { String($0.output[1].substring ?? "") }
        #expect(codes.count > 5)
        expectNone(codes.filter { !manual.contains("`\($0)`") })
    }

    @Test func everyEventIsDocumented() throws {
        let manual = try Repository.text("docs/api.md")
        let source = try Repository.text("Sources/API/WireEvent.swift")
        let pattern = try Regex(#"Self\(rawValue: "([a-z.]+)"\)"#)
        let types = source.matches(of: pattern).map { String($0.output[1].substring ?? "") }
        #expect(types.count > 5)
        expectNone(types.filter { !manual.contains("`\($0)`") })
    }

    @Test func everyRouteIsDocumented() throws {
        let manual = try Repository.text("docs/api.md")
        let source = try Repository.text("Sources/API/Paths.swift")
        let routes = source.matches(
            of: /\/\/   (?<method>GET|POST|PUT|DELETE) +(?<path>\/[^ ?\n]*)/)
        #expect(routes.count > 5)
        expectNone(
            routes.map { "\($0.output.method) \($0.output.path)" }.filter { !manual.contains($0) })
    }

    /// A path of somebody's own machine helps nobody else. Root has hidden directories everywhere.
    @Test func noPathOfABuildMachine() throws {
        let pattern = try Regex("(?:^|[^\\w./-])/(" + ["wo", "rk|ro", "ot"].joined() + ")/[^.]")
        var problems: [String] = []
        for file in Repository.files where file.text.contains(pattern) {
            for (index, line) in file.lines.enumerated() where line.contains(pattern) {
                problems.append("\(file.path):\(index + 1): \(line.prefix(120))")
            }
        }
        expectNone(problems)
    }

    /// Relative links of the documents lead somewhere.
    @Test func linksLeadSomewhere() throws {
        var problems: [String] = []
        let link = try Regex(#"\]\(([^)#:]+)(#[^)]*)?\)"#)
        for file in Repository.files where file.path.hasSuffix(".md") {
            let directory = URL(fileURLWithPath: file.path, relativeTo: Repository.root)
                .deletingLastPathComponent()
            for match in file.text.matches(of: link) {
                let target = String(match.output[1].substring ?? "")
                let path = directory.appendingPathComponent(target).path
                if !FileManager.default.fileExists(atPath: path) {
                    problems.append("\(file.path): \(target)")
                }
            }
        }
        expectNone(problems)
    }
}
