internal import Foundation

/// What `deploy` uploads.
struct Deployment: Sendable {
    static let fileName = "superserve.yaml"
    private static let definitionLimit = 1 << 20

    /// The bytes of superserve.yaml.
    var definition: [UInt8]
    /// The directory with the agent's files; nil where the definition names none.
    var source: String?

    /// Reads superserve.yaml in `directory`.
    init(directory: String) throws(CLIError) {
        let base = directory.isEmpty ? "." : directory
        let path = base + "/" + Self.fileName
        guard LocalPath.exists(path) else {
            throw CLIError("\(Self.fileName) not found in \(directory)")
        }
        guard let handle = FileHandle(forReadingAtPath: path),
            let data = try? handle.read(upToCount: Self.definitionLimit + 1)
        else { throw CLIError("Cannot read \(path)") }
        guard data.count <= Self.definitionLimit else {
            throw CLIError("\(path) is larger than \(Self.definitionLimit) bytes")
        }
        definition = [UInt8](data)
        guard let named = Self.source(in: String(decoding: definition, as: UTF8.self)) else {
            return
        }
        let source = named.hasPrefix("/") ? named : base + "/" + named
        guard LocalPath.isDirectory(source) else {
            throw CLIError("The source '\(named)' of \(path) is not a directory")
        }
        self.source = source
    }

    /// The value of a top-level `source:`. The supervisor reads the file properly; this only needs
    /// to know what to upload.
    static func source(in definition: String) -> String? {
        for line in definition.split(whereSeparator: \.isNewline) {
            guard let match = line.wholeMatch(of: /source:\s+(.+)/) else { continue }
            return unquoted(match.output.1)
        }
        return nil
    }

    private static func unquoted(_ value: Substring) -> String? {
        if let quote = value.first, quote == "\"" || quote == "'" {
            let inner = value.dropFirst().prefix { $0 != quote }
            return inner.isEmpty ? nil : String(inner)
        }
        guard value.first != "#" else { return nil }
        let plain = value.firstRange(of: " #").map { value[..<$0.lowerBound] } ?? value
        let trimmed = plain.trimmingSuffix(while: \.isWhitespace)
        return trimmed.isEmpty || trimmed == "~" || trimmed == "null" ? nil : String(trimmed)
    }

    /// Files that are never uploaded: repositories, secrets, caches.
    static func excludes(_ name: [UInt8]) -> Bool {
        let text = String(decoding: name, as: UTF8.self)
        return [".git", "__pycache__", ".superserve"].contains(text) || text.hasPrefix(".env")
    }
}
