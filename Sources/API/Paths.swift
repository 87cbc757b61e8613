// The paths of the API, in one place for server and client.
//
//   GET    /healthz
//   GET    /v1/agents                      WireAgentList
//   POST   /v1/agents                      body: tar; first entry `superserve.yaml`, then `source/…`; 201 WireAgent
//   GET    /v1/agents/{name}               WireAgent
//   DELETE /v1/agents/{name}               204
//   GET    /v1/agents/{name}/secrets       WireSecretList; without values
//   PUT    /v1/agents/{name}/secrets/{key} WireSetSecret -> 204
//   DELETE /v1/agents/{name}/secrets/{key} 204
//   GET    /v1/sessions?agent=&status=&limit=&all=    WireSessionList
//   POST   /v1/sessions                    WireCreateSession -> 201 WireSession
//   GET    /v1/sessions/resolve?prefix=    WireSession
//   GET    /v1/sessions/{id}               WireSession; {id} is any unique prefix here and below
//   DELETE /v1/sessions/{id}               204; only a session without messages (its creator leaves it unused)
//   GET    /v1/sessions/{id}/messages      WireHistory
//   POST   /v1/sessions/{id}/messages      WireSendMessage -> text/event-stream of the turn, or 202 WireAccepted
//   GET    /v1/sessions/{id}/events?after=N&follow=0|1  text/event-stream; `Last-Event-ID` wins over `after`
//   POST   /v1/sessions/{id}/cancel        202 WireSession; 409 session_not_active… is not an error: idle answers 200
//   POST   /v1/sessions/{id}/resume        WireSession; restarts the idle clock; 409 session_not_resumable
//   POST   /v1/sessions/{id}/end           WireSession
//   GET    /v1/sessions/{id}/network?limit=  WireNetwork: what it may reach, and what it tried
//   POST   /v1/sessions/{id}/network       WireEditNetwork -> WireNetwork
//   GET    /v1/sessions/{id}/files?path=   application/x-tar; the named file or directory is the first entry
//   PUT    /v1/sessions/{id}/files?path=   body: tar with one top entry; `cp -r` semantics; 204

/// Path building for clients.
public enum APIPath {
    public static let health = "/healthz"
    public static let agents = "/v1/agents"
    public static let sessions = "/v1/sessions"
    public static let resolve = "/v1/sessions/resolve"

    /// `/v1/agents/{name}`
    public static func agent(_ name: String) -> String { "/v1/agents/\(escape(name))" }

    /// `/v1/agents/{name}/secrets` or `/v1/agents/{name}/secrets/{key}`
    public static func secrets(_ agent: String, _ key: String? = nil) -> String {
        "\(Self.agent(agent))/secrets" + (key.map { "/\(escape($0))" } ?? "")
    }

    /// `/v1/sessions/{id}` and what hangs below it, for example `"messages"`.
    public static func session(_ id: String, _ rest: String = "") -> String {
        let base = "/v1/sessions/\(escape(id))"
        return rest.isEmpty ? base : "\(base)/\(rest)"
    }

    /// Percent-encodes everything but RFC 3986 unreserved characters.
    public static func escape(_ text: String) -> String {
        var result = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
                UInt8(ascii: "_"), UInt8(ascii: "~"):
                result.append(Character(UnicodeScalar(byte)))
            default:
                let digits = String(byte, radix: 16, uppercase: true)
                result += "%" + (digits.count == 1 ? "0" + digits : digits)
            }
        }
        return result
    }
}

/// Limits that both sides know; the server's configuration may lower them.
public enum APILimits {
    /// Bytes of one user message.
    public static let messageBytes = 1 << 20
    /// Bytes of one deployed source tree.
    public static let deployBytes: Int64 = 512 << 20
    /// Bytes of a secret's value.
    public static let secretBytes = 16 << 10
    /// Seconds between heartbeats of an event stream.
    public static let heartbeatSeconds = 15
    /// Seconds: the bounds of an idle timeout, 10 s to 30 days.
    public static let idleTimeoutSeconds = 10...2_592_000
}
