/// Names of environment variables.
enum Variable {
    static let maximumBytes = 128

    /// What superserve sets by itself, or what would change how every program of a session starts.
    private static let reserved: Set = [
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TERM", "PWD", "HTTP_PROXY",
        "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NODE_USE_ENV_PROXY", "SSL_CERT_FILE",
        "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
        "GIT_SSL_CAINFO",
    ]

    /// True for letters, digits and `_`, not beginning with a digit.
    static func isName(_ name: String) -> Bool {
        guard let first = name.utf8.first, !ASCII.isDigit(first) else { return false }
        return name.utf8.allSatisfy {
            ASCII.isLetter($0) || ASCII.isDigit($0) || $0 == UInt8(ascii: "_")
        }
    }

    /// Why a secret cannot have this name, or nil.
    static func problem(_ name: String) -> String? {
        guard isName(name) else { return "is no name of a variable" }
        guard name.utf8.count <= maximumBytes else {
            return "is longer than \(maximumBytes) bytes"
        }
        let upper = name.uppercased()
        guard !reserved.contains(upper), !upper.hasPrefix("SUPERSERVE"), !upper.hasPrefix("LD_")
        else { return "superserve sets by itself" }
        return nil
    }
}
