internal import ArgumentParser

/// A duration on the command line: `90`, `90s`, `29m`, `2h`, `30d`.
struct DurationOption: ExpressibleByArgument, Sendable, Equatable {
    var seconds: Int

    init?(argument: String) {
        let units: [Character: Int] = ["s": 1, "m": 60, "h": 3600, "d": 86400]
        var digits = argument[...]
        var unit = 1
        if let last = argument.last, let factor = units[last] {
            unit = factor
            digits = argument.dropLast()
        }
        guard !digits.isEmpty, digits.allSatisfy({ $0.isASCII && $0.isNumber }),
            let count = Int(digits)
        else { return nil }
        let (seconds, overflow) = count.multipliedReportingOverflow(by: unit)
        guard !overflow else { return nil }
        self.seconds = seconds
    }
}
