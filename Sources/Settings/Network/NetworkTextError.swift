/// Why a text is no name, address, destination, rule or policy.
public struct NetworkTextError: Error, Sendable, Hashable, CustomStringConvertible {
    /// Kinds of mistakes.
    public enum Code: String, Sendable, Hashable, CaseIterable {
        /// Nothing is there where something must be.
        case empty
        /// A label, a name, a text or a list is longer than it may be.
        case tooLong
        /// A byte that the text may not have: NUL, space, `%`, `@`, anything that is not ASCII.
        case badByte
        /// A label of a name is empty or has a hyphen at its begin or end.
        case badLabel
        /// A name that libraries take for an address: `127.1`, `0x7f.1`, `2130706433`.
        case disguisedAddress
        /// An address or a range of addresses is not in its canonical form.
        case address
        /// A port is missing or none of 1 to 65535.
        case port
        /// A rule with a wildcard in a place where none can be.
        case wildcard
        /// Parts that do not go together.
        case combination
    }

    public let code: Code
    /// What is wrong and what it should be, for a person.
    public let message: String

    init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { message }
}
