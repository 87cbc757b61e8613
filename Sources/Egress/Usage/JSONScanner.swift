/// Finds the few values of a JSON text that tell what a model was and what it used, byte by byte
/// and in constant memory: strings, arrays and depths of any size pass through it. What is no JSON
/// gives nothing, or nonsense that is bounded; it never stops.
struct JSONScanner {
    /// A value at a place that matters.
    enum Found: Equatable {
        case model(String)
        case number(Field, Int64)
        /// A number of the beginning of an answer, which a later one replaces.
        case early(Field, Int64)
        /// A piece of an answer that is streamed.
        case piece
    }

    /// Numbers of a `usage` object.
    enum Field: Equatable {
        /// Input with what came from a cache (OpenAI).
        case input
        case output
        /// Of the input, what came from a cache.
        case cached
        /// Input that was read from a cache and is not in `input` (Anthropic).
        case cacheRead
        /// Input that was written to a cache and is not in `input` (Anthropic).
        case cacheWritten
    }

    private enum Key {
        case other, usage, model, response, message, details, piece
        case input, output, cached, cacheRead, cacheWritten
    }

    /// Objects below this depth have nothing that matters.
    private static let deepest = 4
    /// Bytes of a key or of a model's name that are kept.
    private static let longest = 128
    private static let mostDigits = 12

    private enum Text {
        case none
        case key
        case model
        /// A string that does not matter.
        case other
    }

    private var depth = 0
    /// Of each level down to `deepest`: whether it is an object, and its newest key.
    private var levels: [(isObject: Bool, key: Key)] = []
    private var expectsKey = false
    private var text = Text.none
    private var isEscaped = false
    private var kept: [UInt8] = []
    private var isWhole = true
    /// Digits of a number that matters.
    private var number: (field: Field, value: Int64, digits: Int)?
    private var isEarly = false

    init() {
        levels.reserveCapacity(Self.deepest)
        kept.reserveCapacity(Self.longest)
    }

    /// Begins a new text.
    mutating func reset() {
        depth = 0
        levels.removeAll(keepingCapacity: true)
        expectsKey = false
        text = .none
        isEscaped = false
        number = nil
    }

    mutating func feed(_ byte: UInt8) -> Found? {
        if case .none = text {} else { return inText(byte) }
        switch byte {
        case 0x30...0x39:
            digit(byte)
            return nil
        case UInt8(ascii: "\""):
            beginText()
            return nil
        case UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "e"),
            UInt8(ascii: "E"):
            // A count is a whole number; of another one nothing is believed.
            number?.digits = Self.mostDigits + 1
            return nil
        case UInt8(ascii: "{"), UInt8(ascii: "["): return begin(isObject: byte == UInt8(ascii: "{"))
        case UInt8(ascii: "}"), UInt8(ascii: "]"): return end()
        case UInt8(ascii: ","):
            expectsKey = depth > 0 && depth <= Self.deepest && levels[depth - 1].isObject
            return endNumber()
        case UInt8(ascii: ":"):
            expectsKey = false
            beginNumber()
            return nil
        default: return nil
        }
    }

    private mutating func begin(isObject: Bool) -> Found? {
        number = nil
        depth += 1
        if depth <= Self.deepest { levels.append((isObject, .other)) }
        expectsKey = isObject && depth <= Self.deepest
        return nil
    }

    private mutating func end() -> Found? {
        let found = endNumber()
        if depth > 0, depth <= Self.deepest { levels.removeLast() }
        depth = max(0, depth - 1)
        expectsKey = false
        return found
    }

    private mutating func digit(_ byte: UInt8) {
        guard var now = number, now.digits < Self.mostDigits else {
            number?.digits = Self.mostDigits + 1
            return
        }
        now.value = now.value * 10 + Int64(byte - 0x30)
        now.digits += 1
        number = now
    }

    private mutating func endNumber() -> Found? {
        guard let now = number else { return nil }
        number = nil
        guard (1...Self.mostDigits).contains(now.digits) else { return nil }
        return isEarly ? .early(now.field, now.value) : .number(now.field, now.value)
    }

    private mutating func beginText() {
        kept.removeAll(keepingCapacity: true)
        isWhole = true
        number = nil
        if expectsKey {
            text = .key
        } else {
            text = isModelHere ? .model : .other
        }
    }

    private mutating func inText(_ byte: UInt8) -> Found? {
        if isEscaped {
            isEscaped = false
            // The others stand for characters that no name of ours has.
            let isPlain = byte == UInt8(ascii: "/") || byte == UInt8(ascii: "\"")
            keep(byte, isPlain: isPlain)
            return nil
        }
        switch byte {
        case UInt8(ascii: "\\"):
            isEscaped = true
            return nil
        case UInt8(ascii: "\""):
            defer { text = .none }
            switch text {
            case .key: return endKey()
            case .model where isWhole && !kept.isEmpty:
                return .model(String(decoding: kept, as: UTF8.self))
            case .none, .model, .other: return nil
            }
        default:
            keep(byte, isPlain: (0x20...0x7e).contains(byte))
            return nil
        }
    }

    private mutating func keep(_ byte: UInt8, isPlain: Bool) {
        if case .other = text { return }
        guard isPlain, kept.count < Self.longest else {
            isWhole = false
            return
        }
        kept.append(byte)
    }

    private mutating func endKey() -> Found? {
        guard depth > 0, depth <= Self.deepest else { return nil }
        let key = isWhole ? Self.key(kept) : .other
        levels[depth - 1].key = key
        return depth == 1 && key == .piece ? .piece : nil
    }

    /// The path from the outermost object on, without what streams wrap around.
    private var path: ArraySlice<(isObject: Bool, key: Key)>? {
        guard depth > 0, depth <= Self.deepest, levels.allSatisfy(\.isObject) else { return nil }
        let wraps = depth > 1 && (levels[0].key == .response || levels[0].key == .message)
        return wraps ? levels[1...] : levels[...]
    }

    private var isModelHere: Bool {
        guard let path else { return false }
        return path.count == 1 && path.first?.key == .model
    }

    private var fieldHere: Field? {
        guard let path, path.first?.key == .usage, let last = path.last?.key else { return nil }
        let isInDetails = path.count == 3 && path[path.startIndex + 1].key == .details
        switch last {
        case .input where path.count == 2: return .input
        case .output where path.count == 2: return .output
        case .cacheRead where path.count == 2: return .cacheRead
        case .cacheWritten where path.count == 2: return .cacheWritten
        case .cached where isInDetails: return .cached
        default: return nil
        }
    }

    /// After a key: a number may follow.
    private mutating func beginNumber() {
        number = fieldHere.map { ($0, 0, 0) }
        isEarly = levels.first?.key == .message
    }

    private static func key(_ bytes: [UInt8]) -> Key {
        switch String(decoding: bytes, as: UTF8.self) {
        case "usage": .usage
        case "model": .model
        case "response": .response
        case "message": .message
        case "choices", "delta": .piece
        case "prompt_tokens_details", "input_tokens_details": .details
        case "prompt_tokens", "input_tokens": .input
        case "completion_tokens", "output_tokens": .output
        case "cached_tokens": .cached
        case "cache_read_input_tokens": .cacheRead
        case "cache_creation_input_tokens": .cacheWritten
        default: .other
        }
    }
}
