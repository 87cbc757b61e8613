internal import Glibc

/// Packs a local file or tree into a tar archive, piece by piece.
///  Links are packed as links and not followed, but for the path that is named itself. Sockets,
/// FIFOs and devices are left out. Calls block; the value belongs to one thread.
public final class TarPacker {
    /// Bytes of data in one piece.
    private static let chunkSize = 128 << 10

    private final class Frame {
        let handle: DirectoryHandle
        /// Name in the archive.
        let name: [UInt8]
        var children: ArraySlice<[UInt8]>

        init(_ handle: consuming DirectoryHandle, _ name: [UInt8], _ children: [[UInt8]]) {
            self.handle = handle
            self.name = name
            self.children = children[...]
        }
    }

    private struct OpenFile {
        var descriptor: CInt
        var name: [UInt8]
        var left: Int64
    }

    private let path: String
    private let topName: [UInt8]
    private let byteLimit: Int64
    private let excludes: (_ name: [UInt8]) -> Bool
    private var writer = TarWriter()
    private var frames: [Frame] = []
    private var file: OpenFile?
    private var prologue: [UInt8]
    private var hasStarted = false
    private var isDone = false
    /// Bytes of files so far.
    public private(set) var bytes: Int64 = 0
    /// What was left out and why, one line each; only the first hundred.
    public private(set) var notes: [String] = []

    /// - Parameters:
    ///   - path: the file or directory to pack; nil packs the first files only.
    ///   - name: its name in the archive.
    ///   - firstFiles: small files that come before it.
    ///   - byteLimit: bytes that all files together may have.
    ///   - excludes: tells by the last part of its name whether something is left out silently.
    public init(
        path: String?, name: String, firstFiles: [(name: String, data: [UInt8])] = [],
        byteLimit: Int64 = .max, excludes: @escaping (_ name: [UInt8]) -> Bool = { _ in false }
    ) {
        self.path = path ?? ""
        topName = Array(name.utf8)
        self.byteLimit = byteLimit
        self.excludes = excludes
        prologue = []
        for first in firstFiles { prologue += writer.file(first.name, first.data) }
        hasStarted = path == nil
    }

    deinit { if let file { close(file.descriptor) } }

    /// The next piece of the archive, or nil after its end.
    public func next() throws(ArchiveError) -> [UInt8]? {
        guard prologue.isEmpty else {
            defer { prologue = [] }
            return prologue
        }
        guard !isDone else { return nil }
        var piece: [UInt8] = []
        while piece.count < Self.chunkSize {
            if file != nil {
                piece += try readFile()
            } else if !hasStarted {
                hasStarted = true
                piece += try begin()
            } else if let frame = frames.last {
                guard let child = frame.children.popFirst() else {
                    frames.removeLast()
                    continue
                }
                if !excludes(child) { piece += try pack(child, in: frame) }
            } else {
                isDone = true
                piece += writer.trailer()
                break
            }
        }
        return piece
    }

    private func begin() throws(ArchiveError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { throw .system("read \(path)", errno) }
        var info = stat()
        guard fstat(descriptor, &info) == 0 else {
            let reason = errno
            close(descriptor)
            throw .system("read \(path)", reason)
        }
        if info.isDirectory {
            return try enter(DirectoryHandle(adopting: descriptor), topName, info)
        }
        guard info.isRegular else {
            close(descriptor)
            throw ArchiveError(.unsupported, "\(path) is neither a file nor a directory")
        }
        return try start(descriptor, topName, info)
    }

