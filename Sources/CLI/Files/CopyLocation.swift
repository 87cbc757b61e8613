internal import ArgumentParser

/// One side of `sessions cp`.
enum CopyLocation: ExpressibleByArgument, Sendable, Equatable {
    /// A local path.
    case local(String)
    /// Standard input or output.
    case stream
    /// `<id>:<path>`
    case session(id: String, path: SessionPath)

    /// As with scp, a colon before the first slash separates the session from its path; a local
    /// name with a colon is written `./name`.
    init?(argument: String) {
        guard !argument.isEmpty else { return nil }
        if argument == "-" {
            self = .stream
            return
        }
        let head = argument.prefix { $0 != "/" }
        guard let colon = head.firstIndex(of: ":") else {
            self = .local(argument)
            return
        }
        guard colon > argument.startIndex else { return nil }
        self = .session(
            id: String(argument[..<colon]),
            path: SessionPath(String(argument[argument.index(after: colon)...])))
    }
}

/// A path inside a session; never looked up on this host.
struct SessionPath: Sendable, Equatable {
    /// Absolute; relative ones are below /workspace.
    let text: String

    init(_ path: String) {
        if path.hasPrefix("/") {
            text = path
        } else {
            text = path.isEmpty ? "/workspace" : "/workspace/" + path
        }
        isWhole = path.isEmpty
    }

    private let isWhole: Bool

    /// The name that a copy gets inside an existing directory; nil where the contents are meant:
    /// nothing, `.`, `..` or `/` at the end.
    var copyName: String? {
        guard !isWhole, let name = text.split(separator: "/").last, name != ".", name != ".." else {
            return nil
        }
        return String(name)
    }
}

/// `PATH[:DEST]` of `run --upload`.
struct UploadOption: ExpressibleByArgument, Sendable, Equatable {
    var path: String
    var destination: SessionPath

    init?(argument: String) {
        self.init(argument) { LocalPath.exists($0) }
    }

    /// The last colon separates, unless the whole is the name of something that exists.
    init?(_ argument: String, exists: (String) -> Bool) {
        guard let colon = argument.lastIndex(of: ":"), !exists(argument) else {
            guard !argument.isEmpty else { return nil }
            path = argument
            destination = SessionPath("")
            return
        }
        path = String(argument[..<colon])
        destination = SessionPath(String(argument[argument.index(after: colon)...]))
        guard !path.isEmpty else { return nil }
    }
}
