internal import Glibc

/// The directory that an archive is extracted into: every change goes through held descriptors.
final class ExtractedTree {
    private struct MadeDirectory {
        var path: ArchivePath
        var mode: mode_t
    }

    /// The directory used last: archives list the files of a directory together.
    private final class Cached {
        let components: [[UInt8]]
        let handle: DirectoryHandle

        init(_ components: [[UInt8]], _ handle: consuming DirectoryHandle) {
            self.components = components
            self.handle = handle
        }
    }

    private struct OpenFile {
        var descriptor: CInt
        var path: ArchivePath
        var mode: mode_t
    }

    private let root: DirectoryHandle
    private let modes: TarExtractor.Options.Modes
    private var cached: Cached?
    private var made: [MadeDirectory] = []
    private var madeIndex: [ArchivePath: Int] = [:]
    private var file: OpenFile?

    init(root: consuming DirectoryHandle, modes: TarExtractor.Options.Modes) {
        self.root = root
        self.modes = modes
    }

    deinit { abandonFile() }

    // MARK: Files

    func beginFile(_ path: ArchivePath, mode: UInt32) throws(ArchiveError) {
        let (parent, name) = try parent(of: path)
        var descriptor = Self.create(parent.handle, name)
        if descriptor < 0, errno == EEXIST {
            try removeFile(parent.handle, name, path)
            descriptor = Self.create(parent.handle, name)
        }
        guard descriptor >= 0 else { throw .system("create '\(path.text)'", errno) }
        file = OpenFile(descriptor: descriptor, path: path, mode: fileMode(mode))
    }

