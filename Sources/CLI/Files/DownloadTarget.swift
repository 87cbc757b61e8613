internal import Foundation

/// Where a copy from a session goes, with the rules of `cp -r`.
struct DownloadTarget: Sendable, Equatable {
    /// The directory that is held open.
    var directory: String
    /// The name in it; nil where the directory takes the contents.
    var name: String?

    init(directory: String, name: String?) {
        self.directory = directory
        self.name = name
    }

    /// Decides by what stands at `destination` now.
    init(_ destination: String, for path: SessionPath) throws(CLIError) {
        if LocalPath.isDirectory(destination) {
            self.init(directory: destination, name: path.copyName)
            return
        }
        let parent = LocalPath.parent(of: destination)
        guard !destination.hasSuffix("/"), LocalPath.isDirectory(parent) else {
            let missing = destination.hasSuffix("/") ? destination : parent
            throw CLIError("No directory '\(missing)' to copy to")
        }
        self.init(directory: parent, name: LocalPath.name(of: destination))
    }
}
