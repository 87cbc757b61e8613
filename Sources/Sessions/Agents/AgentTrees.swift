internal import API
internal import Foundation

/// The supervisor's copies of agents' source trees, one directory each. Sessions mount them
/// read-only, so everything in them is readable by everybody and writable by nobody else.
public struct AgentTrees: Sendable {
    /// A tree that is in place; `path` is what sessions mount.
    public struct Staged: Sendable, Hashable {
        public var path: String
    }

    private let directory: String

    init(directory: String) { self.directory = directory }

    /// A new empty directory.
    func stage() throws(WireError) -> Staged {
        let name = RandomID.bytes(12).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        let path = directory + "/" + name
        guard mkdir(directory, 0o755) == 0 || errno == EEXIST, mkdir(path, 0o755) == 0,
            chmod(path, 0o755) == 0
        else {
            throw WireError(
                code: .storageFailed, message: "\(path): \(String(cString: strerror(errno)))")
        }
        return Staged(path: path)
    }

    /// Copies `source` with files, directories and links; modes become a+rX.
    func copy(_ source: String, maximumBytes: Int) throws -> Staged {
        let staged = try stage()
        do {
            var copy = TreeCopy(of: source, maximumBytes: maximumBytes)
            try copy.run(into: staged.path)
            return staged
        } catch {
            remove(staged.path)
            throw error
        }
    }

    /// Changes whenever a file of the tree changes: names, sizes, times of change and modes
    /// (FNV-1a).
    func fingerprint(_ source: String?) -> String {
        guard let source, let walk = FileManager.default.enumerator(atPath: source) else {
            return ""
        }
        var lines: [String] = []
        while let name = walk.nextObject() as? String, lines.count < 100_000 {
            guard let found = try? FileManager.default.attributesOfItem(atPath: source + "/" + name)
            else { continue }
            let changed = (found[.modificationDate] as? Date)?.timeIntervalSince1970 ?? 0
            let mode = (found[.posixPermissions] as? NSNumber)?.intValue ?? 0
            let size = (found[.size] as? NSNumber)?.int64Value ?? 0
            lines.append("\(name) \(mode) \(size) \(changed)")
        }
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for line in lines.sorted() {
            for byte in line.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        }
        return String(hash, radix: 16)
    }

    /// Deletes what no version refers to: uploads that were under way when a supervisor died.
    func sweep(keeping known: Set<String>) {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
        for name in names where !known.contains(directory + "/" + name) {
            remove(directory + "/" + name)
        }
    }

    /// Deletes a copy; only what lies directly below the copies' directory.
    func remove(_ path: String) {
        guard path.hasPrefix(directory + "/"), !path.dropFirst(directory.count + 1).contains("/")
        else {
            return
        }
        try? FileManager.default.removeItem(atPath: path)
    }
}
