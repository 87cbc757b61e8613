import Foundation
import Testing

@testable import Archive

/// A directory that is removed when the test lets go of it.
final class TemporaryDirectory {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "archive-tests-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o700])
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func callAsFunction(_ name: String) -> String { path + "/" + name }

    func write(_ name: String, _ text: String, mode: Int = 0o644) throws {
        let whole = self(name)
        let parent = (whole as NSString).deletingLastPathComponent
        try FileManager.default.createDirectory(atPath: parent, withIntermediateDirectories: true)
        try Data(text.utf8).write(to: URL(fileURLWithPath: whole))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: whole)
    }

    func read(_ name: String) throws -> String {
        String(decoding: try Data(contentsOf: URL(fileURLWithPath: self(name))), as: UTF8.self)
    }

    func exists(_ name: String) -> Bool {
        var info = stat()
        return lstat(self(name), &info) == 0
    }

    func mode(_ name: String) -> Int {
        var info = stat()
        return lstat(self(name), &info) == 0 ? Int(info.st_mode & 0o7777) : -1
    }

    func link(_ name: String, to target: String) throws {
        try FileManager.default.createSymbolicLink(
            atPath: self(name), withDestinationPath: target)
    }

    /// Every name below, with the kind: `a/`, `a/b`, `a/c -> b`.
    func listing() throws -> [String] {
        try FileManager.default.subpathsOfDirectory(atPath: path).sorted().map { name in
            var info = stat()
            lstat(self(name), &info)
            switch info.st_mode & S_IFMT {
            case S_IFDIR: return name + "/"
            case S_IFLNK:
                let target = try FileManager.default.destinationOfSymbolicLink(atPath: self(name))
                return name + " -> " + target
            default: return name
            }
        }
    }
}

/// An entry with its data.
struct Made: Sendable {
    var entry: TarEntry
    var data: [UInt8] = []

    static func file(_ name: String, _ data: String = "", mode: UInt32 = 0o644) -> Made {
        Made(
            entry: TarEntry(
                kind: .file, name: Array(name.utf8), mode: mode, size: Int64(data.utf8.count)),
            data: Array(data.utf8))
    }

    static func directory(_ name: String, mode: UInt32 = 0o755) -> Made {
        let slashed = name.hasSuffix("/") ? name : name + "/"
        return Made(entry: TarEntry(kind: .directory, name: Array(slashed.utf8), mode: mode))
    }

    static func other(_ kind: TarEntry.Kind, _ name: String, to target: String = "") -> Made {
        Made(
            entry: TarEntry(
                kind: kind, name: Array(name.utf8), linkTarget: Array(target.utf8)))
    }
}

/// The bytes of an archive.
func archive(_ entries: [Made]) -> [UInt8] {
    var writer = TarWriter()
    var bytes: [UInt8] = []
    for made in entries {
        bytes += writer.header(made.entry) + made.data + writer.wrote(made.data.count)
    }
    return bytes + writer.trailer()
}

/// Entries and their data, parsed in pieces of one size.
func parse(_ bytes: [UInt8], chunk: Int = .max) throws -> [Made] {
    var parser = TarParser()
    var result: [Made] = []
    var rest = bytes[...]
    while !rest.isEmpty {
        for event in try parser.feed(rest.prefix(chunk)) {
            switch event {
            case .entry(let entry): result.append(Made(entry: entry, data: []))
            case .data(let data): result[result.count - 1].data += data
            case .endOfEntry, .endOfArchive: break
            }
        }
        rest = rest.dropFirst(chunk)
    }
    try parser.finish()
    return result
}

/// Extracts an archive below `directory`.
@discardableResult
func extract(
    _ bytes: [UInt8], into directory: TemporaryDirectory,
    _ selection: TarExtractor.Options.Selection = .below(""),
    modes: TarExtractor.Options.Modes = .keep(mask: 0o022), links: LinkRule = .insideTree,
    limits: TarExtractor.Options.Limits = .init(),
    firstFile: TarExtractor.Options.FirstFile? = nil, chunk: Int = 1000
) throws -> TarExtractor.Summary {
    let extractor = TarExtractor(
        into: try DirectoryHandle(path: directory.path),
        options: .init(
            selection: selection, modes: modes, links: links, limits: limits,
            firstFile: firstFile))
    var rest = bytes[...]
    while !rest.isEmpty {
        try extractor.feed(rest.prefix(chunk))
        rest = rest.dropFirst(chunk)
    }
    return try extractor.finish()
}

/// Everything a packer gives.
func pack(_ packer: TarPacker) throws -> [UInt8] {
    var bytes: [UInt8] = []
    while let piece = try packer.next() { bytes += piece }
    return bytes
}

/// The code of the archive error that `body` throws.
func code(of body: () throws -> Void) -> ArchiveError.Code? {
    do {
        try body()
        return nil
    } catch {
        return (error as? ArchiveError)?.code
    }
}
