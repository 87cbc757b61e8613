// The measures that protect a session, each with a short name that never changes: what a session
// reports to be in force, what docs/security.md lists and what tests refer to.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum csandbox_measure {
    // namespaces
    CSANDBOX_MEASURE_USER_NAMESPACE,
    CSANDBOX_MEASURE_OWN_IDS,
    CSANDBOX_MEASURE_MOUNT_NAMESPACE,
    CSANDBOX_MEASURE_PID_NAMESPACE,
    CSANDBOX_MEASURE_NETWORK_NAMESPACE,
    CSANDBOX_MEASURE_IPC_NAMESPACE,
    CSANDBOX_MEASURE_UTS_NAMESPACE,
    CSANDBOX_MEASURE_CGROUP_NAMESPACE,
    CSANDBOX_MEASURE_NAMESPACE_LIMITS,
    CSANDBOX_MEASURE_CONTROL_GROUP,
    // files
    CSANDBOX_MEASURE_READ_ONLY_ROOT,
    CSANDBOX_MEASURE_LOCKED_MOUNTS,
    CSANDBOX_MEASURE_MOUNT_FLAGS,
    CSANDBOX_MEASURE_OWN_ETC,
    CSANDBOX_MEASURE_TEMPORARY_SPACE,
    CSANDBOX_MEASURE_DEVICES,
    CSANDBOX_MEASURE_OWN_TERMINALS,
    CSANDBOX_MEASURE_PROC_HIDDEN,
    CSANDBOX_MEASURE_PROC_MASKED,
    CSANDBOX_MEASURE_PROC_READ_ONLY,
    // processes
    CSANDBOX_MEASURE_DESCRIPTORS,
    CSANDBOX_MEASURE_ENVIRONMENT,
    CSANDBOX_MEASURE_KEYRING,
    CSANDBOX_MEASURE_CAPABILITIES,
    CSANDBOX_MEASURE_NO_NEW_PRIVILEGES,
    CSANDBOX_MEASURE_SECUREBITS,
    CSANDBOX_MEASURE_INIT_UNREACHABLE,
    CSANDBOX_MEASURE_HELPERS_UNREACHABLE,
    CSANDBOX_MEASURE_LIMITS,
    CSANDBOX_MEASURE_CORE_LIMIT,
    CSANDBOX_MEASURE_IPC_LIMITS,
    CSANDBOX_MEASURE_OOM_SCORE,
    // system calls
    CSANDBOX_MEASURE_CALLS,
    CSANDBOX_MEASURE_CALLS_ARCHITECTURE,
    CSANDBOX_MEASURE_CALLS_CLONE,
    CSANDBOX_MEASURE_CALLS_IOCTL,
    CSANDBOX_MEASURE_CALLS_PRCTL,
    CSANDBOX_MEASURE_CALLS_PERSONALITY,
    CSANDBOX_MEASURE_CALLS_SECCOMP,
    CSANDBOX_MEASURE_CALLS_SOCKET,
    CSANDBOX_MEASURE_CALLS_SOCKET_OPTIONS,
    CSANDBOX_MEASURE_CALLS_URGENT_DATA,
    // a second wall
    CSANDBOX_MEASURE_LANDLOCK_FILES,
    CSANDBOX_MEASURE_LANDLOCK_DEVICES,
    CSANDBOX_MEASURE_LANDLOCK_SCOPES,
    CSANDBOX_MEASURES, // how many
};

// Measures as a set of bits.
static inline uint64_t csandbox_measure_bit(enum csandbox_measure measure) {
    return UINT64_C(1) << (unsigned)measure;
}
// Index of the measure with this name, -1 when there is none.
int csandbox_measure_find(const uint8_t *_Nonnull name, size_t length);
// Those without which no session starts. The others depend on what the kernel has.
uint64_t csandbox_measures_required(void);
// `superserve-launcher measures`: one line each, name and what it does.
int csandbox_measures_main(void);
