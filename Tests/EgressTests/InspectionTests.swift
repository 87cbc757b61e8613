import Testing

@testable import Egress

@Suite("First bytes of clients in tunnels")
struct InspectionTests {
    private static let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    private static let long = String(repeating: "A", count: 40)

    private static func kind(_ text: String) -> String {
        switch Inspection(of: Array(text.utf8)) {
        case .needsMore: "more"
        case .tls: "tls"
        case .http: "http"
        case .other: "other"
        case .refused: "refused"
        }
    }

    /// What some server takes for a request must be read as one, or refused.
    @Test(arguments: [
        "GET / HTTP/1.1\r\n", "\r\nGET / HTTP/1.1\r\n", "\nGET / HTTP/1.1\n", " GET / HTTP/1.1\r\n",
        "GET  / HTTP/1.1\r\n", "GET\t/ HTTP/1.1\r\n", "GET\r/ HTTP/1.1\r\n", "GET / HTTP/1.1 \r\n",
        "GET / HTTP/1.10\r\n", "GET / http/1.1\r\n", "G!T / HTTP/1.1\r\n", "GET /\0 HTTP/1.1\r\n",
        "GET / HTTP/2.0\r\n", long + " / HTTP/1.1\r\n", "\u{b}\u{c}GET / HTTP/1.1\r\n",
    ])
    func requests(_ text: String) {
        #expect(Self.kind(text) == "http")
        // Nothing is passed on before the line is whole.
        for count in 0..<(text.utf8.count - 1) {
            let part = String(decoding: text.utf8.prefix(count), as: UTF8.self)
            #expect(Self.kind(part) == "more", "\(part)")
        }
    }

    @Test(arguments: [
        preface, "PROXY TCP4 192.0.2.1 192.0.2.1 1 2\r\n", "\r\n\r\n\0\r\nQUIT\n", "GET /\r\n",
        "GET /path\n", String(repeating: " ", count: 16384),
        "GET /" + String(repeating: "a", count: 16384),
    ])
    func refusals(_ text: String) { #expect(Self.kind(text) == "refused") }

    /// Protocols that are none of ours go through as they are.
    @Test(arguments: [
        "SSH-2.0-OpenSSH_9.2\r\n", "EHLO me\r\n", "PING\r\n", "GET key\r\n", "get /key\r\n",
        "0032git-upload-pack /x\0host=a\0", "<stream>", "\0\0\0\u{8}", "\u{5}\u{1}", "USER a\n",
    ])
    func others(_ text: String) { #expect(Self.kind(text) == "other") }
}
