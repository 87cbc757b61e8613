public import API
internal import Foundation

/// Copies a source tree by held descriptors. Names may be exchanged while it works: nothing outside
/// of the tree is read, and no link is followed (openat(2)).
public struct TreeCopy {
    private static let depthLimit = 64
    private static let chunkSize = 128 << 10

    /// A descriptor that is closed with its last user.
    private final class Descriptor {
        let number: CInt

        init?(_ number: CInt) {
            guard number >= 0 else { return nil }
            self.number = number
        }

        deinit { close(number) }
    }

    private let source: String
    private let maximumBytes: Int
    private var budget: Int

    /// - Parameter maximumBytes: of all files together; 512 more are counted for each.
    public init(of source: String, maximumBytes: Int) {
        self.source = source
        self.maximumBytes = maximumBytes
        budget = maximumBytes
    }

    /// Makes files, directories and links that stay inside; modes become a+rX.
    ///
    /// - Parameter target: an empty directory.
    /// - Throws: `tooLarge` past the bounds, `storageFailed` with the system's reason.
    public mutating func run(into target: String) throws(WireError) {
        guard let from = Descriptor(open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
            let to = Descriptor(open(target, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC))
        else { throw Self.failure(source) }
        try copyContents(of: from, to: to, at: source, depth: 0)
    }

    private mutating func copyContents(
        of from: Descriptor, to: Descriptor, at path: String, depth: Int
    ) throws(WireError) {
        guard depth < Self.depthLimit else {
            throw WireError(code: .tooLarge, message: "\(path) is too deep for an agent")
        }
        for name in try Self.names(in: from, at: path) {
            let place = path + "/" + name
            var status = stat()
            guard fstatat(from.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
                throw Self.failure(place)
            }
            switch status.st_mode & S_IFMT {
            case S_IFDIR: try copyDirectory(name, of: from, to: to, at: place, depth: depth)
            case S_IFREG: try copyFile(name, of: from, to: to, at: place)
            case S_IFLNK: try copyLink(name, of: from, to: to, at: place)
            default: continue
            }
        }
    }

    private mutating func copyDirectory(
        _ name: String, of from: Descriptor, to: Descriptor, at place: String, depth: Int
    ) throws(WireError) {
        let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
        guard let inner = Descriptor(openat(from.number, name, flags)),
            mkdirat(to.number, name, 0o755) == 0,
            let made = Descriptor(openat(to.number, name, flags)), fchmod(made.number, 0o755) == 0
        else { throw Self.failure(place) }
        try copyContents(of: inner, to: made, at: place, depth: depth + 1)
    }

    private mutating func copyFile(
        _ name: String, of from: Descriptor, to: Descriptor, at place: String
    ) throws(WireError) {
        let reading = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC
        let writing = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
        var status = stat()
        guard let input = Descriptor(openat(from.number, name, reading)),
            fstat(input.number, &status) == 0
        else { throw Self.failure(place) }
        guard status.st_mode & S_IFMT == S_IFREG else { return }  // it was exchanged
        guard let output = Descriptor(openat(to.number, name, writing, 0o600)) else {
            throw Self.failure(place)
        }
        try spend(512)
        var buffer = [UInt8](repeating: 0, count: Self.chunkSize)
        while true {
            let count = read(input.number, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw Self.failure(place) }
            if count == 0 { break }
            try spend(count)
            try Self.write(buffer[..<count], to: output, at: place)
        }
        guard fchmod(output.number, status.st_mode & 0o111 != 0 ? 0o755 : 0o644) == 0 else {
            throw Self.failure(place)
        }
    }

    private func copyLink(
        _ name: String, of from: Descriptor, to: Descriptor, at place: String
    ) throws(WireError) {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlinkat(from.number, name, &buffer, buffer.count - 1)
        guard count >= 0 else { throw Self.failure(place) }
        let bytes = buffer.prefix(count).map(UInt8.init(bitPattern:))
        let link = String(decoding: bytes, as: UTF8.self)
        guard !link.hasPrefix("/"), !link.split(separator: "/").contains("..") else { return }
        guard symlinkat(link, to.number, name) == 0 else { throw Self.failure(place) }
    }

    private mutating func spend(_ bytes: Int) throws(WireError) {
        budget -= bytes
        guard budget >= 0 else {
            throw WireError(
                code: .tooLarge,
                message: "\(source) has more than \(maximumBytes) bytes, too many for an agent")
        }
    }

    private static func write(
        _ bytes: ArraySlice<UInt8>, to output: Descriptor, at place: String
    ) throws(WireError) {
        var rest = bytes
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes {
                Foundation.write(output.number, $0.baseAddress, $0.count)
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw failure(place) }
            rest = rest.dropFirst(count)
        }
    }

    /// The names in a directory, sorted.
    private static func names(
        in directory: Descriptor, at place: String
    ) throws(WireError) -> [String] {
        let copy = fcntl(directory.number, F_DUPFD_CLOEXEC, 3)
        guard copy >= 0, let stream = fdopendir(copy) else {
            let failed = failure(place)
            if copy >= 0 { close(copy) }
            throw failed
        }
        defer { closedir(stream) }
        var found: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { found.append(name) }
        }
        return found.sorted()
    }

    private static func failure(_ place: String) -> WireError {
        let reason = errno
        return WireError(
            code: .storageFailed, message: "\(place): \(String(cString: strerror(reason)))")
    }
}
