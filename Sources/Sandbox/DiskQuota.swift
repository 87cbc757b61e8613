internal import CSandbox
internal import Glibc

/// What the file system lets a session's agent own: a wall, as far as it is not 0. The ids of
/// sessions get it from root (`superserve-launcher set-quotas`).
public struct DiskQuota: Codable, Sendable, Hashable {
    /// Bytes; 0: no limit.
    public var bytes: UInt64
    /// Files and directories; 0: no limit.
    public var files: UInt64

    public init(bytes: UInt64, files: UInt64) {
        self.bytes = bytes
        self.files = files
    }

    /// Nil where the answer says nothing about it.
    init?(_ fields: Fields) {
        guard let bytes = fields.number(CSANDBOX_TAG_QUOTA_BYTES),
            let files = fields.number(CSANDBOX_TAG_QUOTA_FILES)
        else { return nil }
        self.init(bytes: bytes, files: files)
    }
}

extension SandboxPlan {
    /// Throws where the session needs a wall for its disk and `quota`, of its ids, is none.
    public func check(_ quota: DiskQuota?) throws(SandboxError) {
        guard needsDiskQuota, quota.map({ $0.bytes == 0 }) ?? true else { return }
        let cause =
            quota == nil
            ? "the launcher that runs is of an earlier version and cannot tell: restart it"
            : "the file system of the sessions has no quota for this session's ids: as root, "
                + "superserve-launcher set-quotas or superserve-quota.service"
        throw SandboxError(
            .refused, stage: "limits", errno: ENOTSUP,
            detail: "required and not possible here: disk: \(cause)")
    }
}
