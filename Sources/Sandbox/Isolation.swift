internal import CSandbox

/// The measures that protect a session, as its init reports them (`docs/security.md` explains
/// each).
public struct Isolation: Codable, Sendable, Hashable {
    /// Bit i: measure i is in force.
    public var measures: UInt64
    /// Version of the kernel's Landlock interface; 0 where there is none.
    public var landlock: UInt64

    public init(measures: UInt64, landlock: UInt64) {
        self.measures = measures
        self.landlock = landlock
    }

    /// Names of the measures that a session may go without: second walls.
    public static var mayLoosen: [String] {
        var names: [String] = []
        for index in 0..<UInt32(64) {
            guard let name = csandbox_measure_name(index) else { break }
            if csandbox_measure_may_loosen(index) { names.append(String(cString: name)) }
        }
        return names
    }

    /// Names of the measures that are in force, or of those that are not.
    public func names(inForce: Bool) -> [String] {
        var names: [String] = []
        for index in 0..<UInt32(64) {
            guard let name = csandbox_measure_name(index) else { break }
            if (measures >> index & 1 == 1) == inForce { names.append(String(cString: name)) }
        }
        return names
    }
}