    func write(_ bytes: ArraySlice<UInt8>) throws(ArchiveError) {
        guard let file else { return }
        var rest = bytes
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(file.descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw .system("write '\(file.path.text)'", errno) }
            rest = rest.dropFirst(count)
        }
    }

    func endFile() throws(ArchiveError) {
        guard let file else { return }
        let changed = fchmod(file.descriptor, file.mode)
        let reason = errno
        self.file = nil
        let closed = close(file.descriptor)
        guard changed == 0 else { throw .system("set the mode of '\(file.path.text)'", reason) }
        guard closed == 0 else { throw .system("write '\(file.path.text)'", errno) }
    }

    /// Takes away the file in work: half a file looks like a whole one.
    func abandonFile() {
        guard let file else { return }
        self.file = nil
        close(file.descriptor)
        guard let (parent, name) = try? parent(of: file.path) else { return }
        _ = DirectoryHandle.withName(name) { unlinkat(parent.handle.descriptor, $0, 0) }
    }

    private static func create(_ parent: borrowing DirectoryHandle, _ name: [UInt8]) -> CInt {
        DirectoryHandle.withName(name) {
            openat(
                parent.descriptor, $0, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        }
    }

    /// Makes room for a file. A file is replaced and not written over: it may have a second name.
    private func removeFile(
        _ parent: borrowing DirectoryHandle, _ name: [UInt8], _ path: ArchivePath
    ) throws(ArchiveError) {
        guard let status = parent.status(name) else { return }
        guard status.isRegular else {
            let what =
                status.isLink
                ? "a symbolic link" : status.isDirectory ? "a directory" : "a special file"
            throw ArchiveError(
                .obstructed, "'\(path.text)' exists already and is \(what); it was not replaced")
        }
        let result = DirectoryHandle.withName(name) { unlinkat(parent.descriptor, $0, 0) }
        guard result == 0 || errno == ENOENT else {
            throw .system("replace '\(path.text)'", errno)
        }
    }

    // MARK: Links

    func makeHardLink(_ path: ArchivePath, to source: ArchivePath) throws(ArchiveError) {
        guard path != source else { return }
        let (from, sourceName) = try parent(of: source)
        guard let status = from.handle.status(sourceName), status.isRegular else {
            throw ArchiveError(
                .unexpected, "'\(path.text)' is a hard link to '\(source.text)', which is no file here")
        }
        let (parent, name) = try parent(of: path)
        try removeFile(parent.handle, name, path)
        let result = DirectoryHandle.withName(sourceName) { source in
            DirectoryHandle.withName(name) {
                linkat(from.handle.descriptor, source, parent.handle.descriptor, $0, 0)
            }
        }
        guard result == 0 else { throw .system("link '\(path.text)'", errno) }
    }

    /// - Returns: false where something else has the name.
    func makeLink(_ path: ArchivePath, to target: [UInt8]) throws(ArchiveError) -> Bool {
        guard !path.components.isEmpty else { return false }
        let (parent, name) = try parent(of: path)
        if let status = parent.handle.status(name) {
            guard status.isLink else { return false }
            _ = DirectoryHandle.withName(name) { unlinkat(parent.handle.descriptor, $0, 0) }
        }
        let result = DirectoryHandle.withName(target) { target in
            DirectoryHandle.withName(name) { symlinkat(target, parent.handle.descriptor, $0) }
        }
        guard result == 0 else { throw .system("make the link '\(path.text)'", errno) }
        return true
    }

    // MARK: Directories

    func makeDirectory(_ path: ArchivePath, mode: UInt32) throws(ArchiveError) {
        guard !path.components.isEmpty else { return }
        _ = try directory(path.components)
        if let index = madeIndex[path] { made[index].mode = directoryMode(mode) }
    }

    /// Sets the modes of the directories that were made here, the deepest first.
    func setDirectoryModes() throws(ArchiveError) {
        cached = nil
        for entry in made.reversed() {
            let opened = try directory(entry.path.components)
            guard fchmod(opened.handle.descriptor, entry.mode) == 0 else {
                throw .system("set the mode of '\(entry.path.text)'", errno)
            }
        }
    }

    private func parent(of path: ArchivePath) throws(ArchiveError) -> (Cached, [UInt8]) {
        guard let name = path.components.last else {
            throw ArchiveError(.unsafeName, "The archive has an entry without a name")
        }
        return (try directory(Array(path.components.dropLast())), name)
    }

    /// Opens a directory below the root step by step and makes what is missing.
    private func directory(_ components: [[UInt8]]) throws(ArchiveError) -> Cached {
        if let cached, cached.components == components { return cached }
        var current = DirectoryHandle(adopting: fcntl(root.descriptor, F_DUPFD_CLOEXEC, 3))
        guard current.descriptor >= 0 else { throw .system("open the target directory", errno) }
        var path: [[UInt8]] = []
        for name in components {
            path.append(name)
            current = try step(current, name, ArchivePath(unchecked: path))
        }
        let opened = Cached(components, current)
        cached = opened
        return opened
    }

    private func step(
        _ parent: borrowing DirectoryHandle, _ name: [UInt8], _ path: ArchivePath
    ) throws(ArchiveError) -> DirectoryHandle {
        if let existing = parent.directory(name) { return existing }
        guard errno == ENOENT else { throw obstruction(path, errno) }
        let result = DirectoryHandle.withName(name) { mkdirat(parent.descriptor, $0, 0o700) }
        guard result == 0 || errno == EEXIST else {
            throw .system("make the directory '\(path.text)'", errno)
        }
        if result == 0 {
            madeIndex[path] = made.count
            made.append(MadeDirectory(path: path, mode: directoryMode(0o755)))
        }
        guard let opened = parent.directory(name) else { throw obstruction(path, errno) }
        return opened
    }

    private func obstruction(_ path: ArchivePath, _ number: CInt) -> ArchiveError {
        guard number == ELOOP || number == ENOTDIR else {
            return .system("open the directory '\(path.text)'", number)
        }
        return ArchiveError(
            .obstructed, "'\(path.text)' exists already and is no directory, or a symbolic link",
            errno: number)
    }

    // MARK: Modes

    private func fileMode(_ mode: UInt32) -> mode_t {
        switch modes {
        case .keep(let mask): mode_t(mode & 0o777 & ~mask)
        case .normalised: mode & 0o111 == 0 ? 0o644 : 0o755
        }
    }

    private func directoryMode(_ mode: UInt32) -> mode_t {
        switch modes {
        case .keep(let mask): mode_t(mode & 0o777 & ~mask | 0o700)
        case .normalised: 0o755
        }
    }
}
