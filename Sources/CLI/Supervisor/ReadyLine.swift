internal import Foundation

/// The line that a starting supervisor writes to its readiness descriptor.
enum ReadyLine {
    private static let limit = 4096

    /// Reads it on a thread of its own and closes the descriptor.
    ///
    /// - Returns: the line without its newline, empty at an early end of file, nil after `seconds`.
    static func read(from descriptor: CInt, seconds: Int) async -> String? {
        await withCheckedContinuation { continuation in
            Thread {
                continuation.resume(returning: blocking(descriptor, seconds))
                close(descriptor)
            }.start()
        }
    }

    private static func blocking(_ descriptor: CInt, _ seconds: Int) -> String? {
        let deadline = ContinuousClock.now + .seconds(seconds)
        var line: [UInt8] = []
        while line.count < limit {
            let left = deadline - .now
            guard left > .zero else { return nil }
            let milliseconds = left.components.seconds * 1000 + 1
            var wait = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&wait, 1, CInt(milliseconds)) > 0 else { continue }
            var byte: UInt8 = 0
            guard Foundation.read(descriptor, &byte, 1) == 1, byte != UInt8(ascii: "\n") else {
                break
            }
            line.append(byte)
        }
        return String(decoding: line, as: UTF8.self)
    }
}
