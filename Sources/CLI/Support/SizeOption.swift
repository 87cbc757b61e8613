internal import ArgumentParser

/// A number of bytes on the command line: `1000`, `64K`, `500M`, `16G`, in powers of 1,024.
struct SizeOption: ExpressibleByArgument, Sendable, Equatable, CustomStringConvertible {
    var bytes: Int64

    /// What a session may send at most unless the caller says otherwise.
    static let defaultDownload = SizeOption(bytes: 16 << 30)

    init(bytes: Int64) { self.bytes = bytes }

    init?(argument: String) {
        let units: [Character: Int64] = ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40]
        var digits = argument[...]
        var unit: Int64 = 1
        if let last = argument.uppercased().last, let factor = units[last] {
            unit = factor
            digits = argument.dropLast()
        }
        guard !digits.isEmpty, digits.allSatisfy({ $0.isASCII && $0.isNumber }),
            let count = Int64(digits)
        else { return nil }
        let (bytes, overflow) = count.multipliedReportingOverflow(by: unit)
        guard !overflow else { return nil }
        self.bytes = bytes
    }

    var description: String {
        for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")]
        where bytes > 0 && bytes % (Int64(1) << shift) == 0 {
            return "\(bytes >> shift)\(unit)"
        }
        return String(bytes)
    }
}
