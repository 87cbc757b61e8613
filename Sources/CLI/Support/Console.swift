internal import Foundation

/// Standard output and standard error, written in order on a thread of their own.
actor Console {
    enum Stream: Sendable { case out, err }

    private let executor = ThreadExecutor("console")
    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// Whether standard output is a terminal.
    nonisolated let outIsTerminal: Bool
    /// Whether standard error is a terminal.
    nonisolated let errIsTerminal: Bool
    /// Colours for standard output.
    nonisolated let palette: Palette
    /// Colours for standard error.
    nonisolated let errPalette: Palette

    init() {
        let environment = ProcessInfo.processInfo.environment
        outIsTerminal = isatty(STDOUT_FILENO) == 1
        errIsTerminal = isatty(STDERR_FILENO) == 1
        palette = .automatic(isTerminal: outIsTerminal, environment: environment)
        errPalette = .automatic(isTerminal: errIsTerminal, environment: environment)
    }

    /// Writes text to standard output.
    ///
    /// - Throws: `CLIError.outputClosed` when nobody reads any more.
    func out(_ text: String) throws {
        try FileWriting.write(Array(text.utf8), to: STDOUT_FILENO)
    }

    /// Writes bytes to standard output.
    func out(_ bytes: [UInt8]) throws {
        try FileWriting.write(bytes, to: STDOUT_FILENO)
    }

    /// Writes text to standard error. A standard error that is gone is no reason to fail.
    func err(_ text: String) {
        try? FileWriting.write(Array(text.utf8), to: STDERR_FILENO)
    }

    /// Writes text to a stream, as `out` and `err` do.
    func write(_ text: String, to stream: Stream) throws {
        switch stream {
        case .out: try out(text)
        case .err: err(text)
        }
    }
}

/// Complete writes to a descriptor.
enum FileWriting {
    /// Fills standard descriptors that are closed, so that nothing else gets their numbers and then
    /// our text. What is put there refuses writes (and reads, for standard input).
    static func occupyStandardDescriptors() {
        for descriptor in STDIN_FILENO...STDERR_FILENO where fcntl(descriptor, F_GETFD) < 0 {
            _ = open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY)
        }
    }

    /// Writes all of `bytes`, also to a descriptor that somebody made non-blocking.
    static func write(_ bytes: [UInt8], to descriptor: CInt) throws(CLIError) {
        var offset = 0
        while offset < bytes.count {
            let count = bytes[offset...].withUnsafeBytes {
                Foundation.write(descriptor, $0.baseAddress, $0.count)
            }
            if count >= 0 {
                offset += count
                continue
            }
            switch errno {
            case EINTR:
                continue
            case EAGAIN:
                var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                poll(&wait, 1, -1)
            case EPIPE, EIO:
                throw .outputClosed
            default:
                let reason = String(cString: strerror(errno))
                throw CLIError("Cannot write to standard output: \(reason)")
            }
        }
    }
}
