import Foundation
import Testing

@testable import Archive

@Suite struct TarExtractorTests {
    @Test func treesComeOut() throws {
        let directory = try TemporaryDirectory()
        let bytes = archive([
            .directory("top", mode: 0o500), .file("top/run.sh", "#!/bin/sh\n", mode: 0o4775),
            .file("top/sub/deep/file", "x"), .other(.symbolicLink, "top/sub/link", to: "../run.sh"),
            .other(.hardLink, "top/second", to: "top/run.sh"),
        ])
        let summary = try extract(bytes, into: directory)
        #expect(
            try directory.listing() == [
                "top/", "top/run.sh", "top/second", "top/sub/", "top/sub/deep/",
                "top/sub/deep/file", "top/sub/link -> ../run.sh",
            ])
        #expect(directory.mode("top/run.sh") == 0o755, "set-id bits and the mask are dropped")
        #expect(directory.mode("top") == 0o700, "the owner can always enter")
        #expect(directory.mode("top/sub/deep") == 0o755)
        #expect(summary.files == 3)
        #expect(summary.links == 1)
        #expect(summary.notes.isEmpty)
    }

    @Test(arguments: [
        "/etc/passwd", "../outside", "a/../../outside", "a/..", "..", "a/b/../c",
        "a\u{0}b".replacingOccurrences(of: "\u{0}", with: "/../"),
    ])
    func unsafeNamesAreRefused(name: String) throws {
        let directory = try TemporaryDirectory()
        try FileManager.default.createDirectory(atPath: directory("in"), withIntermediateDirectories: false)
        let inner = TarExtractor(
            into: try DirectoryHandle(path: directory("in")),
            options: .init(selection: .below(""), modes: .normalised))
        #expect(code { try inner.feed(archive([.file(name, "x")])[...]) } == .unsafeName)
        #expect(try directory.listing() == ["in/"])
    }

    @Test func longNamesAreRefused() throws {
        let directory = try TemporaryDirectory()
        let deep = String(repeating: "d/", count: 300)
        let long = String(repeating: "n", count: 256)
        for name in [deep, long, String(repeating: "12345678/", count: 500)] {
            #expect(code { try extract(archive([.file(name + "f")]), into: directory) } == .unsafeName)
        }
        #expect(try directory.listing().isEmpty)
    }

    @Test(arguments: ["/etc", "..", "../x", "a/../../x", "sub/..", "x/../y", "/", ""])
    func linksThatLeaveAreLeftOut(target: String) throws {
        let directory = try TemporaryDirectory()
        let summary = try extract(
            archive([.other(.symbolicLink, "link", to: target), .file("after", "x")]),
            into: directory)
        #expect(try directory.listing() == ["after"])
        #expect(summary.leftOut == 1)
        #expect(summary.notes.count == 1)
    }

    @Test func nothingIsWrittenThroughALinkOfTheArchive() throws {
        let directory = try TemporaryDirectory()
        let bytes = archive([
            .other(.symbolicLink, "d", to: "e"), .directory("e"), .file("d/file", "x"),
        ])
        let summary = try extract(bytes, into: directory)
        #expect(try directory.listing() == ["d/", "d/file", "e/"])
        #expect(summary.leftOut == 1)
    }

    @Test func chainsOfLinksCannotClimb() throws {
        // x/d leads to the root; through it `x/d/..` would be the parent of the root.
        let directory = try TemporaryDirectory()
        let bytes = archive([
            .other(.symbolicLink, "x/d", to: ".."), .other(.symbolicLink, "e", to: "x/d/.."),
        ])
        try extract(bytes, into: directory)
        #expect(try directory.listing() == ["x/", "x/d -> .."])
    }

    @Test func existingLinksAreNeverFollowed() throws {
        let directory = try TemporaryDirectory()
        let outside = try TemporaryDirectory()
        try outside.write("file", "precious")
        try directory.link("dir", to: outside.path)
        try directory.link("file", to: outside("file"))
        #expect(code { try extract(archive([.file("dir/new", "x")]), into: directory) } == .obstructed)
        #expect(code { try extract(archive([.file("file", "x")]), into: directory) } == .obstructed)
        #expect(code { try extract(archive([.directory("dir")]), into: directory) } == .obstructed)
        #expect(
            code {
                try extract(archive([.other(.hardLink, "x", to: "file")]), into: directory)
            } == .unexpected)
        #expect(try outside.listing() == ["file"])
        #expect(try outside.read("file") == "precious")
    }

    @Test func existingFilesAreReplacedNotWrittenOver() throws {
        let directory = try TemporaryDirectory()
        try directory.write("file", "old")
        try FileManager.default.linkItem(atPath: directory("file"), toPath: directory("second"))
        try extract(archive([.file("file", "new")]), into: directory)
        #expect(try directory.read("file") == "new")
        #expect(try directory.read("second") == "old")
    }

    @Test func filesAndDirectoriesDoNotReplaceEachOther() throws {
        let directory = try TemporaryDirectory()
        try directory.write("file", "x")
        try directory.write("dir/inner", "x")
        #expect(code { try extract(archive([.file("dir", "y")]), into: directory) } == .obstructed)
        #expect(code { try extract(archive([.directory("file")]), into: directory) } == .obstructed)
        #expect(code { try extract(archive([.file("file/x", "y")]), into: directory) } == .obstructed)
        #expect(try directory.listing() == ["dir/", "dir/inner", "file"])
    }

    @Test(arguments: [TarEntry.Kind.characterDevice, .blockDevice, .fifo])
    func specialFilesAreLeftOut(kind: TarEntry.Kind) throws {
        let directory = try TemporaryDirectory()
        let summary = try extract(
            archive([.other(kind, "special"), .file("after", "x")]), into: directory)
        #expect(try directory.listing() == ["after"])
        #expect(summary.leftOut == 1)
    }

    @Test(arguments: ["/etc/passwd", "../x", "missing"])
    func hardLinksMustStayInside(target: String) throws {
        let directory = try TemporaryDirectory()
        #expect(
            code {
                try extract(archive([.other(.hardLink, "h", to: target)]), into: directory)
            } != nil)
        #expect(try directory.listing().isEmpty)
    }

    @Test func limitsHold() throws {
        let directory = try TemporaryDirectory()
        let many = archive((0..<5).map { .file("f\($0)", "12345") })
        #expect(
            code { try extract(many, into: directory, limits: .init(entries: 4)) } == .tooLarge)
        #expect(code { try extract(many, into: directory, limits: .init(bytes: 24)) } == .tooLarge)
        #expect(throws: Never.self) {
            try extract(many, into: directory, limits: .init(entries: 5, bytes: 25))
        }
    }

    @Test func halfAFileIsTakenAway() throws {
        let directory = try TemporaryDirectory()
        let bytes = archive([.file("whole", "x"), .file("half", String(repeating: "y", count: 5000))])
        let cut = Array(bytes[..<3000])
        #expect(code { try extract(cut, into: directory) } == .truncated)
        #expect(try directory.listing() == ["whole"])
    }

    @Test func topIsRenamed() throws {
        let directory = try TemporaryDirectory()
        let bytes = archive([
            .directory("data"), .file("data/a", "1"), .other(.symbolicLink, "data/l", to: "a"),
        ])
        try extract(bytes, into: directory, .top(renamed: Array("copy".utf8)))
        #expect(try directory.listing() == ["copy/", "copy/a", "copy/l -> a"])
    }

    @Test func topBecomesTheTarget() throws {
        let directory = try TemporaryDirectory()
        for top in ["./", "workspace"] {
            let prefix = top == "./" ? "" : top + "/"
            try extract(
                archive([.directory(top), .file(prefix + "a", "1")]), into: directory,
                .top(renamed: nil))
            #expect(try directory.listing() == ["a"])
        }
        #expect(
            code { try extract(archive([.file("f", "x")]), into: directory, .top(renamed: nil)) }
                == .unexpected)
    }

    @Test func linksOfASingleTopMayNotLeaveIt() throws {
        let directory = try TemporaryDirectory()
        let bytes = archive([.directory("d"), .other(.symbolicLink, "d/l", to: "../sibling")])
        let summary = try extract(bytes, into: directory, .top(renamed: Array("d".utf8)))
        #expect(try directory.listing() == ["d/"])
        #expect(summary.leftOut == 1)
    }

    @Test func aSecondTopIsRefused() throws {
        let directory = try TemporaryDirectory()
        let bytes = archive([.file("asked", "x"), .file(".bashrc", "evil")])
        #expect(
            code { try extract(bytes, into: directory, .top(renamed: Array("asked".utf8))) }
                == .unexpected)
        #expect(try directory.listing() == ["asked"])
    }

    @Test func deployArchives() throws {
        let directory = try TemporaryDirectory()
        var settings = ""
        let bytes = archive([
            .file("superserve.yaml", "name: x\n"), .directory("source", mode: 0o700),
            .file("source/agent.py", "print()", mode: 0o600), .file("source/run", "", mode: 0o700),
            .file("elsewhere", "ignored"), .other(.symbolicLink, "source/python", to: "/usr/bin/python3"),
            .other(.symbolicLink, "source/shadow", to: "/etc/../root"),
            .other(.symbolicLink, "source/libc", to: "/lib64/libc.so"),
        ])
        let summary = try extract(
            bytes, into: directory, .below("source/"), modes: .normalised,
            links: .insideTree(orBelow: ["/usr", "/bin", "/lib*", "/etc"]),
            firstFile: .init(name: "superserve.yaml", limit: 100) {
                settings = String(decoding: $0, as: UTF8.self)
            })
        #expect(settings == "name: x\n")
        #expect(
            try directory.listing() == [
                "agent.py", "libc -> /lib64/libc.so", "python -> /usr/bin/python3", "run",
            ])
        #expect(directory.mode("agent.py") == 0o644)
        #expect(directory.mode("run") == 0o755)
        #expect(summary.leftOut == 1)
    }

    @Test func theFirstFileMustComeFirst() throws {
        let directory = try TemporaryDirectory()
        let first = TarExtractor.Options.FirstFile(name: "superserve.yaml", limit: 10) { _ in }
        for entries in [
            [Made](), [.file("other", "x")], [.directory("superserve.yaml")],
            [.other(.symbolicLink, "superserve.yaml", to: "x")],
        ] {
            #expect(code { try extract(archive(entries), into: directory, firstFile: first) } == .unexpected)
        }
        let large = archive([.file("superserve.yaml", String(repeating: "x", count: 11))])
        #expect(code { try extract(large, into: directory, firstFile: first) } == .tooLarge)
    }
}