    private func pack(_ child: [UInt8], in frame: Frame) throws(ArchiveError) -> [UInt8] {
        let name = frame.name + [0x2F] + child
        guard let info = frame.handle.status(child) else { return try vanished(name, errno) }
        switch info.type {
        case S_IFDIR:
            guard let directory = frame.handle.directory(child) else {
                return try vanished(name, errno)
            }
            return try enter(directory, name, info)
        case S_IFREG:
            let descriptor = DirectoryHandle.withName(child) {
                openat(
                    frame.handle.descriptor, $0, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
            }
            guard descriptor >= 0 else { return try vanished(name, errno) }
            var opened = stat()
            guard fstat(descriptor, &opened) == 0, opened.isRegular else {
                close(descriptor)
                return leaveOut(name, "it changed while it was read")
            }
            return try start(descriptor, name, opened)
        case S_IFLNK:
            guard let target = Self.linkTarget(frame.handle, child) else {
                return try vanished(name, errno)
            }
            return writer.header(
                entry(.symbolicLink, name, info, linkTarget: target))
        default:
            return leaveOut(name, "neither a file nor a directory")
        }
    }

    private func enter(
        _ directory: consuming DirectoryHandle, _ name: [UInt8], _ info: stat
    ) throws(ArchiveError) -> [UInt8] {
        guard frames.count < ArchivePath.depthLimit else {
            throw ArchiveError(.tooLarge, "\(Self.text(name)) is too deep")
        }
        guard let children = Self.children(directory) else {
            throw .system("read the directory \(Self.text(name))", errno)
        }
        frames.append(Frame(directory, name, children))
        return writer.header(entry(.directory, name, info))
    }

    private func start(
        _ descriptor: CInt, _ name: [UInt8], _ info: stat
    ) throws(ArchiveError) -> [UInt8] {
        let size = Int64(info.st_size)
        guard size <= byteLimit - bytes else {
            close(descriptor)
            throw ArchiveError(.tooLarge, "The files have more than \(byteLimit) bytes")
        }
        bytes += size
        let header = writer.header(entry(.file, name, info, size: size))
        if size > 0 {
            file = OpenFile(descriptor: descriptor, name: name, left: size)
        } else {
            close(descriptor)
        }
        return header
    }

    private func readFile() throws(ArchiveError) -> [UInt8] {
        guard let current = file else { return [] }
        let wanted = Int(min(current.left, Int64(Self.chunkSize)))
        var failure: CInt = 0
        let chunk = [UInt8](unsafeUninitializedCapacity: wanted) { buffer, count in
            var result = read(current.descriptor, buffer.baseAddress, wanted)
            while result < 0, errno == EINTR {
                result = read(current.descriptor, buffer.baseAddress, wanted)
            }
            if result < 0 { failure = errno }
            count = max(0, result)
        }
        guard failure == 0 else { throw .system("read \(Self.text(current.name))", failure) }
        guard !chunk.isEmpty else {
            throw ArchiveError(
                .truncated, "\(Self.text(current.name)) became shorter while it was read")
        }
        let left = current.left - Int64(chunk.count)
        file?.left = left
        if left == 0 {
            close(current.descriptor)
            file = nil
        }
        return chunk + writer.wrote(chunk.count)
    }

    private func entry(
        _ kind: TarEntry.Kind, _ name: [UInt8], _ info: stat, size: Int64 = 0,
        linkTarget: [UInt8] = []
    ) -> TarEntry {
        TarEntry(
            kind: kind, name: name, linkTarget: linkTarget, mode: UInt32(info.st_mode & 0o777),
            size: size, modified: Int64(info.st_mtim.tv_sec))
    }

    /// Something that was listed and is gone is left out; anything else is an error.
    private func vanished(_ name: [UInt8], _ number: CInt) throws(ArchiveError) -> [UInt8] {
        guard number == ENOENT || number == ELOOP else {
            throw .system("read \(Self.text(name))", number)
        }
        return leaveOut(name, "it changed while it was read")
    }

    private func leaveOut(_ name: [UInt8], _ reason: String) -> [UInt8] {
        if notes.count < 100 { notes.append("Left out '\(Self.text(name))': \(reason)") }
        return []
    }

    private static func text(_ name: [UInt8]) -> String { String(decoding: name, as: UTF8.self) }

    private static func linkTarget(
        _ parent: borrowing DirectoryHandle, _ name: [UInt8]
    ) -> [UInt8]? {
        var buffer = [UInt8](repeating: 0, count: ArchivePath.byteLimit)
        let count = DirectoryHandle.withName(name) { name in
            buffer.withUnsafeMutableBytes { bytes in
                bytes.withMemoryRebound(to: CChar.self) { characters in
                    characters.baseAddress.map {
                        readlinkat(parent.descriptor, name, $0, characters.count)
                    } ?? -1
                }
            }
        }
        return count >= 0 ? Array(buffer.prefix(count)) : nil
    }

    /// The names in a directory, sorted; nil with errno set.
    private static func children(_ directory: borrowing DirectoryHandle) -> [[UInt8]]? {
        let copy = fcntl(directory.descriptor, F_DUPFD_CLOEXEC, 3)
        guard copy >= 0 else { return nil }
        guard let stream = fdopendir(copy) else {
            close(copy)
            return nil
        }
        defer { closedir(stream) }
        var names: [[UInt8]] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            if name != [0x2E], name != [0x2E, 0x2E] { names.append(name) }
        }
        return names.sorted { $0.lexicographicallyPrecedes($1) }
    }
}
