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
        guard mkdir(directory, 0o755) == 0 || errno == EEXIST, mkdir(path, 0o755) == 0 else {
            throw WireError(
                code: .storageFailed, message: "\(path): \(String(cString: strerror(errno)))")
        }
        guard chmod(path, 0o755) == 0 else {
            throw WireError(
                code: .storageFailed, message: "\(path): \(String(cString: strerror(errno)))")
        }
        return Staged(path: path)
    }

    /// Copies `source` with files, directories and links; modes become a+rX.
    func copy(_ source: String, maximumBytes: Int) throws -> Staged {
        let staged = try stage()
        do {
            var budget = maximumBytes
            try copyContents(of: source, to: staged.path, budget: &budget)
            return staged
        } catch {
            remove(staged.path)
            throw error
        }
    }

    private func copyContents(of source: String, to target: String, budget: inout Int) throws {
        let manager = FileManager.default
        for name in try manager.contentsOfDirectory(atPath: source).sorted() {
            let from = source + "/" + name
            let to = target + "/" + name
            let attributes = try manager.attributesOfItem(atPath: from)
            switch attributes[.type] as? FileAttributeType {
            case .typeDirectory:
                try manager.createDirectory(atPath: to, withIntermediateDirectories: false)
                chmod(to, 0o755)
                try copyContents(of: from, to: to, budget: &budget)
            case .typeRegular:
                budget -= (attributes[.size] as? Int ?? 0) + 512
                guard budget >= 0 else {
                    throw WireError(code: .tooLarge, message: "\(source) is too large for an agent")
                }
                try manager.copyItem(atPath: from, toPath: to)
                let mode = (attributes[.posixPermissions] as? Int ?? 0) & 0o111 != 0 ? 0o755 : 0o644
                chmod(to, mode_t(mode))
            case .typeSymbolicLink:
                let link = try manager.destinationOfSymbolicLink(atPath: from)
                if !link.hasPrefix("/"), !link.split(separator: "/").contains("..") {
                    try manager.createSymbolicLink(atPath: to, withDestinationPath: link)
                }
            default: continue
            }
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
