/// Why the supervisor did not start: one line for a person, with the next step where there is one.
public struct DaemonError: Error, Sendable, CustomStringConvertible {
    public var description: String

    public init(_ description: String) { self.description = description }
}
