internal import API
internal import AgentProtocols
internal import Archive
internal import Dispatch
internal import Egress
internal import Foundation
internal import Logging
internal import Sandbox
internal import Settings

// The keys that a session uses without seeing them.

extension SessionDriver {
    /// The stand-ins, and the way to the values. Without a master key there are none, and the agent
    /// does not start.
    var sessionSecrets: SessionSecrets {
        do throws(VaultError) {
            return try context.secrets.session(agent, id)
        } catch {
            log(.error, "secrets: \(error)")
            return .none
        }
    }

    /// Ports of hosts whose connections are ended here.
    var interceptedPorts: [UInt16] {
        (agent.definition.secrets ?? []).filter(\.isIntercepted).compactMap {
            $0.url?.destination.port
        }
    }

    // MARK: - Trust

    /// In memory, gone with the sandbox, and the agent's own: who changes it fools himself only.
    static let authorityFile = "/run/user/1000/superserve-ca.pem"

    /// Where programs look for the authorities that they trust: OpenSSL and Python, requests, curl,
    /// Node.js, git.
    private static let trustVariables = [
        "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
        "GIT_SSL_CAINFO",
    ]

    /// The host's authorities. They replace what programs would trust by themselves.
    private static let systemBundles = [
        "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/cert.pem",
    ]

    /// Puts the certificate of the session's authority into a new sandbox, where connections to a
    /// secret's host are ended here.
    func installAuthority() async throws(SandboxError) {
        let names = (agent.definition.secrets ?? []).filter(\.isIntercepted).compactMap {
            $0.url.map { "\($0.destination.host)" }
        }
        guard !names.isEmpty, let link else { return }
        var bundle = ""
        for path in Self.systemBundles where bundle.isEmpty {
            bundle = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
        }
        do throws(VaultError) {
            bundle += "\n" + (try context.secrets.vault.authority(session: id.hex, names: names))
        } catch {
            throw SandboxError(.refused, stage: "secrets", detail: "\(error)")
        }
        var writer = TarWriter()
        let name = String(Self.authorityFile.split(separator: "/").last ?? "")
        let archive = writer.file(name, Array(bundle.utf8)) + writer.trailer()
        let transfer = try await link.writeFiles(Self.authorityFile)
        let descriptor = try transfer.pipe.take()
        await Self.write(archive, to: descriptor.release())
        try await link.outcome(of: transfer)
    }

    /// Writes all to a pipe and closes it, on a thread that may wait. What was not written, the
    /// other end finds missing.
    private static func write(_ bytes: [UInt8], to descriptor: Int32) async {
        await withCheckedContinuation { continuation in
            DispatchQueue.global().async {
                let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
                try? handle.write(contentsOf: Data(bytes))
                try? handle.close()
                continuation.resume()
            }
        }
    }

    // MARK: - Variables

    /// For each secret its stand-in and the gateway's address, or the value of a plain one. A plain
    /// one without a value is left out.
    func secretVariables() async throws(SandboxError) -> [String: String] {
        var values: [String: String] = [:]
        // The master key may have been out of reach before.
        if agent.definition.secrets != nil { network?.secrets = sessionSecrets }
        for secret in agent.definition.secrets ?? [] {
            if secret.isPlain {
                switch await context.secrets.value(of: secret.name, agent) {
                case .success(let value):
                    values[secret.name] = String(decoding: value.reveal(), as: UTF8.self)
                case .failure(let problem): log(.warning, problem.text)
                }
                continue
            }
            do throws(VaultError) {
                values[secret.name] = try context.secrets.standIn(secret, id)
            } catch {
                throw SandboxError(.refused, stage: "secrets", detail: "\(error)")
            }
            if secret.isIntercepted {
                for name in Self.trustVariables { values[name] = Self.authorityFile }
            }
            for name in secret.baseURL {
                values[name] = "http://127.0.0.1:\(Self.proxyPort)/\(secret.name)"
            }
        }
        return values
    }
}
