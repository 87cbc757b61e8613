import Foundation

/// Runs a program and takes what it prints.
enum Command {
    struct Failure: Error, CustomStringConvertible {
        var description: String
    }

    static func output(_ words: String...) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = words
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = FileHandle.nullDevice
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let data = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Failure(
                description: "\(words.joined(separator: " ")): status \(process.terminationStatus)")
        }
        return String(decoding: data, as: UTF8.self)
    }
}
