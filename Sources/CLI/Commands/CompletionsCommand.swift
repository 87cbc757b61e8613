internal import ArgumentParser

/// `superserve completions`
struct CompletionsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "completions",
        abstract: "Print a completion script for your shell.",
        discussion: """
            bash: cd ~/.local/share/bash-completion/completions
                  superserve completions bash > superserve
            zsh:  superserve completions zsh > "${fpath[1]}/_superserve"
            fish: superserve completions fish > ~/.config/fish/completions/superserve.fish
            """)

    enum Shell: String, CaseIterable, ExpressibleByArgument {
        case bash, zsh, fish

        var completionShell: CompletionShell {
            switch self {
            case .bash: .bash
            case .zsh: .zsh
            case .fish: .fish
            }
        }
    }

    @Argument(help: "bash, zsh or fish.")
    var shell: Shell

    @OptionGroup var output: JSONOption

    func run() throws {
        let script = Superserve.completionScript(for: shell.completionShell)
        let text =
            output.json ? try CompletionScript(shell: shell.rawValue, script: script).json : script
        try FileWriting.write(Array((text + "\n").utf8), to: 1)
    }

    private struct CompletionScript: Encodable {
        var shell: String
        var script: String

        var json: String {
            get throws { String(decoding: try WireJSON.encode(self), as: UTF8.self) }
        }
    }
}
