internal import Foundation

/// Standard input kept in an unnamed file: an archive says the size before the data.
final class StandardInputFile: Sendable {
    private let descriptor: CInt

    private init(_ descriptor: CInt) { self.descriptor = descriptor }

    deinit { close(descriptor) }

    /// A path to open the file by, as long as this value lives.
    var path: String { "/proc/self/fd/\(descriptor)" }

    /// Reads standard input up to its end, on a thread of its own.
    static func read() async throws -> StandardInputFile {
        let result: Result<StandardInputFile, CLIError> = await withCheckedContinuation {
            continuation in
            Thread {
                do throws(CLIError) {
                    continuation.resume(returning: .success(try blockingRead()))
                } catch {
                    continuation.resume(returning: .failure(error))
                }
            }.start()
        }
        return try result.get()
    }

    private static func blockingRead() throws(CLIError) -> StandardInputFile {
        var template = Array((NSTemporaryDirectory() + "superserve-XXXXXX").utf8CString)
        let descriptor = mkstemp(&template)
        guard descriptor >= 0 else { throw failure("keep standard input") }
        let file = StandardInputFile(descriptor)
        unlink(template)
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        fchmod(descriptor, 0o644)
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = Foundation.read(STDIN_FILENO, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw failure("read standard input") }
            guard count > 0 else { return file }
            try FileWriting.write(Array(buffer[..<count]), to: descriptor)
        }
    }

    private static func failure(_ action: String) -> CLIError {
        CLIError("Cannot \(action): \(String(cString: strerror(errno)))")
    }
}
