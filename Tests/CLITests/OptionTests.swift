import Foundation
import Testing

@testable import CLI

@Suite struct OptionTests {
    @Test(
        arguments: [
            ("90", 90), ("90s", 90), ("29m", 1740), ("2h", 7200), ("30d", 2_592_000), ("0", 0),
            ("", nil), ("s", nil), ("-5", nil), ("1.5h", nil), ("5x", nil), ("5 m", nil),
            ("m5", nil),
            ("9999999999999999999", nil), ("999999999999999999d", nil), ("\u{0665}", nil),
        ] as [(String, Int?)])
    func durations(text: String, seconds: Int?) {
        #expect(DurationOption(argument: text)?.seconds == seconds)
    }

    @Test(
        arguments: [
            ("1000", 1000), ("64K", 65536), ("500m", 500 << 20), ("16G", 16 << 30), ("1T", 1 << 40),
            ("", nil), ("G", nil), ("-1", nil), ("9999999999T", nil), ("1.5G", nil),
        ] as [(String, Int64?)])
    func sizes(text: String, bytes: Int64?) {
        #expect(SizeOption(argument: text)?.bytes == bytes)
    }

    @Test func sizesAreShownShort() {
        #expect("\(SizeOption.defaultDownload)" == "16G")
        #expect("\(SizeOption(bytes: 1500))" == "1500")
        #expect("\(SizeOption(bytes: 0))" == "0")
    }

    @Test(
        arguments: [
            ("a1b2:data.txt", .session(id: "a1b2", path: SessionPath("data.txt"))),
            ("ses_a1:/etc/hosts", .session(id: "ses_a1", path: SessionPath("/etc/hosts"))),
            ("a1:", .session(id: "a1", path: SessionPath(""))),
            ("a1:x:y", .session(id: "a1", path: SessionPath("x:y"))),
            ("./a1:x", .local("./a1:x")), ("dir/a:b", .local("dir/a:b")),
            ("/abs:x", .local("/abs:x")),
            ("plain", .local("plain")), ("-", .stream), (":x", nil), ("", nil),
        ] as [(String, CopyLocation?)])
    func sidesOfACopy(text: String, expected: CopyLocation?) {
        #expect(CopyLocation(argument: text) == expected)
    }

    @Test(
        arguments: [
            ("data.txt", "/workspace/data.txt", "data.txt"), ("dir/", "/workspace/dir/", "dir"),
            ("/etc/hosts", "/etc/hosts", "hosts"), ("", "/workspace", nil),
            (".", "/workspace/.", nil), ("a/.", "/workspace/a/.", nil),
            ("..", "/workspace/..", nil),
            ("/", "/", nil), ("/workspace", "/workspace", "workspace"),
            ("../etc", "/workspace/../etc", "etc"),
        ] as [(String, String, String?)])
    func pathsInASession(text: String, whole: String, name: String?) {
        let path = SessionPath(text)
        #expect(path.text == whole)
        #expect(path.copyName == name)
    }

    @Test func uploads() {
        func parse(_ text: String, existing: Set<String> = []) -> [String]? {
            UploadOption(text) { existing.contains($0) }.map { [$0.path, $0.destination.text] }
        }
        #expect(parse("file") == ["file", "/workspace"])
        #expect(parse("file:dest") == ["file", "/workspace/dest"])
        #expect(parse("a:b:c") == ["a:b", "/workspace/c"])
        #expect(parse("a:b", existing: ["a:b"]) == ["a:b", "/workspace"])
        #expect(parse("a:/opt/x") == ["a", "/opt/x"])
        #expect(parse(":x") == nil)
        #expect(parse("") == nil)
    }

    @Test(arguments: [
        ("a/b", "b", "a"), ("b", "b", "."), ("/b", "b", "/"), ("a//b//", "b", "a"), (".", ".", "."),
        ("a/..", ".", "a"), ("/", ".", "."),
    ])
    func localNames(path: String, name: String, parent: String) {
        #expect(LocalPath.name(of: path) == name)
        if path != "/" { #expect(LocalPath.parent(of: path) == parent) }
    }

    @Test func targetsOfADownload() throws {
        let base = NSTemporaryDirectory() + "cli-tests-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: base, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: base) }
        func target(_ local: String, _ session: String) throws -> DownloadTarget {
            try DownloadTarget(base + local, for: SessionPath(session))
        }
        #expect(try target("", "dir/x.txt") == DownloadTarget(directory: base, name: "x.txt"))
        #expect(try target("/", "dir/.") == DownloadTarget(directory: base + "/", name: nil))
        #expect(try target("/new", "dir") == DownloadTarget(directory: base, name: "new"))
        #expect(throws: CLIError.self) { try target("/missing/new", "dir") }
        #expect(throws: CLIError.self) { try target("/new/", "file") }
    }

    @Test(
        arguments: [
            ("name: x\nsource: code\n", "code"), ("source:   ./a b  # note\n", "./a b"),
            ("source: \"quoted # dir\"\n", "quoted # dir"), ("source: 'single'\n", "single"),
            ("source: a#b\r\nname: x\r\n", "a#b"), ("x:\n  source: nested\n", nil),
            ("source:\n", nil),
            ("source: # only a note\n", nil), ("#source: off\n", nil), ("source: ~\n", nil),
            ("", nil),
            ("sources: x\n", nil),
        ] as [(String, String?)])
    func sourceOfADeployment(yaml: String, source: String?) {
        #expect(Deployment.source(in: yaml) == source)
    }

    @Test(arguments: [
        (".git", true), (".env", true), (".env.local", true), ("__pycache__", true),
        (".superserve", true), (".gitignore", false), ("env", false), ("agent.py", false),
    ])
    func secretsAreNotUploaded(name: String, isExcluded: Bool) {
        #expect(Deployment.excludes(Array(name.utf8)) == isExcluded)
    }

    @Test func daemonsGetAPlainEnvironment() {
        let environment = [
            "PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "XDG_RUNTIME_DIR": "/r", "LANG": "C",
            "ANTHROPIC_API_KEY": "secret", "LD_PRELOAD": "x", "SSH_AUTH_SOCK": "s", "TMPDIR": "/t",
        ]
        #expect(
            DaemonEnvironment.filter(environment) == [
                "HOME=/h", "LANG=C", "LC_ALL=C", "PATH=/bin", "TMPDIR=/t", "XDG_RUNTIME_DIR=/r",
            ])
    }
}
