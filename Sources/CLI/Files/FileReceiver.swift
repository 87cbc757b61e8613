internal import Archive
internal import Foundation

/// Extracts an archive from a session, on a thread of its own.
actor FileReceiver {
    private let executor = ThreadExecutor("extract")
    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    private let extractor: TarExtractor

    /// - Parameters:
    ///   - byteLimit: bytes that all files together may have.
    ///   - mask: the permission bits that new files do not get.
    init(_ target: DownloadTarget, byteLimit: Int64, mask: UInt32) throws {
        extractor = TarExtractor(
            into: try DirectoryHandle(path: target.directory),
            options: .init(
                selection: .top(renamed: target.name.map { Array($0.utf8) }),
                modes: .keep(mask: mask), limits: .init(bytes: byteLimit)))
    }

    func feed(_ bytes: [UInt8]) throws { try extractor.feed(bytes[...]) }

    /// True once the end of the archive was read.
    var isComplete: Bool { extractor.isComplete }

    func finish() throws -> TarExtractor.Summary { try extractor.finish() }

    /// The file creation mask of this process.
    static func creationMask() -> UInt32 {
        let mask = umask(0o077)
        umask(mask)
        return UInt32(mask)
    }
}
