// How processes give up power: init keeps six capabilities, agents and the supervisor keep none.
// Raw capset and prctl only: this runs between fork and exec, and libcap keeps state of its own.
#include "internal.h"
#include "init.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define BIT(capability) (UINT64_C(1) << (capability))

// SYS_PTRACE and DAC_READ_SEARCH: seeing that an agent waits for input (/proc/<pid>/syscall);
// KILL: signals to the agent's ids; SETUID, SETGID, SETPCAP: making agents that have nothing.
static const uint64_t init_capabilities =
    BIT(CAP_SYS_PTRACE) | BIT(CAP_DAC_READ_SEARCH) | BIT(CAP_KILL) | BIT(CAP_SETUID) |
    BIT(CAP_SETGID) | BIT(CAP_SETPCAP);

// Neither uid 0 nor a change of uid gives or takes capabilities from here on, and nothing can undo
// that.
static const unsigned long locked_securebits =
    SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |
    SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

static int set_two_sets(uint64_t effective, uint64_t permitted) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct data[2] = {
        {.effective = (uint32_t)effective, .permitted = (uint32_t)permitted},
        {.effective = (uint32_t)(effective >> 32), .permitted = (uint32_t)(permitted >> 32)},
    };
    return syscall(SYS_capset, &header, data) == 0 ? 0 : -errno;
}

static int set_capabilities(uint64_t set) { return set_two_sets(set, set); }

static int get_capabilities(uint64_t *effective, uint64_t *any) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) != 0) return -errno;
    *effective = data[0].effective | (uint64_t)data[1].effective << 32;
    const uint32_t low = data[0].effective | data[0].permitted | data[0].inheritable;
    const uint32_t high = data[1].effective | data[1].permitted | data[1].inheritable;
    *any = low | (uint64_t)high << 32;
    return 0;
}

// The kernel may know more capabilities than our headers: up to the first number it does not know.
static int limit_bounding_set(uint64_t keep) {
    for (unsigned long capability = 0; capability < 64; capability++) {
        const int present = prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
        if (present < 0) return 0;
        if (present == 0 || (keep & BIT(capability)) != 0) continue;
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) return -errno;
    }
    return 0;
}

static int set_no_new_privileges(void) {
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : -errno;
}

static int clear_ambient_set(void) {
    return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0 ? 0 : -errno;
}

int csandbox_make_undumpable(void) { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : -errno; }

int csandbox_join_new_keyring(void) {
    // Without a name: a keyring with one could be an existing one.
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) >= 0 || errno == ENOSYS) return 0;
    return -errno;
}

int csandbox_reduce_init(struct csandbox_failure *failure) {
    uint64_t effective = 0, any = 0;
    int result = set_no_new_privileges();
    if (result != 0) return csandbox_fail(failure, "no_new_privs", -result, "init");
    if (prctl(PR_SET_SECUREBITS, locked_securebits, 0, 0, 0) != 0)
        return csandbox_fail(failure, "securebits", errno, "init");
    if ((result = clear_ambient_set()) != 0)
        return csandbox_fail(failure, "ambient set", -result, "init");
    if ((result = limit_bounding_set(init_capabilities)) != 0)
        return csandbox_fail(failure, "bounding set", -result, "init");
    if ((result = set_capabilities(init_capabilities)) != 0)
        return csandbox_fail(failure, "capabilities", -result, "init");
    if ((result = get_capabilities(&effective, &any)) != 0 || any != init_capabilities)
        return csandbox_fail(failure, "capabilities", result != 0 ? -result : EPERM,
                             "init was left with %#llx", (unsigned long long)any);
    return 0;
}

// setgroups may be denied in the namespace; then the list must be empty already.
static int clear_groups(void) {
    if (setgroups(0, NULL) == 0) return 0;
    const int error = errno;
    return getgroups(0, NULL) == 0 ? 0 : -error;
}

// All three ids, and nothing else accepted. A change of ids may make the process dumpable again
// (suid_dumpable in proc(5)). That is undone while capabilities are still held, which keep whoever
// has the new ids from tracing it in between.
static int change_ids(uid_t uid, gid_t gid) {
    uid_t uids[3];
    gid_t gids[3];
    if (setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0) return -errno;
    const int hidden = csandbox_make_undumpable();
    if (hidden != 0) return hidden;
    if (getresgid(&gids[0], &gids[1], &gids[2]) != 0 ||
        getresuid(&uids[0], &uids[1], &uids[2]) != 0)
        return -errno;
    for (int i = 0; i < 3; i++)
        if (gids[i] != gid || uids[i] != uid) return -EPERM;
    return 0;
}

