// The control groups of sessions (cgroups(7), the kernel's cgroup-v2.rst): made and limited before
// the session's first process exists, removed after its last one is gone. The limits are kept in an
// extended attribute of the group itself, so that they come, stay and go with it, whoever restarts.
#include "launcher.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define LIMITS_ATTRIBUTE "user.superserve.limits"

const char *const csandbox_group_controllers[] = {"memory", "pids", "cpu", "io", NULL};

int csandbox_group_write(int dir_fd, const char *name, const char *text) {
    CSANDBOX_AUTO_FD int fd = openat(dir_fd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return -errno;
    const size_t length = strlen(text);
    return write(fd, text, length) == (ssize_t)length ? 0 : -(errno != 0 ? errno : EIO);
}

ssize_t csandbox_group_read(int dir_fd, const char *name, char *text, size_t capacity) {
    CSANDBOX_AUTO_FD int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    text[0] = '\0';
    if (fd < 0) return -errno;
    ssize_t length = read(fd, text, capacity - 1);
    if (length < 0) return -errno;
    if (length > 0 && text[length - 1] == '\n') length--;
    text[length] = '\0';
    return length;
}

bool csandbox_group_has_word(const char *list, const char *word) {
    const size_t length = strlen(word);
    for (const char *at = list; (at = strstr(at, word)) != NULL; at += length)
        if ((at == list || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return true;
    return false;
}

unsigned csandbox_group_enable(int dir_fd, int *error) {
    char available[512], change[32];
    unsigned enabled = 0;
    *error = 0;
    if (csandbox_group_read(dir_fd, "cgroup.controllers", available, sizeof available) < 0)
        return 0;
    // One by one: a controller that cannot be had must not cost the others.
    for (unsigned i = 0; csandbox_group_controllers[i] != NULL; i++) {
        if (!csandbox_group_has_word(available, csandbox_group_controllers[i])) continue;
        (void)snprintf(change, sizeof change, "+%s", csandbox_group_controllers[i]);
        const int result = csandbox_group_write(dir_fd, "cgroup.subtree_control", change);
        if (result == 0) enabled |= 1u << i;
        else *error = -result;
    }
    return enabled;
}

void csandbox_group_disable(int dir_fd) {
    char enabled[512], change[32];
    if (csandbox_group_read(dir_fd, "cgroup.subtree_control", enabled, sizeof enabled) < 0) return;
    for (unsigned i = 0; csandbox_group_controllers[i] != NULL; i++) {
        if (!csandbox_group_has_word(enabled, csandbox_group_controllers[i])) continue;
        (void)snprintf(change, sizeof change, "-%s", csandbox_group_controllers[i]);
        (void)csandbox_group_write(dir_fd, "cgroup.subtree_control", change);
    }
}

static int open_directory(int dir_fd, const char *name) {
    return openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

static int make_directory(int dir_fd, const char *name) {
    if (mkdirat(dir_fd, name, 0755) < 0 && errno != EEXIST) return -errno;
    const int fd = open_directory(dir_fd, name);
    return fd < 0 ? -errno : fd;
}

// What was asked for and is set to a number.
static uint64_t wanted_limits(const struct csandbox_limits *limits) {
    const uint64_t values[] = {limits->memory,    limits->memory_high, limits->swap,
                               limits->pids,      limits->cpu_quota,   limits->cpu_weight,
                               limits->io_weight};
    uint64_t wanted = 0;
    for (unsigned i = 0; i < sizeof values / sizeof values[0]; i++)
        if (values[i] != CSANDBOX_UNLIMITED) wanted |= UINT64_C(1) << i;
    return wanted | limits->required;
}

// Directories, limits and descriptors; 0 or -errno.
static int build(int cgroup_fd, const char *session, const struct csandbox_limits *limits,
                 struct csandbox_group *group) {
    CSANDBOX_AUTO_FD int top = make_directory(cgroup_fd, session);
    if (top < 0) return top;
    int error;
    if (limits != NULL) (void)csandbox_group_enable(top, &error);
    CSANDBOX_AUTO_FD int init = make_directory(top, "init");
    if (init < 0) return init;
    CSANDBOX_AUTO_FD int agent = make_directory(top, "agent");
    if (agent < 0) return agent;
    CSANDBOX_AUTO_FD int init_procs = openat(init, "cgroup.procs", O_WRONLY | O_CLOEXEC);
    if (init_procs < 0) return -errno;
    CSANDBOX_AUTO_FD int agent_procs = openat(agent, "cgroup.procs", O_WRONLY | O_CLOEXEC);
    if (agent_procs < 0) return -errno;
    group->enforced = UINT64_C(1) << CSANDBOX_LIMIT_CPU_TIME;
    if (limits != NULL) {
        if (fsetxattr(top, LIMITS_ATTRIBUTE, limits, sizeof *limits, 0) < 0) return -errno;
        group->enforced |= csandbox_limits_write(top, agent, limits, group->note);
    }
    group->init_fd = csandbox_steal_fd(&init);
    group->init_procs_fd = csandbox_steal_fd(&init_procs);
    group->agent_procs_fd = csandbox_steal_fd(&agent_procs);
    return 0;
}

int csandbox_group_make(int cgroup_fd, const char *session, const struct csandbox_limits *limits,
                        const char *host_note, struct csandbox_group *group,
                        struct csandbox_failure *failure) {
    *group = (struct csandbox_group){.init_fd = -1, .init_procs_fd = -1, .agent_procs_fd = -1};
    const int result = cgroup_fd < 0 ? -ENOTSUP : build(cgroup_fd, session, limits, group);
    if (result < 0) {
        csandbox_group_close(group);
        group->enforced = 0;
        (void)csandbox_group_remove(cgroup_fd, session);
        if (cgroup_fd >= 0)
            (void)snprintf(group->note, sizeof group->note, "control group of the session: %s",
                           strerror(-result));
    }
    if (limits == NULL) {
        if (host_note[0] != '\0' && result < 0)
            (void)snprintf(group->note, sizeof group->note, "%s", host_note);
        return 0;
    }
    const uint64_t missing = wanted_limits(limits) & ~group->enforced;
    if (missing == 0) {
        group->note[0] = '\0';
        return 0;
    }
    if (host_note[0] != '\0') (void)snprintf(group->note, sizeof group->note, "%s", host_note);
    if ((missing & limits->required) == 0) return 0;
    char names[96];
    csandbox_limits_names(missing & limits->required, names, sizeof names);
    csandbox_group_close(group);
    (void)csandbox_group_remove(cgroup_fd, session);
    return csandbox_fail(failure, "limits", -result > 0 ? -result : ENOTSUP,
                         "required and not possible here: %s: %.170s", names, group->note);
}

void csandbox_group_close(struct csandbox_group *group) {
    int *const all[] = {&group->init_fd, &group->init_procs_fd, &group->agent_procs_fd};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        csandbox_close_fd(all[i]);
        *all[i] = -1;
    }
}

// Calls `act` for each session's group.
static void for_each(int cgroup_fd, void (*act)(int cgroup_fd, const char *session)) {
    const int copy =
        cgroup_fd < 0 ? -1 : openat(cgroup_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = copy >= 0 ? fdopendir(copy) : NULL;
    if (directory == NULL) {
        if (copy >= 0) close(copy);
        return;
    }
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL)
        if (csandbox_session_valid(entry->d_name, strlen(entry->d_name)))
            act(cgroup_fd, entry->d_name);
    closedir(directory);
}

void csandbox_group_kill(int cgroup_fd, const char *session) {
    CSANDBOX_AUTO_FD int top = cgroup_fd < 0 ? -1 : open_directory(cgroup_fd, session);
    if (top >= 0) (void)csandbox_group_write(top, "cgroup.kill", "1");
}

void csandbox_group_kill_all(int cgroup_fd) { for_each(cgroup_fd, csandbox_group_kill); }

// A session between two agents has an empty `agent`, which must stay: all of it goes, or nothing.
static bool is_populated(int top) {
    char events[256];
    return csandbox_group_read(top, "cgroup.events", events, sizeof events) < 0 ||
           strstr(events, "populated 0") == NULL;
}

bool csandbox_group_remove(int cgroup_fd, const char *session) {
    CSANDBOX_AUTO_FD int top = cgroup_fd < 0 ? -1 : open_directory(cgroup_fd, session);
    if (top < 0) return true;
    if (is_populated(top)) return false;
    (void)unlinkat(top, "agent", AT_REMOVEDIR);
    (void)unlinkat(top, "init", AT_REMOVEDIR);
    return unlinkat(cgroup_fd, session, AT_REMOVEDIR) == 0;
}

static bool (*is_busy)(const char *session); // of the sweep that runs
static bool swept;

static void remove_idle(int cgroup_fd, const char *session) {
    if (is_busy != NULL && is_busy(session)) return;
    if (!csandbox_group_remove(cgroup_fd, session)) swept = false;
}

bool csandbox_group_sweep(int cgroup_fd, bool (*busy)(const char *session)) {
    is_busy = busy;
    swept = true;
    for_each(cgroup_fd, remove_idle);
    return swept;
}

static void restore(int cgroup_fd, const char *session) {
    struct csandbox_limits limits;
    char note[CSANDBOX_GROUP_NOTE] = "";
    int error;
    CSANDBOX_AUTO_FD int top = open_directory(cgroup_fd, session);
    CSANDBOX_AUTO_FD int agent = top < 0 ? -1 : open_directory(top, "agent");
    if (agent < 0 ||
        fgetxattr(top, LIMITS_ATTRIBUTE, &limits, sizeof limits) != (ssize_t)sizeof limits ||
        limits.version != CSANDBOX_LIMITS_VERSION)
        return;
    (void)csandbox_group_enable(top, &error);
    (void)csandbox_limits_write(top, agent, &limits, note);
    const uint64_t required = limits.required;
    const uint64_t possible = csandbox_limits_possible(cgroup_fd);
    if ((required & ~possible) != 0 || note[0] != '\0')
        dprintf(2, "superserve-launcher: limits of session %s could not all be set again: %s\n",
                session, note[0] != '\0' ? note : "controllers are missing");
}

void csandbox_group_restore(int cgroup_fd) { for_each(cgroup_fd, restore); }

// A service manager removes empty groups below a unit whose main process has died, and so that of
// an agent between two of its processes. Init has that one open and can start none any more; it is
// ended, and the session's next agent gets a new one.
static void end_torn(int cgroup_fd, const char *session) {
    CSANDBOX_AUTO_FD int top = open_directory(cgroup_fd, session);
    if (top >= 0 && faccessat(top, "agent", F_OK, 0) < 0 && errno == ENOENT)
        csandbox_group_kill(cgroup_fd, session);
}

void csandbox_group_end_torn(int cgroup_fd) { for_each(cgroup_fd, end_torn); }
