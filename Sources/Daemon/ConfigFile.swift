internal import Foundation
public import Settings

/// Where the configuration is read from, at the start and at every reload.
public struct ConfigFile: Sendable {
    var path: String
    /// False for the usual place, where no file means every default.
    var isRequired: Bool

    /// `named`: what the command line says.
    public init(named path: String?, usual: String) {
        self.path = path ?? usual
        isRequired = path != nil
    }

    /// Throws `DaemonError` or, for what is in the file, `SettingsError` with its line.
    public func read() throws -> SupervisorConfig {
        guard isRequired || FileManager.default.fileExists(atPath: path) else {
            return SupervisorConfig()
        }
        let text: String
        do {
            text = try String(contentsOfFile: path, encoding: .utf8)
        } catch {
            throw DaemonError(
                "the configuration \(path) cannot be read: \(error.localizedDescription)")
        }
        return try SupervisorConfig(yaml: text, file: path)
    }
}
