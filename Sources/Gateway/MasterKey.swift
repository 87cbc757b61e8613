internal import Crypto
public import Foundation
public import Sessions
internal import Synchronization

/// The one key that every other one comes from: given by systemd, or a file that is made when it is
/// needed for the first time. It is read once.
public final class MasterKey: Sendable {
    /// Bytes.
    static let length = 32

    private let path: String
    private let state: Mutex<SymmetricKey?>

    /// - Parameters:
    ///   - path: of the key file.
    ///   - given: what the service manager has handed over, instead of the file.
    public init(path: String, given: Data?) throws(VaultError) {
        self.path = path
        if let given, given.count != Self.length {
            throw VaultError(
                "the credential for secrets has \(given.count) bytes; it must have \(Self.length)")
        }
        state = Mutex(given.map { SymmetricKey(data: $0) })
    }

    func key() throws(VaultError) -> SymmetricKey {
        // Readers wait for the one that makes the file.
        try state.withLock { (state) throws(VaultError) in
            if let state { return state }
            let key = if let known = try load() { known } else { try make() }
            state = key
            return key
        }
    }

    /// A key for one purpose.
    func derived(_ purpose: String) throws(VaultError) -> SymmetricKey {
        HKDF<SHA256>.deriveKey(
            inputKeyMaterial: try key(), info: Data("superserve \(purpose)".utf8),
            outputByteCount: Self.length)
    }

    /// Nil where there is no file.
    private func load() throws(VaultError) -> SymmetricKey? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw failure("cannot be read")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw failure("cannot be read") }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw VaultError("\(path) is no regular file")
        }
        guard status.st_uid == geteuid() else {
            throw VaultError("\(path) belongs to uid \(status.st_uid), not to \(geteuid())")
        }
        guard status.st_mode & 0o077 == 0 else {
            let mode = String(status.st_mode & 0o7777, radix: 8)
            throw VaultError("\(path) has mode \(mode): others must have no rights; chmod 600 it")
        }
        var bytes = [UInt8](repeating: 0, count: Self.length + 1)
        let count = read(descriptor, &bytes, bytes.count)
        guard count == Self.length, status.st_size == Self.length else {
            throw VaultError("\(path) has \(status.st_size) bytes; it must have \(Self.length)")
        }
        return SymmetricKey(data: bytes.prefix(Self.length))
    }

    /// A new file, whole or not at all: written beside its place, then linked there, where nothing
    /// must be.
    private func make() throws(VaultError) -> SymmetricKey {
        let fresh = path + ".new"
        unlink(fresh)
        let descriptor = open(
            fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw failure("cannot be made") }
        defer { unlink(fresh) }
        let key = SymmetricKey(size: .bits256)
        let written = key.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        let isOnDisk = written == Self.length && fsync(descriptor) == 0
        close(descriptor)
        guard isOnDisk, link(fresh, path) == 0 else { throw failure("cannot be made") }
        let directory = open((path as NSString).deletingLastPathComponent, O_RDONLY | O_CLOEXEC)
        if directory >= 0 {
            fsync(directory)
            close(directory)
        }
        return key
    }

    private func failure(_ what: String) -> VaultError {
        VaultError("\(path) \(what): \(String(cString: strerror(errno)))")
    }
}
