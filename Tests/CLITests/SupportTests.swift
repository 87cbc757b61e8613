import ArgumentParser
import Foundation
import Testing

@testable import CLI

@Suite(.timeLimit(.minutes(1))) struct SupportTests {
    @Test(arguments: ["", "plain", "two\nlines", "back\\slash", "\\n", "\\\\n\n", "end\\"])
    func historyLinesRoundTrip(line: String) {
        let encoded = PromptHistory.encode(line)
        #expect(!encoded.contains("\n"))
        #expect(PromptHistory.decode(encoded) == line)
    }

    @Test func historyIsPrivateAndBounded() throws {
        let directory = NSTemporaryDirectory() + "cli-history-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let history = PromptHistory(directory: directory + "/state")
        #expect(history.load().isEmpty)
        history.append("one")
        history.append("two\nlines")
        #expect(history.load() == ["one", "two\nlines"])
        let path = directory + "/state/prompt-history"
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        #expect(attributes[.posixPermissions] as? Int == 0o600)
        history.append(String(repeating: "x", count: PromptHistory.byteLimit))
        #expect(history.load().count == 2, "lines over the limit are not kept")
        let many = String(repeating: String(repeating: "y", count: 999) + "\n", count: 1200)
        try many.write(toFile: path, atomically: false, encoding: .utf8)
        #expect(history.load().count == PromptHistory.lineLimit)
        let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int
        #expect(try #require(size) <= PromptHistory.byteLimit / 2)
    }

    @Test func historyIsNotWrittenThroughALink() throws {
        let directory = NSTemporaryDirectory() + "cli-history-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let target = directory + "/precious"
        try "kept".write(toFile: target, atomically: true, encoding: .utf8)
        try FileManager.default.createSymbolicLink(
            atPath: directory + "/prompt-history", withDestinationPath: target)
        let history = PromptHistory(directory: directory)
        history.append("line")
        #expect(history.load().isEmpty)
        #expect(try String(contentsOfFile: target, encoding: .utf8) == "kept")
    }

    @Test func mailboxesKeepOrderAndHoldSendersBack() async {
        let mailbox = Mailbox<Int>()
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                for number in 0..<1000 { await mailbox.send(number) }
            }
            var received: [Int] = []
            while received.count < 1000 { received.append(await mailbox.next()) }
            #expect(received == Array(0..<1000))
        }
        mailbox.close()
        for number in 0..<200 { await mailbox.send(number) }
    }

    @Test func workOnAThreadStaysInOrder() async {
        actor Worker {
            private let executor = ThreadExecutor("test")
            nonisolated var unownedExecutor: UnownedSerialExecutor {
                executor.asUnownedSerialExecutor()
            }
            private(set) var numbers: [Int] = []
            private var threads: Set<pthread_t> = []

            func add(_ number: Int) -> Int {
                numbers.append(number)
                threads.insert(pthread_self())
                return threads.count
            }
        }
        let worker = Worker()
        for number in 0..<100 { #expect(await worker.add(number) == 1) }
        #expect(await worker.numbers == Array(0..<100))
    }

    @Test func deadlinesGiveUp() async {
        let slow = await Deadline.run(seconds: 0) {
            try await Task.sleep(for: .seconds(30))
            return 1
        }
        #expect(slow == nil)
        #expect(await Deadline.run(seconds: 30) { 2 } == 2)
    }

    @Test(arguments: [
        ["run", "agent", "prompt", "--single", "--idle-timeout", "29m", "--upload", "a:b"],
        ["run", "agent", "--rm", "--local"], ["run", "agent", "--", "-5"],
        ["sessions", "list", "--agent", "a", "--status", "IDLE", "--limit", "5", "--all"],
        ["sessions", "list", "a", "--agent", "a"], ["sessions", "get", "a1", "--json"],
        ["sessions", "resume", "a1", "prompt", "--json"], ["sessions", "end", "a1"],
        ["sessions", "history", "a1", "--markdown"], ["sessions", "cp", "a1:x", "-"],
        ["sessions", "cp", "-", "a1:x"], ["agents", "list"], ["agents", "get", "a"],
        ["agents", "delete", "a"], ["deploy"], ["deploy", "dir", "--json"],
        ["supervisor", "start"], ["supervisor", "stop"], ["supervisor", "status", "--json"],
        ["supervisor", "reload"],
        ["completions", "bash"], ["sessions", "list", "--host", "unix:///tmp/s"],
    ])
    func commandsParse(arguments: [String]) {
        #expect(throws: Never.self) { try Superserve.parseAsRoot(arguments) }
    }

    @Test(arguments: [
        ["run"], ["run", ""], ["run", "a", " "], ["run", "a", "b", "c"], ["bogus"],
        ["run", "a", "--detach", "--rm"], ["run", "a", "--idle-timeout", "9s"],
        ["run", "a", "--idle-timeout", "31d"], ["run", "a", "--idle-timeout", "soon"],
        ["sessions", "get"], ["sessions", "get", ""], ["sessions", "list", "a", "--agent", "b"],
        ["sessions", "list", "--status", "bogus"], ["sessions", "list", "--limit", "0"],
        ["sessions", "cp", "a", "b"], ["sessions", "cp", "a1:x", "b2:y"],
        ["sessions", "cp", "-", "-"],
        ["sessions", "cp", "-", "a1:"], ["sessions", "history", "a1", "--json", "--markdown"],
        ["completions", "csh"],
    ])
    func wrongUsageExitsWith64(arguments: [String]) {
        do {
            _ = try Superserve.parseAsRoot(arguments)
            Issue.record("parsed")
        } catch {
            #expect(Superserve.exitCode(for: error) == ExitCode(64))
        }
    }

    @Test(arguments: [CompletionShell.bash, .zsh, .fish])
    func completionScriptsNameEveryCommand(shell: CompletionShell) {
        let script = Superserve.completionScript(for: shell)
        for word in ["run", "sessions", "history", "deploy", "supervisor", "idle-timeout"] {
            #expect(script.contains(word))
        }
    }
}
