import Foundation
import Testing

@testable import Archive

@Suite struct TarPackerTests {
    @Test func treesComeBack() throws {
        let source = try TemporaryDirectory()
        try source.write("tree/a.txt", "alpha", mode: 0o640)
        try source.write("tree/sub/b.bin", String(repeating: "b", count: 300_000))
        try source.write("tree/empty", "")
        try source.link("tree/link", to: "a.txt")
        mkfifo(source("tree/fifo"), 0o600)
        let packer = TarPacker(path: source("tree"), name: "tree")
        let bytes = try pack(packer)
        let target = try TemporaryDirectory()
        try extract(bytes, into: target, modes: .keep(mask: 0))
        #expect(
            try target.listing() == [
                "tree/", "tree/a.txt", "tree/empty", "tree/link -> a.txt", "tree/sub/",
                "tree/sub/b.bin",
            ])
        #expect(try target.read("tree/sub/b.bin") == source.read("tree/sub/b.bin"))
        #expect(target.mode("tree/a.txt") == 0o640)
        #expect(packer.notes == ["Left out 'tree/fifo': neither a file nor a directory"])
    }

    @Test func singleFilesAreRenamed() throws {
        let source = try TemporaryDirectory()
        try source.write("a.txt", "alpha")
        try source.link("link", to: "a.txt")
        let parsed = try parse(pack(TarPacker(path: source("link"), name: "b.txt")))
        #expect(parsed.map(\.entry.nameText) == ["b.txt"])
        #expect(parsed.map(\.data) == [Array("alpha".utf8)])
    }

    @Test func firstFilesAndExclusions() throws {
        let source = try TemporaryDirectory()
        try source.write("src/.git/config", "x")
        try source.write("src/agent.py", "y")
        let packer = TarPacker(
            path: source("src"), name: "source", firstFiles: [("superserve.yaml", [0x61])],
            excludes: { $0 == Array(".git".utf8) })
        let names = try parse(pack(packer)).map(\.entry.nameText)
        #expect(names == ["superserve.yaml", "source/", "source/agent.py"])
        let alone = TarPacker(path: nil, name: "", firstFiles: [("superserve.yaml", [0x61])])
        #expect(try parse(pack(alone)).map(\.entry.nameText) == ["superserve.yaml"])
    }

    @Test func limitsHold() throws {
        let source = try TemporaryDirectory()
        try source.write("d/a", "12345")
        try source.write("d/b", "12345")
        #expect(code { _ = try pack(TarPacker(path: source("d"), name: "d", byteLimit: 9)) } == .tooLarge)
        #expect(throws: Never.self) {
            try pack(TarPacker(path: source("d"), name: "d", byteLimit: 10))
        }
    }

    @Test func missingFilesAreErrors() {
        #expect(code { _ = try pack(TarPacker(path: "/nonexistent/x", name: "x")) } == .system)
        #expect(code { _ = try pack(TarPacker(path: "/dev/null", name: "x")) } == .unsupported)
    }
}
