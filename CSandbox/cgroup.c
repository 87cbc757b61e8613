// The keeper's part of cgroup v2 (cgroups(7), the kernel's cgroup-v2.rst): a directory for the
// groups of sessions, where a part of the hierarchy belongs to this program, and the controllers in
// it that limits need. A group may pass controllers on only while no process is in it itself, so
// keeper and launcher sit in leaves beside the sessions. The directory, their common ancestor,
// belongs to the service: so clone3 may put a child of the launcher into a session's group.
#include "launcher.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DIRECTORY "superserve-sessions."

static void close_file(FILE **file) {
    if (*file != NULL) fclose(*file);
}
#define AUTO_FILE __attribute__((cleanup(close_file)))

static void free_text(char **text) { free(*text); }
#define AUTO_TEXT __attribute__((cleanup(free_text)))

// A process's group in the unified hierarchy, as text that starts with '/'.
static int group_of(pid_t pid, char *group, size_t capacity) {
    char path[48];
    (void)snprintf(path, sizeof path, "/proc/%d/cgroup", pid);
    AUTO_FILE FILE *file = fopen(path, "re");
    if (file == NULL) return -errno;
    AUTO_TEXT char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, file) > 0) {
        if (strncmp(line, "0::/", 4) != 0) continue;
        line[strcspn(line, "\n")] = '\0';
        return snprintf(group, capacity, "%s", line + 3) < (int)capacity ? 0 : -ENAMETOOLONG;
    }
    return -ENOENT;
}

// The group that was given to this program: its own, but for what an earlier keeper made in it, or
// systemd for the commands around the main process (systemd.kill(5) calls it the control group).
static int given_group(char *group, size_t capacity) {
    const int result = group_of(getpid(), group, capacity);
    if (result < 0) return result;
    char *own = strstr(group, "/" DIRECTORY);
    if (own != NULL) *own = '\0';
    const size_t length = strlen(group), control = strlen("/.control");
    if (length >= control && strcmp(group + length - control, "/.control") == 0)
        group[length - control] = '\0';
    if (group[0] == '\0') (void)snprintf(group, capacity, "/");
    return 0;
}

// Where cgroup v2 is mounted, and which part of it.
static int unified_mount(char *mount, char *root) {
    AUTO_FILE FILE *file = fopen("/proc/self/mountinfo", "re");
    if (file == NULL) return -errno;
    AUTO_TEXT char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, file) > 0) {
        const char *type = strstr(line, " - cgroup2 ");
        if (type != NULL && sscanf(line, "%*s %*s %*s %4095s %4095s", root, mount) == 2) return 0;
    }
    return -ENOENT;
}

