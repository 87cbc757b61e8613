"""What each door is held shut by, shown by taking it away.

A control starts a session with the launcher of the tests, which leaves out the walls that are named, and tries all
doors again: exactly the doors named here must stand open. Where several walls stand one behind the other, all are
taken, and the doors in `behind` must be shut as long as a single one of them is left.
"""


class Control:
    def __init__(self, walls, opens, behind=None):
        self.walls = walls.split(", ")
        self.opens = set(opens.split())
        self.behind = set(behind.split()) if behind is not None else (self.opens if len(self.walls) > 1 else set())

    def __str__(self):
        return " + ".join(self.walls)


MAX_USER = "write proc/sys/user/max_user_namespaces"
MAX_NET = "write proc/sys/user/max_net_namespaces"
MAX_MNT = "write proc/sys/user/max_mnt_namespaces"

# Init, seen from a process with its user id.
SAME_USER = ("runs-as-root become-group give-file-to-root init-signal init-signal-queued init-signal-pidfd "
             "init-limits")
# Init, seen from a process with its capabilities.
SAME_RIGHTS = ("init-environment init-memory init-root init-descriptors init-system-call "
               "init-ptrace init-read-memory init-priority init-affinity init-scheduling init-disk-priority")
CAPABLE = "capabilities-effective capabilities-permitted take-groups"

CONTROLS = [
    # namespaces and mounts
    Control(f"call unshare, {MAX_USER}", "user-namespace-unshare"),
    Control(f"check clone, {MAX_USER}", "user-namespace-clone"),
    Control(f"call clone3, {MAX_USER}", "user-namespace-clone3"),
    Control(f"call unshare, {MAX_USER}, {MAX_NET}, socket protocol 12",
            "user-namespace-unshare network-namespace-rights netlink-netfilter",
            "network-namespace-rights"),
    Control(f"call unshare, call mount, {MAX_USER}, {MAX_MNT}, landlock domain", "user-namespace-unshare mount-namespace-rights",
            "mount-namespace-rights"),
    Control("call open_tree", "open-tree"),
    Control("namespace uts", "host-name"),
    Control("namespace ipc", "host-shared-memory host-message-queue"),
    Control("namespace cgroup", "host-cgroup-path"),
    Control("nosuid tmp", "mount-without-nosuid"),
    Control("nodev tmp", "mount-without-nodev"),
    Control("noexec dev/shm", "program-in-shared-memory"),
    # /proc and /sys
    Control("hidepid proc", "init-seen"),
    Control("cover proc/keys", "proc-keys"),
    Control("cover proc/interrupts", "proc-interrupts"),
    Control("read-only proc/sys", "sysctl-writable"),
    # devices and ttys
    Control("ioctl 0x5412", "tiocsti tiocsti-high-bits"),
    Control("ioctl 0x541c", "tioclinux"),
    Control("ioctl 0x5423", "line-discipline"),
    Control("ioctl 0x5000940e", "btrfs-subvolume"),
    # capabilities and ids
    Control("agent ids", SAME_USER),
    Control("agent bounding set", "capabilities-bounding"),
    Control("agent ids, securebits, agent bounding set, agent capabilities",
            f"{SAME_USER} {SAME_RIGHTS} {CAPABLE} init-seen capabilities-bounding init-oom-score",
            f"{SAME_RIGHTS} capabilities-effective capabilities-permitted"),
    Control("agent ids, securebits, agent bounding set, agent capabilities, landlock domain",
            f"{SAME_USER} {SAME_RIGHTS} {CAPABLE} init-seen init-program capabilities-bounding init-oom-score",
            "init-program"),
    Control("limit 4", "core-limit core-limit-change"),
    Control("check core limit", "core-limit-change"),
    Control("limit 6", "process-limit"),
    Control("limit 11", "pending-signals-limit"),
    Control("raised oom score", "oom-score"),
    # sockets and network reach
    Control("namespace net", "host-loopback outside outside-datagram cloud-metadata interfaces host-sockets-listed"),
    Control("namespace net, landlock domain", "host-loopback outside outside-datagram cloud-metadata interfaces "
            "host-sockets-listed host-abstract-socket", "host-abstract-socket"),
    Control("landlock domain", ""),
    Control("socket family 40", "vsock socket-families"),
    Control("socket protocol 6", "netlink-xfrm"),
    Control("socket protocol 12", "netlink-netfilter"),
    Control("socket protocol 15", "netlink-events"),
    Control("socket protocol 16", "netlink-generic"),
    Control("socket protocol 4", "netlink-diagnosis"),
    Control("check out of band", "unix-out-of-band"),
    # kernel attack surface
    Control("call io_uring_setup, call io_uring_enter", "io-uring"),
    Control("call perf_event_open", "perf-event"),
    Control("call add_key, call keyctl", "key-kept"),
    Control("call request_key", "request-key"),
    Control("call name_to_handle_at", "file-handle"),
    Control("call fanotify_init", "fanotify"),
    Control("call kcmp", "kcmp"),
    Control("call pidfd_getfd", "pidfd-getfd"),
    Control("check seccomp", "seccomp-listener"),
    Control("prctl 35", "prctl-memory-map"),
    Control("personality 0x400000", "read-implies-execute"),
    Control("check architecture", "foreign-architecture"),
    Control("call 458", "listmount"),
    Control("call userfaultfd", "userfaultfd"),
    Control("call memfd_secret", "secret-memory"),
    Control("call vmsplice", "gift-pages"),
    Control("call modify_ldt", "segments"),
    # descriptors, space
    Control("close range, close on exec", "descriptors-leaked"),
    Control("size tmp", "space-tmp"),
    Control("size dev/shm", "space-shm"),
    Control("size run", "space-run"),
]
