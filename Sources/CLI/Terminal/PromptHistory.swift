internal import Archive
internal import Foundation

/// The lines typed at the prompt, kept in a file of mode 0600 in the user's state directory.
struct PromptHistory: Sendable {
    static let lineLimit = 1000
    static let byteLimit = 1 << 20

    private let path: String

    /// - Parameter directory: the person's state directory; made where it is missing. Not that of
    ///   the system service, which belongs to another user than root.
    init(directory: String) {
        path = directory + "/prompt-history"
    }

    /// The lines, the oldest first; none where the file cannot be used.
    func load() -> [String] {
        guard let descriptor = open(O_RDONLY) else { return [] }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while bytes.count <= Self.byteLimit * 2 {
            let count = read(descriptor, &buffer, buffer.count)
            guard count > 0 else { break }
            bytes += buffer[..<count]
        }
        let lines = bytes.split(separator: UInt8(ascii: "\n")).suffix(Self.lineLimit)
        if bytes.count > Self.byteLimit { rewrite(lines) }
        return lines.map { Self.decode(String(decoding: $0, as: UTF8.self)) }
    }

    /// Appends a line. A history that cannot be written is no reason to bother anybody.
    func append(_ line: String) {
        let encoded = Array((Self.encode(line) + "\n").utf8)
        guard encoded.count <= Self.byteLimit / 16,
            (try? PrivateDirectory.create((path as NSString).deletingLastPathComponent)) != nil,
            let descriptor = open(O_WRONLY | O_APPEND | O_CREAT)
        else { return }
        defer { close(descriptor) }
        try? FileWriting.write(encoded, to: descriptor)
    }

    /// One line of the file for a text of several.
    static func encode(_ line: String) -> String {
        line.replacing("\\", with: "\\\\").replacing("\n", with: "\\n")
    }

    /// The text that `encode` was given.
    static func decode(_ line: String) -> String {
        var result = ""
        var isEscaped = false
        for character in line {
            if isEscaped {
                result.append(character == "n" ? "\n" : character)
                isEscaped = false
            } else if character == "\\" {
                isEscaped = true
            } else {
                result.append(character)
            }
        }
        return result
    }

    private func rewrite(_ lines: ArraySlice<ArraySlice<UInt8>>) {
        var kept: [ArraySlice<UInt8>] = []
        var size = 0
        for line in lines.reversed() {
            size += line.count + 1
            if size > Self.byteLimit / 2 { break }
            kept.append(line)
        }
        let temporary = path + ".\(getpid())"
        let descriptor = Foundation.open(
            temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return }
        let bytes = kept.reversed().flatMap { Array($0) + [UInt8(ascii: "\n")] }
        let written: Void? = try? FileWriting.write(bytes, to: descriptor)
        close(descriptor)
        if written == nil || rename(temporary, path) != 0 { unlink(temporary) }
    }

    /// Opens the file where it is one of the caller's own, never through a link of either kind.
    private func open(_ flags: CInt) -> CInt? {
        let all = flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK
        let descriptor = Foundation.open(path, all, 0o600)
        guard descriptor >= 0 else { return nil }
        guard let status = FileStatus(descriptor: descriptor), status.isRegularFile,
            status.uid == getuid(), status.links == 1
        else {
            close(descriptor)
            return nil
        }
        return descriptor
    }
}
