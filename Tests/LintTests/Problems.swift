import Testing

/// Fails the running test once, with every place that breaks the rule.
func expectNone(
    _ problems: [String], sourceLocation: SourceLocation = #_sourceLocation
) {
    guard !problems.isEmpty else { return }
    let list = problems.joined(separator: "\n  ")
    Issue.record("\(problems.count) found:\n  \(list)", sourceLocation: sourceLocation)
}