// A directory descriptor of the given group, or -errno.
static int open_given_group(char group[PATH_MAX]) {
    char mount[PATH_MAX], root[PATH_MAX];
    int result = given_group(group, PATH_MAX);
    if (result < 0 || (result = unified_mount(mount, root)) < 0) return result;
    const char *below = group;
    if (strcmp(root, "/") != 0) {
        const size_t length = strlen(root);
        if (strncmp(group, root, length) != 0 || (group[length] != '/' && group[length] != '\0'))
            return -ENOENT;
        below = group + length;
    }
    CSANDBOX_AUTO_FD int base = open(mount, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (base < 0) return -errno;
    while (*below == '/') below++;
    return csandbox_open_plain(base, *below ? below : ".", O_RDONLY | O_DIRECTORY);
}

static void sessions_name(char *name, size_t capacity, const char *runtime_path) {
    uint32_t hash =
        2166136261u; // FNV-1a: two supervisors in one group must not share the directory
    for (const char *c = runtime_path; *c != '\0'; c++) hash = (hash ^ (uint8_t)*c) * 16777619u;
    (void)snprintf(name, capacity, DIRECTORY "%08x", hash);
}

// The directory with its leaves, all of the service's. Descriptor or -errno.
static int make_places(int own, const struct csandbox_keeper *keeper) {
    const struct csandbox_identity *identity = &keeper->identity;
    static const char *const leaves[] = {"launcher", "keeper", "supervisor"};
    static const char *const given[] = {".", "cgroup.procs", "cgroup.subtree_control", "launcher",
                                        "launcher/cgroup.procs"};
    char name[40];
    sessions_name(name, sizeof name, keeper->runtime_path);
    if (mkdirat(own, name, 0755) < 0 && errno != EEXIST) return -errno;
    CSANDBOX_AUTO_FD int sessions =
        openat(own, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (sessions < 0) return -errno;
    for (size_t i = 0; i < sizeof leaves / sizeof leaves[0]; i++)
        if (mkdirat(sessions, leaves[i], 0755) < 0 && errno != EEXIST) return -errno;
    for (size_t i = 0; identity->privileged && i < sizeof given / sizeof given[0]; i++)
        if (fchownat(sessions, given[i], identity->uid, identity->gid, AT_SYMLINK_NOFOLLOW) < 0)
            return -errno;
    return csandbox_steal_fd(&sessions);
}

// The process that started this one, where it sits in the given group and is meant to leave it.
static pid_t starter_in(const struct csandbox_keeper *keeper, const char *group) {
    char other[PATH_MAX];
    const pid_t parent = getppid();
    if (!keeper->moves_starter || parent <= 1 || group_of(parent, other, sizeof other) < 0 ||
        strcmp(other, group) != 0)
        return 0;
    return parent;
}

static void move(int dir_fd, const char *procs, pid_t pid) {
    char text[16];
    (void)snprintf(text, sizeof text, "%d", pid);
    (void)csandbox_group_write(dir_fd, procs, text);
}

// Somebody who sits in the given group, for the message.
static void name_occupant(int own, char *text, size_t capacity) {
    char pids[4096], path[48], name[32] = "";
    text[0] = '\0';
    if (csandbox_group_read(own, "cgroup.procs", pids, sizeof pids) <= 0) return;
    const int pid = atoi(pids);
    (void)snprintf(path, sizeof path, "/proc/%d", pid);
    CSANDBOX_AUTO_FD int process = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (process >= 0) (void)csandbox_group_read(process, "comm", name, sizeof name);
    (void)snprintf(text, capacity, ", for example %d (%.20s)", pid, name);
}

static void note_missing(struct csandbox_keeper *keeper, int own, const char *group,
                         unsigned enabled, int error) {
    char occupant[64];
    if ((enabled & 7) == 7) return; // memory, pids, cpu; io is a matter of taste
    if (error == EBUSY) {
        name_occupant(own, occupant, sizeof occupant);
        (void)snprintf(keeper->cgroup_note, sizeof keeper->cgroup_note,
                       "other processes sit in the control group %.70s%.48s: start the supervisor "
                       "as a service of its own (Delegate=yes)", group, occupant);
        return;
    }
    char available[256] = "";
    (void)csandbox_group_read(own, "cgroup.controllers", available, sizeof available);
    (void)snprintf(keeper->cgroup_note, sizeof keeper->cgroup_note,
                   "the control group %.80s has not all of memory, pids and cpu, only '%.40s': a "
                   "unit needs Delegate=yes, and cgroup v1 must not hold them%s%s", group,
                   available, error != 0 ? ": " : "", error != 0 ? strerror(error) : "");
}

// Files that appear when controllers are passed on belong to whoever does it: those of sessions'
// groups must be the service's, which writes the limits, here for sessions that live already.
static unsigned enable_sessions(const struct csandbox_keeper *keeper, int sessions, int *error) {
    const int changed = csandbox_keeper_become_service(keeper);
    if (changed < 0) {
        *error = -changed;
        return 0;
    }
    const unsigned enabled = csandbox_group_enable(sessions, error);
    csandbox_group_restore(sessions);
    csandbox_keeper_become_self(keeper);
    return enabled;
}

// Passes the controllers on, from the given group through the directory to the sessions.
static void enable(struct csandbox_keeper *keeper, int own, int sessions, const char *group) {
    char available[512];
    bool any = false;
    int error = 0;
    if (csandbox_group_read(own, "cgroup.controllers", available, sizeof available) < 0) return;
    for (unsigned i = 0; csandbox_group_controllers[i] != NULL; i++)
        any = any || csandbox_group_has_word(available, csandbox_group_controllers[i]);
    if (!any) {
        note_missing(keeper, own, group, 0, 0);
        return;
    }
    const pid_t starter = starter_in(keeper, group);
    if (starter > 0) move(sessions, "supervisor/cgroup.procs", starter);
    move(sessions, "keeper/cgroup.procs", getpid());
    unsigned enabled = csandbox_group_enable(own, &error);
    if (enabled != 0) {
        int below = 0;
        enabled &= enable_sessions(keeper, sessions, &below);
        if (error == 0) error = below;
    }
    note_missing(keeper, own, group, enabled, error);
    if (enabled != 0) return;
    // Nothing was won: everybody goes back to where the service manager put them.
    move(own, "cgroup.procs", getpid());
    if (starter > 0) move(own, "cgroup.procs", starter);
}

void csandbox_cgroup_prepare(struct csandbox_keeper *keeper) {
    char group[PATH_MAX] = "";
    CSANDBOX_AUTO_FD int own = open_given_group(group);
    const int sessions = own < 0 ? own : make_places(own, keeper);
    keeper->cgroup_fd = sessions < 0 ? -1 : sessions;
    if (sessions >= 0) {
        csandbox_group_end_torn(sessions);
        enable(keeper, own, sessions, group);
    } else if (own < 0) {
        (void)snprintf(keeper->cgroup_note, sizeof keeper->cgroup_note,
                       "this host has no cgroup v2 that this program can see; cgroup v1 is not "
                       "used (kernel parameter systemd.unified_cgroup_hierarchy=1)");
    } else {
        (void)snprintf(keeper->cgroup_note, sizeof keeper->cgroup_note,
                       "the control group %.100s is not this program's to divide (%s): start the "
                       "supervisor as a service with Delegate=yes", group, strerror(-sessions));
    }
    if (keeper->cgroup_note[0] != '\0')
        dprintf(2, "superserve-launcher: no limits for sessions: %s\n", keeper->cgroup_note);
}

int csandbox_cgroup_enter_leaf(int cgroup_fd) {
    return csandbox_group_write(cgroup_fd, "launcher/cgroup.procs", "0");
}

// Every process of a leaf goes back to the given group.
static void empty_leaf(int own, int sessions, const char *name) {
    char pids[4096];
    CSANDBOX_AUTO_FD int leaf =
        openat(sessions, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (leaf < 0 || csandbox_group_read(leaf, "cgroup.procs", pids, sizeof pids) <= 0) return;
    for (char *rest = pids, *line; (line = strsep(&rest, "\n")) != NULL;)
        if (*line != '\0') (void)csandbox_group_write(own, "cgroup.procs", line);
}

// False while something of it is still there.
static bool remove_places(int own, int sessions, const char *name) {
    static const char *const leaves[] = {"launcher", "keeper", "supervisor"};
    (void)csandbox_group_sweep(sessions, NULL);
    csandbox_group_disable(sessions);
    csandbox_group_disable(own); // refused while another supervisor in this group needs them
    for (size_t i = 0; i < sizeof leaves / sizeof leaves[0]; i++) {
        empty_leaf(own, sessions, leaves[i]);
        (void)unlinkat(sessions, leaves[i], AT_REMOVEDIR);
    }
    return unlinkat(own, name, AT_REMOVEDIR) == 0 || errno == ENOENT;
}

// Processes that have been waited for may count for a moment, see csandbox_group_remove.
static void wait_until_empty(int sessions) {
    const uint64_t end_ns = csandbox_boottime_ns() + CSANDBOX_LEAVE_MS * 1000000ull;
    struct pollfd events = {
        .fd = openat(sessions, "cgroup.events", O_RDONLY | O_CLOEXEC),
        .events = POLLPRI,
    };
    for (;;) {
        char text[256];
        const uint64_t now_ns = csandbox_boottime_ns();
        const ssize_t length = pread(events.fd, text, sizeof text - 1, 0);
        if (length <= 0 || now_ns >= end_ns) break;
        text[length] = '\0';
        if (strstr(text, "populated 0") != NULL) break;
        (void)poll(&events, 1, (int)((end_ns - now_ns) / 1000000) + 1); // since it was read
    }
    if (events.fd >= 0) close(events.fd);
}

void csandbox_cgroup_leave(struct csandbox_keeper *keeper, bool ends_all) {
    char group[PATH_MAX], name[40];
    const int sessions = keeper->cgroup_fd;
    if (sessions < 0) return;
    CSANDBOX_AUTO_FD int own = open_given_group(group);
    if (own < 0) return;
    sessions_name(name, sizeof name, keeper->runtime_path);
    if (ends_all) csandbox_group_kill_all(sessions);
    if (remove_places(own, sessions, name) || !ends_all) return;
    wait_until_empty(sessions);
    if (!remove_places(own, sessions, name))
        dprintf(2, "superserve-launcher: the control group %s is in use and stays\n", name);
}

// Below one of the directories: the sessions' first, a group cannot take back before those below.
static void release_sessions(int sessions) {
    const int copy = openat(sessions, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = copy >= 0 ? fdopendir(copy) : NULL;
    if (directory == NULL) {
        if (copy >= 0) close(copy);
        return;
    }
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        if (!csandbox_session_valid(entry->d_name, strlen(entry->d_name))) continue;
        CSANDBOX_AUTO_FD int session =
            openat(sessions, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (session >= 0) csandbox_group_disable(session);
    }
    closedir(directory);
    csandbox_group_disable(sessions);
}

int csandbox_cgroup_release_main(void) {
    char group[PATH_MAX];
    CSANDBOX_AUTO_FD int own = open_given_group(group);
    const int copy = own < 0 ? -1 : openat(own, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = copy >= 0 ? fdopendir(copy) : NULL;
    if (directory == NULL) {
        fprintf(stderr, "superserve-launcher: no control group of cgroup v2: %s\n",
                strerror(own < 0 ? -own : errno));
        return 1;
    }
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        if (strncmp(entry->d_name, DIRECTORY, strlen(DIRECTORY)) != 0) continue;
        CSANDBOX_AUTO_FD int sessions =
            openat(own, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (sessions >= 0) release_sessions(sessions);
    }
    closedir(directory);
    csandbox_group_disable(own);
    return 0;
}
