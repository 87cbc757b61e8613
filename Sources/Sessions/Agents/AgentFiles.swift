internal import Foundation
internal import Logging
internal import Settings

/// An agent as a file describes it.
struct AgentFile: Sendable {
    var definition: AgentDefinition
    var source: String?
}

/// Reads directories of agent files. Where a file is wrong, what it said before stays.
struct AgentFiles {
    private static let maximum = 1000

    /// By path: the last text that was right.
    private var good: [String: AgentFile] = [:]
    /// By path: what is wrong with the text of now.
    private var wrong: [String: String] = [:]

    /// What is wrong with the files as they were last read.
    var problems: [String] { wrong.sorted { $0.key < $1.key }.map(\.value) }

    mutating func files(in directory: String, logger: Logger) -> [AgentFile] {
        let names: [String]
        do {
            names = try FileManager.default.contentsOfDirectory(atPath: directory)
            note(nil, at: directory, logger)
        } catch {
            let text = "agents cannot be read: \(directory): \(error.localizedDescription)"
            note(text, at: directory, logger)
            return []
        }
        let paths = names.filter { $0.hasSuffix(".yaml") }.sorted().prefix(Self.maximum).map {
            directory + "/" + $0
        }
        forget(in: directory, except: Set(paths))
        return paths.compactMap { read($0, in: directory, logger) }
    }

    private mutating func read(
        _ path: String, in directory: String, _ logger: Logger
    ) -> AgentFile? {
        do {
            let text = try String(contentsOfFile: path, encoding: .utf8)
            let definition = try AgentDefinition(yaml: text, file: path)
            let source = definition.source.map { $0.hasPrefix("/") ? $0 : directory + "/" + $0 }
            good[path] = AgentFile(definition: definition, source: source)
            note(nil, at: path, logger)
        } catch let error as SettingsError {
            note("\(error)", at: path, logger)
        } catch {
            note("\(path): \(error.localizedDescription)", at: path, logger)
        }
        return good[path]
    }

    /// Logs what is new.
    private mutating func note(_ problem: String?, at path: String, _ logger: Logger) {
        if let problem, wrong[path] != problem {
            let kept = good[path] == nil ? "" : "; its old version stays"
            logger.warning("agent file ignored: \(problem)\(kept)")
        }
        wrong[path] = problem
    }

    private mutating func forget(in directory: String, except paths: Set<String>) {
        for path in Set(good.keys).union(wrong.keys)
        where path.hasPrefix(directory + "/") && !paths.contains(path) {
            good[path] = nil
            wrong[path] = nil
        }
    }
}
