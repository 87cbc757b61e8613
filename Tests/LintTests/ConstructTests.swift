import Foundation
import Testing

/// What may not be written, and where.
@Suite struct ConstructTests {
    /// A construct that sources do without.
    struct Ban: Sendable, CustomTestStringConvertible {
        var name: String
        /// Code that the pattern finds: a ban that finds nothing must be able to.
        var example: String
        var pattern: String
        var exempt: [String] = []

        var testDescription: String { name }

        func regex() throws -> Regex<AnyRegexOutput> {
            try Regex(pattern).wordBoundaryKind(.simple)
        }
    }

    static let swiftBans = [
        Ban(name: "try!", example: "try! f()", pattern: #"\btry!"#),
        Ban(name: "as!", example: "a as! B", pattern: #"\bas!"#),
        Ban(name: "force unwrap", example: "f(x)!.y", pattern: #"[\w\)\]]!(?![=\w])"#),
        Ban(
            name: "@unchecked Sendable", example: "class A: @unchecked Sendable {",
            pattern: #"@unchecked\s+Sendable"#),
        Ban(
            name: "nonisolated(unsafe)", example: "nonisolated(unsafe) var a = 1",
            pattern: #"nonisolated\(unsafe\)"#),
        Ban(name: "Task.detached", example: "Task.detached { }", pattern: #"\bTask\.detached\b"#),
        Ban(
            name: "fatalError", example: "fatalError()",
            pattern: #"\b(fatalError|preconditionFailure)\b"#),
        Ban(
            name: "DispatchQueue.main", example: "DispatchQueue.main.async {",
            pattern: #"\bDispatchQueue\.main\b"#),
        Ban(
            name: "blocking sleep", example: "usleep(1)",
            pattern: #"(?:^|[^\w.])(u|nano)?sleep\s*\("#),
        // Where a program speaks to the person who started it.
        Ban(
            name: "print", example: "print(a)",
            pattern: #"(?:^|[^\w.])(debugPrint|print|dump)\s*\("#,
            exempt: ["Sources/CLI/", "Sources/Daemon/Places.swift", "Sources/superserved/"]),
        Ban(name: "fork", example: "fork()", pattern: #"(?:^|[^\w.])v?fork\s*\("#),
        Ban(
            name: "NSLock", example: "let a = NSLock()",
            pattern: #"\b(NSLock|NSRecursiveLock|pthread_mutex_lock)\b"#),
    ]

    static let cBans = [
        Ban(
            name: "unbounded copy", example: "strcpy(a, b);",
            pattern: #"\b(strcpy|strcat|sprintf|vsprintf|gets|stpcpy)\s*\("#
        ),
        Ban(name: "shell", example: "system(a);", pattern: #"(?:^|[^\w>.])(system|popen)\s*\("#),
        Ban(name: "stack of unknown size", example: "p = alloca(n);", pattern: #"\balloca\s*\("#),
        Ban(
            name: "sleep", example: "nanosleep(&t, 0);",
            pattern: #"\b(usleep|sleep|nanosleep)\s*\("#),
        Ban(
            name: "hidden state", example: "getpwnam(a);",
            pattern: #"\b(strtok|getpwnam|getpwuid|getgrnam|gethostbyname)\s*\("#),
    ]

    @Test(arguments: swiftBans + cBans)
    func bansFindTheirExample(_ ban: Ban) throws {
        #expect(ban.example.contains(try ban.regex()))
        #expect(!"let harmless = a != b && !c".contains(try ban.regex()))
    }

    @Test(arguments: swiftBans)
    func swiftDoesWithout(_ ban: Ban) throws {
        expectNone(try Self.places(ban, in: Repository.swiftSources))
    }

    @Test(arguments: cBans)
    func cDoesWithout(_ ban: Ban) throws {
        let files = Repository.code.filter { $0.isC && !$0.path.hasPrefix("Tests/") }
        expectNone(try Self.places(ban, in: files))
    }

    private static func places(_ ban: Ban, in files: [Repository.File]) throws -> [String] {
        let pattern = try ban.regex()
        return files.filter { !ban.exempt.contains(where: $0.path.hasPrefix) }.flatMap { file in
            file.blanked.lines.enumerated().filter { $0.element.contains(pattern) }.map {
                "\(file.path):\($0.offset + 1): \(ban.name)"
            }
        }
    }

    @Test func nothingIsLeftForLater() throws {
        let words = try Regex(["\\b(TO", "DO|FIX", "ME|X", "XX)\\b"].joined()).wordBoundaryKind(
            .simple)
        var problems: [String] = []
        for file in Repository.code where !file.path.hasPrefix("Tests/LintTests/") {
            let lines = file.blanked.comments.split(
                separator: "\n", omittingEmptySubsequences: false)
            for (index, line) in lines.enumerated() where line.contains(words) {
                problems.append("\(file.path):\(index + 1):\(line)")
            }
        }
        expectNone(problems)
    }

    /// Symbols of other libraries in the same program must not meet ours.
    @Test func cSymbolsHaveThePrefix() {
        var problems: [String] = []
        for file in Repository.code where file.path.hasPrefix("CSandbox/") && file.isC {
            let blanked = file.blanked
            for function in FunctionExtent.inC(blanked) where !function.name.hasPrefix("csandbox_")
            {
                guard !blanked.lines[function.line - 1].contains("static") else { continue }
                problems.append("\(file.path):\(function.line): \(function.name)")
            }
        }
        expectNone(problems)
    }
}
