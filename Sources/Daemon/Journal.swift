internal import CDispatch
internal import Foundation
internal import Glibc

/// The journal's own socket (systemd's "Native Journal Protocol"): a datagram a message, with
/// fields that `journalctl` can search for.
struct Journal: Sendable {
    private static let path = "/run/systemd/journal/socket"
    /// Bytes of one field; longer ones are cut. A datagram holds about 200 KiB.
    static let maximumField = 16 << 10

    private let descriptor: Int32

    /// Nil unless standard error leads to the journal: whoever has redirected it wants the text.
    init?(stream: String? = ProcessInfo.processInfo.environment["JOURNAL_STREAM"]) {
        var status = stat()
        guard let stream, fstat(STDERR_FILENO, &status) == 0,
            stream == "\(status.st_dev):\(status.st_ino)"
        else { return nil }
        self.init(connectingTo: Self.path)
    }

    /// Stays open for the life of the process.
    init?(connectingTo path: String) {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        guard path.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else { return nil }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let descriptor = socket(
            AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        let result = withUnsafePointer(to: address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else {
            close(descriptor)
            return nil
        }
        self.descriptor = descriptor
    }

    /// False where the message could not be handed over.
    func send(_ fields: [(name: String, value: String)]) -> Bool {
        let datagram = Self.datagram(fields)
        while true {
            if Glibc.send(descriptor, datagram, datagram.count, Int32(MSG_NOSIGNAL)) >= 0 {
                return true
            }
            guard errno == EINTR else { return false }
        }
    }

    /// A value with a line break is preceded by its length, little-endian.
    static func datagram(_ fields: [(name: String, value: String)]) -> [UInt8] {
        var bytes: [UInt8] = []
        for (name, text) in fields {
            let value = text.utf8.prefix(maximumField)
            bytes += name.utf8
            if value.contains(UInt8(ascii: "\n")) {
                bytes.append(UInt8(ascii: "\n"))
                withUnsafeBytes(of: UInt64(value.count).littleEndian) { bytes += $0 }
            } else {
                bytes.append(UInt8(ascii: "="))
            }
            bytes += value
            bytes.append(UInt8(ascii: "\n"))
        }
        return bytes
    }
}
