internal import Foundation

/// Reads the terminal on a thread of its own.
final class Keyboard: Sendable {
    private let wake: CInt
    private let finished = DispatchSemaphore(value: 0)

    /// - Parameter receive: gets the bytes, and nil when the terminal is gone. Runs on the thread.
    init(
        descriptor: CInt = STDIN_FILENO, _ receive: @escaping @Sendable ([UInt8]?) -> Void
    ) throws(CLIError) {
        var ends: [CInt] = [-1, -1]
        guard pipe(&ends) == 0 else {
            throw CLIError("Cannot read the terminal: \(String(cString: strerror(errno)))")
        }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        let stop = ends[0]
        wake = ends[1]
        let thread = Thread { [finished] in
            Self.run(descriptor, stop, receive)
            close(stop)
            finished.signal()
        }
        thread.name = "keyboard"
        thread.start()
    }

    /// Stops reading; what was typed since stays for whoever reads next.
    func stop() {
        close(wake)
        finished.wait()
    }

    private static func run(
        _ descriptor: CInt, _ stop: CInt, _ receive: @Sendable ([UInt8]?) -> Void
    ) {
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            var waits = [
                pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
                pollfd(fd: stop, events: Int16(POLLIN), revents: 0),
            ]
            if poll(&waits, 2, -1) < 0 { continue }
            if waits[1].revents != 0 { return }
            let count = read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR || errno == EAGAIN { continue }
            guard count > 0 else { return receive(nil) }
            receive(Array(buffer[..<count]))
        }
    }
}
