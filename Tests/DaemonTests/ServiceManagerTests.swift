import CDispatch
import Foundation
import Glibc
import Logging
import Settings
import Testing

@testable import Daemon

/// A datagram socket that stands for systemd's or the journal's.
final class Listener {
    let descriptor: Int32

    /// `path`: a file, or with '@' an abstract name.
    init(_ path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { bytes in
            bytes.copyBytes(from: path.utf8)
            if path.hasPrefix("@") { bytes[0] = 0 }
        }
        let size = socklen_t(MemoryLayout<sa_family_t>.size + path.utf8.count)
        let result = withUnsafePointer(to: address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, size) }
        }
        try #require(result == 0, "\(path): \(String(cString: strerror(errno)))")
        var patience = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit { close(descriptor) }

    func next() -> String {
        var bytes = [UInt8](repeating: 0, count: 65536)
        let count = recv(descriptor, &bytes, bytes.count, 0)
        return count < 0 ? "nothing came" : String(decoding: bytes[..<count], as: UTF8.self)
    }
}

/// NOTIFY_SOCKET belongs to the process: one test at a time.
@Suite("What systemd and the journal are told", .serialized)
struct ServiceManagerTests {
    private func withSocket(_ path: String, _ body: (Listener) throws -> Void) throws {
        let listener = try Listener(path)
        setenv("NOTIFY_SOCKET", path, 1)
        defer {
            unsetenv("NOTIFY_SOCKET")
            unlink(path)
        }
        try body(listener)
    }

    @Test(arguments: [
        "/tmp/superserve-notify-\(getpid())", "@superserve-notify-\(getpid())",
    ])
    func datagramsArrive(path: String) throws {
        try withSocket(path) { listener in
            let manager = ServiceManager(environment: [:])
            manager.ready("Serving")
            #expect(listener.next() == "READY=1\nSTATUS=Serving\n")
            manager.ready("a\nREADY=0\u{1}")
            #expect(listener.next() == "READY=1\nSTATUS=a READY=0 \n")
            manager.isAlive()
            #expect(listener.next() == "WATCHDOG=1\n")
            manager.stopping()
            #expect(listener.next().hasPrefix("STOPPING=1\n"))
        }
    }

    @Test func aReloadSaysWhenItBegan() throws {
        try withSocket("@superserve-reload-\(getpid())") { listener in
            var before = timespec()
            clock_gettime(CLOCK_MONOTONIC, &before)
            ServiceManager(environment: [:]).reloading()
            let lines = listener.next().split(separator: "\n")
            #expect(lines.first == "RELOADING=1")
            let time = try #require(lines.last?.split(separator: "=").last.flatMap { Int($0) })
            #expect(lines.last?.hasPrefix("MONOTONIC_USEC=") == true)
            #expect((0..<60_000_000).contains(time - before.tv_sec * 1_000_000))
        }
    }

    @Test func withoutASocketNothingHappens() {
        ServiceManager(environment: [:]).ready("Serving")
        for path in ["", "relative", "/", "@", String(repeating: "/x", count: 60)] {
            setenv("NOTIFY_SOCKET", path, 1)
            ServiceManager(environment: [:]).ready("Serving")
        }
        unsetenv("NOTIFY_SOCKET")
    }

    @Test func theWatchdogIsOursOnly() {
        func seconds(_ environment: [String: String]) -> Double? {
            ServiceManager(environment: environment, pid: 7).watchdogSeconds
        }
        #expect(seconds([:]) == nil)
        #expect(seconds(["WATCHDOG_USEC": "60000000"]) == 60)
        #expect(seconds(["WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"]) == 60)
        #expect(seconds(["WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "8"]) == nil)
        #expect(seconds(["WATCHDOG_USEC": "0"]) == nil)
        #expect(seconds(["WATCHDOG_USEC": "soon"]) == nil)
    }

    @Test func theJournalGetsFields() throws {
        let path = "/tmp/superserve-journal-\(getpid())"
        let listener = try Listener(path)
        defer { unlink(path) }
        let journal = try #require(Journal(connectingTo: path))
        #expect(journal.send([("MESSAGE", "a=b"), ("PRIORITY", "6")]))
        #expect(listener.next() == "MESSAGE=a=b\nPRIORITY=6\n")
        let length = "\u{3}" + String(repeating: "\0", count: 7)
        #expect(journal.send([("MESSAGE", "a\nb")]))
        #expect(listener.next() == "MESSAGE\n\(length)a\nb\n")
        let long = String(repeating: "x", count: Journal.maximumField + 1)
        #expect(journal.send([("MESSAGE", long)]))
        #expect(listener.next().utf8.count == "MESSAGE=\n".utf8.count + Journal.maximumField)
        #expect(Journal(connectingTo: path + ".none") == nil)
        #expect(Journal(stream: "1:2") == nil)
    }

    @Test func fieldsAreNotSaidTwice() {
        let metadata: Logger.Metadata = [
            "session": "abc", "session_id": "ses_abc", "agent": "a", "turn": "3", "cause": "c",
            "pid": "7",
        ]
        #expect(LineLogHandler.text("failed\n\u{1b}[1m", metadata) == "[abc] failed  [1m pid=7")
    }

    @Test func settingsThatWaitAreNamed() throws {
        let old = SupervisorConfig()
        let text = "max_clients: 9\nlog_level: debug\nidle_timeout: 60\nservice_uid: 4"
        let new = try SupervisorConfig(yaml: text, file: "")
        #expect(
            Reload.waiting(Reload.Pair(old: old, new: new))
                == ["max_clients", "service_uid", "log_level"])
        #expect(Reload.waiting(Reload.Pair(old: old, new: old)) == [])
    }
}
