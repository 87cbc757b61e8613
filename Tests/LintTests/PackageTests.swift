import Foundation
import Testing

/// `Package.swift` against the plan of the house.
@Suite struct PackageTests {
    /// Every target of ours and its floor: what a target uses lies on a lower floor.
    static let floors = [
        "API": 0, "Archive": 0, "CSandbox": 0, "Settings": 0,
        "Sandbox": 1, "Client": 1,
        "AgentProtocols": 2, "Egress": 2,
        "Sessions": 3,
        "Storage": 4, "Gateway": 4, "Server": 4, "CLI": 4,
        "Daemon": 5,
        "superserve": 6, "superserved": 6, "superserve-launcher": 6,
    ]

    /// What a client is made of knows nothing of the supervisor's inside.
    static let clients: Set = ["API", "Archive", "Client", "CLI", "Settings", "superserve"]

    struct Target: Sendable {
        var name: String
        var kind: String
        var dependencies: [String]
    }

    static func targets() throws -> [Target] {
        let text = try Repository.text("Package.swift")
        let start = try Regex(#"\.(target|executableTarget|testTarget)\(\s*name: "([^"]+)""#)
        let matches = text.matches(of: start)
        return matches.enumerated().map { index, match in
            let end =
                index + 1 < matches.count ? matches[index + 1].range.lowerBound : text.endIndex
            let body = text[match.range.upperBound..<end]
            let list = body.range(of: "dependencies: ").map { body[$0.upperBound...] } ?? ""
            let names = floors.keys.filter { list.prefixOfList.contains("\"\($0)\"") }
            return Target(
                name: String(match.output[2].substring ?? ""),
                kind: String(match.output[1].substring ?? ""), dependencies: names.sorted())
        }
    }

    @Test func dependenciesPointDown() throws {
        let targets = try Self.targets()
        #expect(targets.count > Self.floors.count / 2, "Package.swift could not be read")
        var problems: [String] = []
        for target in targets where target.kind != "testTarget" {
            guard let floor = Self.floors[target.name] else {
                problems.append("\(target.name) has no floor in \(#fileID)")
                continue
            }
            for name in target.dependencies where (Self.floors[name] ?? Int.max) >= floor {
                problems.append("\(target.name) must not depend on \(name)")
            }
            guard Self.clients.contains(target.name) else { continue }
            for name in target.dependencies where !Self.clients.contains(name) {
                problems.append("\(target.name) is a client's and must not know \(name)")
            }
        }
        expectNone(problems)
    }

    /// What a file imports is declared: the package manager lets undeclared modules through.
    @Test func importsAreDeclared() throws {
        let declared = Dictionary(
            try Self.targets().map { ($0.name, Set($0.dependencies)) },
            uniquingKeysWith: { first, _ in first })
        let statement = try Regex(
            #"^\s*(?:@\w+(?:\([^)]*\))?\s+)?(?:\w+ )?import (\w+)"#,
            as: (Substring, Substring).self)
        var problems: [String] = []
        for file in Repository.swiftSources {
            let target = String(file.path.split(separator: "/")[1])
            for (index, line) in file.blanked.lines.enumerated() {
                guard let name = line.firstMatch(of: statement).map({ String($0.output.1) }),
                    Self.floors[name] != nil, declared[target]?.contains(name) != true
                else { continue }
                problems.append("\(file.path):\(index + 1): \(target) does not declare \(name)")
            }
        }
        expectNone(problems)
    }

    /// The compiler accepts the names of features that do not exist without a word.
    @Test func upcomingFeaturesExist() throws {
        let text = try Repository.text("Package.swift")
        let pattern = try Regex(#"enable(?:Upcoming|Experimental)Feature\("([^"]+)"\)"#)
        let wanted = Set(text.matches(of: pattern).map { String($0.output[1].substring ?? "") })
        #expect(wanted.contains("ExistentialAny"))
        let known = try Command.output("swiftc", "-print-supported-features")
        for name in wanted {
            #expect(known.contains("\"\(name)\""), "\(name) is no feature of this compiler")
        }
    }

    @Test func sourcesUseTheStrictSettings() throws {
        let text = try Repository.text("Package.swift")
        for directory in Set(Repository.swiftSources.map { $0.path.split(separator: "/")[1] }) {
            let pattern = try Regex(#"name: "\#(directory)",(?s:.)*?swiftSettings: strict"#)
            #expect(text.contains(pattern), "\(directory) is built without `strict`")
        }
    }
}

extension Substring {
    /// Up to the end of the list that begins here, other lists added to it included.
    fileprivate var prefixOfList: Substring {
        var depth = 0
        for index in indices {
            if self[index] == "[" { depth += 1 }
            if self[index] == "]" { depth -= 1 }
            if depth == 0, self[index] == "]" { return self[...index] }
        }
        return self
    }
}