// The ids with which files are looked up and made (setfsuid(2)); the call itself reports nothing.
static int change_file_ids(uid_t uid, gid_t gid) {
    (void)setfsgid(gid);
    (void)setfsuid(uid);
    const int hidden = csandbox_make_undumpable();
    if (hidden != 0) return hidden;
    return setfsgid((gid_t)-1) == (int)gid && setfsuid((uid_t)-1) == (int)uid ? 0 : -EPERM;
}

static int give_up_all(uid_t uid, uid_t file_uid, struct csandbox_failure *failure) {
    uint64_t effective = 0, any = 0;
    int result = limit_bounding_set(0); // while SETPCAP is held
    if (result != 0) return csandbox_fail(failure, "bounding set", -result, "agent");
    if ((result = clear_ambient_set()) != 0)
        return csandbox_fail(failure, "ambient set", -result, "agent");
    if ((result = clear_groups()) != 0)
        return csandbox_fail(failure, "supplementary groups", -result, "agent");
    if ((result = change_ids(uid, uid)) != 0 || (result = change_file_ids(file_uid, file_uid)) != 0)
        return csandbox_fail(failure, "ids", -result, "uid and gid %u, %u for files", uid,
                             file_uid);
    if ((result = set_capabilities(0)) != 0 || (result = get_capabilities(&effective, &any)) != 0 ||
        any != 0)
        return csandbox_fail(failure, "capabilities", result != 0 ? -result : EPERM, "agent");
    if ((result = set_no_new_privileges()) != 0)
        return csandbox_fail(failure, "no_new_privs", -result, "agent");
    return 0;
}

int csandbox_become_agent(struct csandbox_failure *failure) {
    return give_up_all(CSANDBOX_AGENT_ID, CSANDBOX_AGENT_ID, failure);
}

int csandbox_become_helper(struct csandbox_failure *failure) {
    return give_up_all(CSANDBOX_HELPER_ID, CSANDBOX_AGENT_ID, failure);
}

int csandbox_become_sender(void) {
    const uint64_t kept = init_capabilities & ~BIT(CAP_KILL);
    int result = set_two_sets(kept, kept);
    if (result != 0) return result;
    // A real id of its own: with the helpers' it could, and would, signal them too (kill(2)).
    if (setresuid(CSANDBOX_NOBODY_ID, CSANDBOX_AGENT_ID, CSANDBOX_NOBODY_ID) != 0) return -errno;
    if ((result = csandbox_make_undumpable()) != 0) return result;
    return set_two_sets(0, kept);
}

int csandbox_load_filter(struct csandbox_program program, struct csandbox_failure *failure) {
    const struct sock_fprog raw = {
        .len = (unsigned short)program.count,
        .filter = (struct sock_filter *)(uintptr_t)program.instructions,
    };
    if (program.count == 0 || program.count > BPF_MAXINSNS)
        return csandbox_fail(failure, "seccomp filter", EINVAL, "%u instructions", program.count);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &raw) != 0)
        return csandbox_fail(failure, "seccomp filter", errno, "%u instructions", program.count);
    return 0;
}

// Capabilities, securebits and no_new_privs belong to threads: with a second thread around,
// "dropped" would be true for the caller only.
static int require_single_thread(void) {
    DIR *tasks = opendir("/proc/self/task");
    if (tasks == NULL) return -errno;
    int count = 0;
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) count += entry->d_name[0] != '.';
    closedir(tasks);
    return count == 1 ? 0 : -EBUSY;
}

int csandbox_drop_privileges(uid_t uid, gid_t gid) {
    uint64_t effective = 0, any = 0;
    int result = require_single_thread();
    if (result != 0) return result;
    if ((result = get_capabilities(&effective, &any)) != 0) return result;
    // A plain user may not shrink its bounding set; no_new_privs makes it worthless.
    result = limit_bounding_set(0);
    if (result != 0 && (effective & BIT(CAP_SETPCAP)) != 0) return result;
    if ((result = clear_ambient_set()) != 0) return result;
    if (uid != (uid_t)-1) {
        if ((result = clear_groups()) != 0) return result;
        if ((result = change_ids(uid, gid)) != 0) return result;
    }
    if ((result = set_capabilities(0)) != 0) return result;
    if ((result = set_no_new_privileges()) != 0) return result;
    if ((result = csandbox_make_undumpable()) != 0) return result;
    if ((result = get_capabilities(&effective, &any)) != 0) return result;
    return any == 0 ? 0 : -EPERM;
}
