/// A key. Nothing that prints, logs or mirrors values shows it.
public struct SecretValue: Sendable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    /// Bytes. What is shorter cannot be told from other text in an answer.
    public static let lengths = 8...(16 << 10)

    private let bytes: [UInt8]

    /// Nil for a length out of bounds, NUL and line breaks.
    public init?(_ bytes: some Sequence<UInt8>) {
        let all = Array(bytes)
        guard Self.lengths.contains(all.count), !all.contains(where: { [0, 10, 13].contains($0) })
        else { return nil }
        self.bytes = all
    }

    /// The key itself, for the one place that sends or seals it.
    public func reveal() -> [UInt8] { bytes }

    /// Visible ASCII, without spaces: what a header can carry and every server reads alike.
    public var fitsHeader: Bool { bytes.allSatisfy { (0x21...0x7e).contains($0) } }

    public var description: String { "<secret>" }
    public var debugDescription: String { "<secret>" }
    public var customMirror: Mirror { Mirror(self, children: EmptyCollection()) }
}
