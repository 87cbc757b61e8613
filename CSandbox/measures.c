// The table of measures. How each is done stands in the file that does it; docs/security.md says
// what it is for.
#include "measures.h"

#include "csandbox.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    bool required;
    const char *what;
} measures[] = {
#define MEASURE(id, is_required, text, explanation)                                                \
    [CSANDBOX_MEASURE_##id] = {text, is_required, explanation}
    MEASURE(USER_NAMESPACE, true, "user-namespace", "a user namespace without root of the host"),
    MEASURE(OWN_IDS, true, "own-ids", "four host ids that no other session has"),
    MEASURE(MOUNT_NAMESPACE, true, "mount-namespace", "mounts of its own, none shared"),
    MEASURE(PID_NAMESPACE, true, "pid-namespace", "no process of the host has a number"),
    MEASURE(NETWORK_NAMESPACE, true, "network-namespace", "loopback only"),
    MEASURE(IPC_NAMESPACE, true, "ipc-namespace", "queues, semaphores, shared memory of its own"),
    MEASURE(UTS_NAMESPACE, true, "uts-namespace", "a host name of its own"),
    MEASURE(CGROUP_NAMESPACE, true, "cgroup-namespace", "no path of the host's control groups"),
    MEASURE(NAMESPACE_LIMITS, true, "namespace-limits", "user.max_*_namespaces are 0"),
    MEASURE(CONTROL_GROUP, false, "control-group", "a control group of the session's own"),
    MEASURE(READ_ONLY_ROOT, true, "read-only-root", "a root that nobody inside can write"),
    MEASURE(LOCKED_MOUNTS, true, "locked-mounts", "mounts that nobody inside can take off"),
    MEASURE(MOUNT_FLAGS, true, "mount-flags", "nosuid everywhere, nodev but for six devices"),
    MEASURE(OWN_ETC, true, "own-etc", "/etc made anew, without secrets of the host"),
    MEASURE(TEMPORARY_SPACE, true, "temporary-space", "/tmp, /run, /dev/shm of limited size"),
    MEASURE(DEVICES, true, "devices", "null zero full random urandom tty"),
    MEASURE(OWN_TERMINALS, true, "own-terminals", "a devpts instance of its own"),
    MEASURE(PROC_HIDDEN, true, "proc-hidden", "/proc shows the agent's own processes only"),
    MEASURE(PROC_MASKED, true, "proc-masked", "what /proc tells of the host is covered"),
    MEASURE(PROC_READ_ONLY, true, "proc-read-only", "/proc/sys and its like cannot be written"),
    MEASURE(DESCRIPTORS, true, "descriptors", "no descriptor but 0, 1 and 2"),
    MEASURE(ENVIRONMENT, true, "environment", "only the variables that the agent was given"),
    MEASURE(KEYRING, true, "keyring", "an empty session keyring, no call to use keys"),
    MEASURE(CAPABILITIES, true, "capabilities", "none in any set of an agent"),
    MEASURE(NO_NEW_PRIVILEGES, true, "no-new-privileges", "setuid programs give nothing"),
    MEASURE(SECUREBITS, true, "securebits", "uid 0 means nothing, locked"),
    MEASURE(INIT_UNREACHABLE, true, "init-unreachable", "init: another id, not dumpable, hidden"),
    MEASURE(HELPERS_UNREACHABLE, true, "helpers-unreachable", "file helpers: an id of their own"),
    MEASURE(LIMITS, true, "limits", "limits of processes, files, locked memory, queues"),
    MEASURE(CORE_LIMIT, true, "core-limit", "no core file and no handler of the host's"),
    MEASURE(IPC_LIMITS, false, "ipc-limits", "System V memory, queues and semaphores limited"),
    MEASURE(OOM_SCORE, true, "oom-score", "goes first when memory runs out"),
    MEASURE(CALLS, true, "calls", "an allow-list of system calls; newer ones do not exist"),
    MEASURE(CALLS_ARCHITECTURE, true, "calls-architecture", "foreign architectures are killed"),
    MEASURE(CALLS_CLONE, true, "calls-clone", "no flag that makes a namespace; no clone3"),
    MEASURE(CALLS_IOCTL, true, "calls-ioctl", "no input faked, no line discipline, no subvolume"),
    MEASURE(CALLS_PRCTL, true, "calls-prctl", "operations on the caller only"),
    MEASURE(CALLS_PERSONALITY, true, "calls-personality", "no strange personality"),
    MEASURE(CALLS_SECCOMP, true, "calls-seccomp", "filters, but no listener"),
    MEASURE(CALLS_SOCKET, true, "calls-socket", "Unix, TCP, UDP and netlink for routes only"),
    MEASURE(CALLS_SOCKET_OPTIONS, true, "calls-socket-options", "no ULP, no BPF, no firewall"),
    MEASURE(CALLS_URGENT_DATA, true, "calls-urgent-data", "no out-of-band data"),
    MEASURE(LANDLOCK_FILES, false, "landlock-files", "Landlock: written only where it may be"),
    MEASURE(LANDLOCK_DEVICES, false, "landlock-devices", "Landlock: no ioctl but on terminals"),
    MEASURE(LANDLOCK_SCOPES, false, "landlock-scopes",
            "Landlock: no signal and no abstract socket beyond the session"),
#undef MEASURE
};
_Static_assert(sizeof measures / sizeof measures[0] == CSANDBOX_MEASURES, "each has its line");
_Static_assert(CSANDBOX_MEASURES <= 64, "a set of measures is 64 bits");

const char *csandbox_measure_name(unsigned index) {
    return index < CSANDBOX_MEASURES ? measures[index].name : NULL;
}

int csandbox_measure_find(const uint8_t *name, size_t length) {
    for (unsigned i = 0; i < CSANDBOX_MEASURES; i++)
        if (strlen(measures[i].name) == length && memcmp(measures[i].name, name, length) == 0)
            return (int)i;
    return -1;
}

// Second walls only: what they repeat stands without them.
bool csandbox_measure_may_loosen(unsigned index) {
    return index == CSANDBOX_MEASURE_LANDLOCK_FILES ||
           index == CSANDBOX_MEASURE_LANDLOCK_DEVICES || index == CSANDBOX_MEASURE_LANDLOCK_SCOPES;
}

bool csandbox_measure_is_required(unsigned index) {
    return index < CSANDBOX_MEASURES && measures[index].required;
}

uint64_t csandbox_measures_required(void) {
    uint64_t set = 0;
    for (unsigned i = 0; i < CSANDBOX_MEASURES; i++)
        if (measures[i].required) set |= csandbox_measure_bit((enum csandbox_measure)i);
    return set;
}

int csandbox_measures_main(void) {
    for (unsigned i = 0; i < CSANDBOX_MEASURES; i++)
        if (printf("%s\t%s\t%s\n", measures[i].name, measures[i].required ? "always" : "kernel",
                   measures[i].what) < 0)
            return 1;
    return fflush(stdout) == 0 ? 0 : 1;
}
