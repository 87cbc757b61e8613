import Foundation

/// The source tree that these tests look at.
enum Repository {
    /// `LINT_ROOT`, or the tree that this file is in.
    static let root: URL = {
        if let other = ProcessInfo.processInfo.environment["LINT_ROOT"], !other.isEmpty {
            return URL(fileURLWithPath: other)
        }
        var url = URL(fileURLWithPath: #filePath)
        for _ in 0..<3 { url.deleteLastPathComponent() }
        return url
    }()

    /// A file of the tree, with its path relative to the root.
    struct File: Sendable {
        let path: String
        let text: String
        /// Empty for what is neither Swift nor C.
        let blanked: Blanked

        init(path: String, text: String) {
            self.path = path
            self.text = text
            let isSwift = path.hasSuffix(".swift")
            let isCode = isSwift || path.hasSuffix(".c") || path.hasSuffix(".h")
            blanked = Blanked(isCode ? text : "", isSwift: isSwift)
        }

        var lines: [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }
        var isSwift: Bool { path.hasSuffix(".swift") }
        var isC: Bool { path.hasSuffix(".c") || path.hasSuffix(".h") }
    }

    /// What git tracks or would track; the whole tree where there is no git.
    static let paths: [String] = {
        let listed = try? Command.output(
            "git", "-c", "safe.directory=*", "-C", root.path, "ls-files", "-z", "--cached",
            "--others", "--exclude-standard")
        if let listed, !listed.isEmpty {
            let names = listed.split(separator: "\0").map(String.init)
            return names.filter { FileManager.default.fileExists(atPath: root.path + "/" + $0) }
        }
        let walk = FileManager.default.enumerator(atPath: root.path)
        let all = (walk?.compactMap { $0 as? String } ?? [])
        return all.filter { !$0.hasPrefix(".build") && !$0.hasPrefix(".git/") }
    }()

    /// Every text file.
    static let files: [File] = paths.sorted().compactMap { path in
        guard let data = FileManager.default.contents(atPath: root.path + "/" + path),
            let text = String(data: data, encoding: .utf8)
        else { return nil }
        return File(path: path, text: text)
    }

    /// Swift files below `Sources`.
    static let swiftSources = files.filter { $0.isSwift && $0.path.hasPrefix("Sources/") }

    /// Swift and C, tests included.
    static let code = files.filter { $0.isSwift || $0.isC }

    static func text(_ path: String) throws -> String {
        try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
    }
}
