internal import Glibc

/// Extracts an archive that may be hostile into a held directory.
///
/// Nothing outside the directory is created, changed or read: names are checked, every step of a
/// path is opened from its parent without following links, devices and FIFOs are left out, set-id
/// bits are dropped, an existing link is never written through, and symbolic links come last, as
/// far as the link rule allows them. Calls block; the value belongs to one thread.
public final class TarExtractor {
    /// What to extract and how.
    public struct Options {
        /// Which entries are taken and under which names.
        public enum Selection: Sendable {
            /// Entries at or below this directory of the archive, without it; others are left out.
            case below(String)
            /// The first entry and what is below it; it gets this name, or, with nil, is the target
            /// directory itself. Anything else is an error.
            case top(renamed: [UInt8]?)
        }

        /// Which permission bits files and directories get.
        /// What becomes of permission bits.
        public enum Modes: Sendable {
            /// The archive's permission bits without those of the mask; owners can always enter
            /// directories.
            case keep(mask: UInt32)
            /// Everybody reads; who may execute is what the archive says of anybody.
            case normalised
        }

        /// How much an archive may contain.
        /// Bounds of one extraction; beyond them it fails.
        public struct Limits: Sendable {
            public var entries: Int
            /// Of all files together.
            public var bytes: Int64

            public init(entries: Int = 1_000_000, bytes: Int64 = 16 << 30) {
                self.entries = entries
                self.bytes = bytes
            }
        }

        /// A file at the start of the archive that is handed over instead of being extracted.
        public struct FirstFile {
            public var name: String
            public var limit: Int
            public var receive: ([UInt8]) throws -> Void

            public init(
                name: String, limit: Int, receive: @escaping ([UInt8]) throws -> Void
            ) {
                self.name = name
                self.limit = limit
                self.receive = receive
            }
        }

        public var selection: Selection
        public var modes: Modes
        public var links: LinkRule
        public var limits: Limits
        public var firstFile: FirstFile?

        public init(
            selection: Selection, modes: Modes, links: LinkRule = .insideTree,
            limits: Limits = Limits(), firstFile: FirstFile? = nil
        ) {
            self.selection = selection
            self.modes = modes
            self.links = links
            self.limits = limits
            self.firstFile = firstFile
        }
    }

    /// What came out of an archive.
    public struct Summary: Sendable {
        public var files = 0
        public var directories = 0
        public var links = 0
        public var bytes: Int64 = 0
        /// What was left out and why, one line each; only the first hundred.
        public var notes: [String] = []
        /// How many entries were left out.
        public var leftOut = 0
    }

    private enum Target {
        case none
        case leftOut
        case firstFile([UInt8])
        case file
    }

    private struct Link {
        var place: ArchivePath
        var path: ArchivePath
        var target: [UInt8]
    }

    private let options: Options
    private let tree: ExtractedTree
    private var parser = TarParser()
    private var target = Target.none
    private var summary = Summary()
    private var entries = 0
    private var top: ArchivePath?
    private var pendingLinks: [Link] = []

    public init(into directory: consuming DirectoryHandle, options: Options) {
        self.options = options
        tree = ExtractedTree(root: directory, modes: options.modes)
    }

    /// Takes the next bytes of the archive.
    ///
    /// - Throws: `ArchiveError`, or what the receiver of the first file threw. What was extracted
    ///   so far stays, but for the file in work.
    public func feed(_ bytes: ArraySlice<UInt8>) throws {
        do {
            for event in try parser.feed(bytes) { try handle(event) }
        } catch {
            tree.abandonFile()
            throw error
        }
    }

    /// True once the end of the archive was read.
    public var isComplete: Bool { parser.isComplete }

    /// Ends the extraction: makes the links and sets the modes of directories.
    public func finish() throws -> Summary {
        do {
            try parser.finish()
            if options.firstFile != nil, entries == 0 {
                throw ArchiveError(.unexpected, "The archive is empty")
            }
            for link in pendingLinks { try make(link) }
            try tree.setDirectoryModes()
        } catch {
            tree.abandonFile()
            throw error
        }
        return summary
    }

