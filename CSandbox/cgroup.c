// Groups for sessions where this program owns a writable part of cgroup v2; without one, sessions
// simply stay in the launcher's own group (cgroups(7)). The launcher itself sits in a leaf beside
// them, so that their common ancestor belongs to the service and clone3 may put a child into a
// session's group.
#include "launcher.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void close_file(FILE **file) {
    if (*file != NULL) fclose(*file);
}
#define AUTO_FILE __attribute__((cleanup(close_file)))

static void free_text(char **text) { free(*text); }
#define AUTO_TEXT __attribute__((cleanup(free_text)))

// The caller's group in the unified hierarchy, as text that starts with '/'.
static int own_group(char *group, size_t capacity) {
    AUTO_FILE FILE *file = fopen("/proc/self/cgroup", "re");
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

// A directory descriptor of the caller's own group.
static int open_own_group(void) {
    char group[PATH_MAX], mount[PATH_MAX], root[PATH_MAX];
    if (own_group(group, sizeof group) < 0 || unified_mount(mount, root) < 0) return -1;
    const char *below = group;
    if (strcmp(root, "/") != 0) {
        const size_t length = strlen(root);
        if (strncmp(group, root, length) != 0 || (group[length] != '/' && group[length] != '\0'))
            return -1;
        below = group + length;
    }
    // A launcher that the keeper starts again still finds the group that its keeper is in.
    CSANDBOX_AUTO_FD int base = open(mount, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (base < 0) return -1;
    while (*below == '/') below++;
    return csandbox_open_plain(base, *below ? below : ".", O_RDONLY | O_DIRECTORY);
}

static void sessions_name(char *name, size_t capacity, const char *runtime_path) {
    uint32_t hash =
        2166136261u; // FNV-1a: two supervisors in one group must not share the directory
    for (const char *c = runtime_path; *c != '\0'; c++) hash = (hash ^ (uint8_t)*c) * 16777619u;
    (void)snprintf(name, capacity, "superserve-sessions.%08x", hash);
}

int csandbox_cgroup_prepare(const struct csandbox_identity *identity, const char *runtime_path) {
    CSANDBOX_AUTO_FD int own = open_own_group();
    if (own < 0) return -1;
    char name[40];
    sessions_name(name, sizeof name, runtime_path);
    if (mkdirat(own, name, 0755) < 0 && errno != EEXIST) return -1;
    CSANDBOX_AUTO_FD int sessions =
        openat(own, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (sessions < 0) return -1;
    if (mkdirat(sessions, "launcher", 0755) < 0 && errno != EEXIST) return -1;
    if (identity->privileged) {
        static const char *const given[] = {".", "cgroup.procs", "launcher",
                                            "launcher/cgroup.procs"};
        for (size_t i = 0; i < sizeof given / sizeof given[0]; i++)
            if (fchownat(sessions, given[i], identity->uid, identity->gid, AT_SYMLINK_NOFOLLOW) < 0)
                return -1;
    }
    return csandbox_steal_fd(&sessions);
}

int csandbox_cgroup_enter_leaf(int cgroup_fd) {
    CSANDBOX_AUTO_FD int fd = openat(cgroup_fd, "launcher/cgroup.procs", O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    return write(fd, "0", 1) == 1 ? 0 : -errno;
}

int csandbox_cgroup_make(int cgroup_fd, const char *session) {
    if (cgroup_fd < 0) return -1;
    if (mkdirat(cgroup_fd, session, 0755) < 0 && errno != EEXIST) return -1;
    return openat(cgroup_fd, session, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

void csandbox_cgroup_remove(int cgroup_fd, const char *session) {
    if (cgroup_fd >= 0) (void)unlinkat(cgroup_fd, session, AT_REMOVEDIR);
}

void csandbox_cgroup_sweep(int cgroup_fd, bool (*busy)(const char *session)) {
    if (cgroup_fd < 0) return;
    const int copy = openat(cgroup_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (copy < 0) return;
    DIR *directory = fdopendir(copy);
    if (directory == NULL) {
        close(copy);
        return;
    }
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL)
        if (csandbox_session_valid(entry->d_name, strlen(entry->d_name)) &&
            (busy == NULL || !busy(entry->d_name)))
            csandbox_cgroup_remove(cgroup_fd, entry->d_name); // EBUSY while a process is in it
    closedir(directory);
}

void csandbox_cgroup_leave(int cgroup_fd, const char *runtime_path) {
    if (cgroup_fd < 0) return;
    csandbox_cgroup_sweep(cgroup_fd, NULL);
    (void)unlinkat(cgroup_fd, "launcher", AT_REMOVEDIR);
    char name[40];
    sessions_name(name, sizeof name, runtime_path);
    CSANDBOX_AUTO_FD int own = open_own_group();
    if (own >= 0) (void)unlinkat(own, name, AT_REMOVEDIR);
}
