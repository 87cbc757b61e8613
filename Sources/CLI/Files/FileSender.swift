internal import Archive
internal import Foundation

/// Packs local files into an archive, on a thread of its own.
actor FileSender {
    private let executor = ThreadExecutor("pack")
    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    private let packer: TarPacker

    /// - Parameters: as for `TarPacker`.
    init(
        path: String?, name: String, firstFiles: [(name: String, data: [UInt8])] = [],
        byteLimit: Int64 = .max,
        excludes: @escaping @Sendable (_ name: [UInt8]) -> Bool = { _ in false }
    ) {
        packer = TarPacker(
            path: path, name: name, firstFiles: firstFiles, byteLimit: byteLimit,
            excludes: excludes)
    }

    func next() throws -> [UInt8]? { try packer.next() }

    var bytes: Int64 { packer.bytes }
    var notes: [String] { packer.notes }
}
