import Testing

@testable import Client

@Suite struct SocketSearchTests {
    @Test func directoriesOfAUser() {
        func find(_ environment: [String: String], uid: UInt32 = 1000) -> SupervisorDirectories {
            SupervisorDirectories(environment: environment, uid: uid, home: "/home/db")
        }
        #expect(
            find(["HOME": "/home/a", "XDG_RUNTIME_DIR": "/run/user/1000"])
                == SupervisorDirectories(
                    state: "/home/a/.local/state/superserve", runtime: "/run/user/1000/superserve"))
        #expect(find([:]).state == "/home/db/.local/state/superserve")
        #expect(find([:]).runtime == "/home/db/.local/state/superserve/run")
        #expect(find(["XDG_STATE_HOME": "/s"]).socket == "/s/superserve/run/superserved.sock")
        #expect(find(["XDG_STATE_HOME": "relative"]).state == "/home/db/.local/state/superserve")
        let root = find(["HOME": "/root", "XDG_RUNTIME_DIR": "/run/user/0"], uid: 0)
        #expect(root.state == "/var/lib/superserve")
        #expect(root.socket == SupervisorDirectories.systemSocket)
        #expect(
            SupervisorDirectories.personalState(environment: ["HOME": "/home/r"], home: "/")
                == "/home/r/.local/state/superserve")
    }

    @Test func orderOfSockets() throws {
        let directories = SupervisorDirectories(state: "/s", runtime: "/r")
        func search(
            _ host: String? = nil, local: Bool = false, system: Bool = true
        ) throws -> [String] {
            try SocketSearch(
                host: host, local: local, directories: directories, systemSocketExists: system
            ).candidates
        }
        #expect(try search() == ["/run/superserve/superserved.sock", "/r/superserved.sock"])
        #expect(try search(system: false) == ["/r/superserved.sock"])
        #expect(try search(local: true) == ["/r/superserved.sock"])
        #expect(try search("unix:///tmp/s") == ["/tmp/s"])
    }

    @Test(arguments: ["", "unix:", "unix://relative", "http://x", "/tmp/s", "tcp://1.2.3.4"])
    func wrongHosts(host: String) {
        #expect(throws: ClientError.self) { try SocketSearch.path(ofHost: host) }
    }
}
