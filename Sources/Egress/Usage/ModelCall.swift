internal import NIOCore
internal import NIOHTTP1

/// A request that may be one to a model, and its answer, as far as tokens go. It sees the bytes of
/// both as they pass and keeps none of them.
struct ModelCall {
    /// Bytes of a request in which the model's name is looked for.
    private static let lookedAt = 64 << 10

    private var scanner = JSONScanner()
    private var model: String?
    private var sent = 0
    private var answer: UsageReader?

    /// What it came to.
    struct Result: Hashable {
        var model: String?
        var usage: TokenUsage
    }

    mutating func sent(_ bytes: ByteBuffer) {
        let left = model == nil ? max(0, Self.lookedAt - sent) : 0
        sent += bytes.readableBytes
        for byte in bytes.readableBytesView.prefix(left) {
            if case .model(let name) = scanner.feed(byte) {
                model = name
                break
            }
        }
    }

    mutating func answered(_ head: HTTPResponseHead) {
        let coding = head.headers.first(name: "content-encoding")?.lowercased() ?? "identity"
        guard head.status.code == 200, coding == "identity" else { return }
        answer = UsageReader(contentType: head.headers.first(name: "content-type"))
    }

    mutating func received(_ bytes: ByteBuffer) {
        guard answer != nil else { return }
        bytes.withUnsafeReadableBytes { answer?.feed($0) }
    }

    /// Nil where it was none to a model. The answer's name for the model is that of who will be
    /// paid; input that nobody counted is taken for a token every four bytes.
    var result: Result? {
        guard let answer, var usage = answer.usage else { return nil }
        if usage.isEstimated, !answer.knowsInput { usage.input = Int64(sent + 3) / 4 }
        return Result(model: answer.model ?? model, usage: usage)
    }

    /// Answers that are compressed could not be read: what may be a call to a model asks for plain
    /// ones.
    static func prepare(_ head: inout HTTPRequestHead) {
        guard head.method == .POST else { return }
        head.headers.replaceOrAdd(name: "accept-encoding", value: "identity")
    }
}