    private func handle(_ event: TarParser.Event) throws {
        switch event {
        case .entry(let entry): target = try begin(entry)
        case .data(let bytes):
            switch target {
            case .file: try tree.write(bytes)
            case .firstFile(let data): target = .firstFile(data + bytes)
            case .none, .leftOut: break
            }
        case .endOfEntry:
            switch target {
            case .file: try tree.endFile()
            case .firstFile(let data): try options.firstFile?.receive(data)
            case .none, .leftOut: break
            }
            target = .none
        case .endOfArchive: break
        }
    }

    private func begin(_ entry: TarEntry) throws -> Target {
        entries += 1
        guard entries <= options.limits.entries else {
            throw ArchiveError(
                .tooLarge, "The archive has more than \(options.limits.entries) entries")
        }
        let name = try ArchivePath(entry.name)
        if entries == 1, let first = options.firstFile {
            guard entry.kind == .file, name.text == first.name else {
                throw ArchiveError(
                    .unexpected, "The archive begins with '\(name.text)', not '\(first.name)'")
            }
            guard entry.size <= Int64(first.limit) else {
                throw ArchiveError(
                    .tooLarge,
                    "'\(first.name)' has \(entry.size) bytes; "
                        + "the limit is \(first.limit)")
            }
            return .firstFile([])
        }
        guard let (place, path) = try locate(entry, name) else { return .leftOut }
        let (total, overflow) = summary.bytes.addingReportingOverflow(entry.size)
        guard !overflow, total <= options.limits.bytes else {
            throw ArchiveError(
                .tooLarge, "The archive has more than \(options.limits.bytes) bytes of files")
        }
        summary.bytes = total
        return try extract(entry, place: place, path: path)
    }

    /// Place below the tree's own root, and path below the held directory; nil is left out.
    private func locate(
        _ entry: TarEntry, _ name: ArchivePath
    ) throws(ArchiveError) -> (ArchivePath, ArchivePath)? {
        switch options.selection {
        case .below(let prefix):
            let base = try ArchivePath(Array(prefix.utf8))
            return name.below(base).map { ($0, $0) }
        case .top(let renamed):
            let top = self.top ?? name
            self.top = top
            guard let place = name.below(top) else {
                throw ArchiveError(
                    .unexpected, "The archive has '\(name.text)' beside '\(top.text)'")
            }
            let head = renamed.map { [$0] } ?? []
            return (place, ArchivePath(unchecked: head + place.components))
        }
    }

    private func extract(
        _ entry: TarEntry, place: ArchivePath, path: ArchivePath
    ) throws(ArchiveError) -> Target {
        switch entry.kind {
        case .directory:
            try tree.makeDirectory(path, mode: entry.mode)
            summary.directories += 1
        case .file:
            guard !path.components.isEmpty else {
                throw ArchiveError(.unexpected, "The archive has a file in place of a directory")
            }
            try tree.beginFile(path, mode: entry.mode)
            summary.files += 1
            return .file
        case .symbolicLink:
            guard options.links.allows(place, entry.linkTarget) else {
                let target = String(decoding: entry.linkTarget, as: UTF8.self)
                leaveOut(entry, "a symbolic link that leads out of the copied tree, to '\(target)'")
                return .leftOut
            }
            pendingLinks.append(Link(place: place, path: path, target: entry.linkTarget))
        case .hardLink:
            let name = try ArchivePath(entry.linkTarget)
            guard let (_, source) = try locate(entry, name), !source.components.isEmpty else {
                leaveOut(entry, "a hard link to something outside")
                return .leftOut
            }
            try tree.makeHardLink(path, to: source)
            summary.files += 1
        case .characterDevice, .blockDevice: leaveOut(entry, "a device")
        case .fifo: leaveOut(entry, "a FIFO")
        }
        return .leftOut
    }

    private func make(_ link: Link) throws(ArchiveError) {
        if try tree.makeLink(link.path, to: link.target) {
            summary.links += 1
        } else {
            leaveOut(link.path.text, "a symbolic link where something else exists")
        }
    }

    private func leaveOut(_ entry: TarEntry, _ reason: String) {
        leaveOut(entry.nameText, reason)
    }

    private func leaveOut(_ name: String, _ reason: String) {
        summary.leftOut += 1
        if summary.notes.count < 100 { summary.notes.append("Left out '\(name)': \(reason)") }
    }
}
