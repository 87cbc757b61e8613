public import Settings

/// Names and the addresses that stand for them in one session, out of 198.18.0.0/15 (RFC 2544),
/// which lead nowhere but to the session's init.
///
/// A program that knows no proxy resolves a name, connects to its address, and the supervisor finds
/// the name again by that address. Names that the policy has in full keep theirs for good and get
/// the same ones after a restart. Of the others the least recently used one goes when there are too
/// many; addresses are given out in a circle, so that one that was taken back means nothing for as
/// long as possible.
public struct SyntheticNames: Sendable {
    /// Names of a session, those of the policy among them.
    public static let capacity = 4096
    /// 198.18.0.2. The first two and the last of the range are no addresses of hosts everywhere.
    static let first: UInt32 = 0xc612_0002
    static let last: UInt32 = 0xc613_fffe

    /// One name; `before` and `after` are its neighbours in the order of use.
    private struct Entry: Sendable {
        var name: HostName
        var address: UInt32
        var before: Int?
        var after: Int?
    }

    private let capacity: Int
    private var entries: [Entry] = []
    private var byName: [HostName: Int] = [:]
    private var byAddress: [UInt32: Int] = [:]
    /// Entries before this one are the policy's.
    private var pinned = 0
    private var newest: Int?
    private var oldest: Int?
    private var next = first

    /// - Parameters:
    ///   - pinned: Names that get the first addresses, in this order, and keep them.
    ///   - start: Where the circle of the others begins, any number. A random one makes it unlikely
    ///     that an address from before a restart soon means another name.
    public init(pinned names: [HostName] = [], start: UInt32 = 0) {
        self.init(pinned: names, start: start, capacity: Self.capacity)
    }

    init(pinned names: [HostName], start: UInt32, capacity: Int) {
        self.capacity = max(1, capacity)
        for name in names.prefix(self.capacity - 1) where byName[name] == nil {
            insert(name)
        }
        pinned = entries.count
        next = Self.first + start % (Self.last - Self.first + 1)
    }

    public var count: Int { entries.count }

    /// True for the addresses of the range, whether one stands for a name or not.
    public static func isSynthetic(_ address: IPAddress) -> Bool {
        guard case .v4(let value) = address.withoutMapping else { return false }
        return value >> 17 == first >> 17
    }

    /// The address that stands for `name`: the same as before, or a new one.
    public mutating func address(for name: HostName) -> IPAddress {
        guard let index = byName[name] else { return .v4(insertAsNewest(name)) }
        touch(index)
        return .v4(entries[index].address)
    }

    /// The name that `address` stands for; nil where none does, or no longer.
    public mutating func name(for address: IPAddress) -> HostName? {
        guard case .v4(let value) = address.withoutMapping, let index = byAddress[value] else {
            return nil
        }
        touch(index)
        return entries[index].name
    }

    /// Without a place in the order of use.
    @discardableResult
    private mutating func insert(_ name: HostName) -> UInt32 {
        let address = takeAddress()
        byName[name] = entries.count
        byAddress[address] = entries.count
        entries.append(Entry(name: name, address: address))
        return address
    }

    private mutating func insertAsNewest(_ name: HostName) -> UInt32 {
        if entries.count < capacity {
            let address = insert(name)
            link(entries.count - 1)
            return address
        }
        // The capacity is above the number of pinned names: there is one that can go.
        guard let index = oldest else { return entries[entries.count - 1].address }
        unlink(index)
        byName[entries[index].name] = nil
        let address = takeAddress()
        byAddress[entries[index].address] = nil
        entries[index] = Entry(name: name, address: address)
        byName[name] = index
        byAddress[address] = index
        link(index)
        return address
    }

    /// The range is many times larger than the capacity: a free one is found.
    private mutating func takeAddress() -> UInt32 {
        while byAddress[next] != nil { advance() }
        defer { advance() }
        return next
    }

    private mutating func advance() { next = next >= Self.last ? Self.first : next + 1 }

    private mutating func touch(_ index: Int) {
        guard index >= pinned, index != newest else { return }
        unlink(index)
        link(index)
    }

    private mutating func unlink(_ index: Int) {
        let entry = entries[index]
        if let before = entry.before {
            entries[before].after = entry.after
        } else {
            oldest = entry.after
        }
        if let after = entry.after {
            entries[after].before = entry.before
        } else {
            newest = entry.before
        }
    }

    private mutating func link(_ index: Int) {
        entries[index].before = newest
        entries[index].after = nil
        if let newest { entries[newest].after = index } else { oldest = index }
        newest = index
    }
}
