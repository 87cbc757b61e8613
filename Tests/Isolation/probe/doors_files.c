// Doors to files of the host and of other sessions, and what an agent inherits.
#include "door.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

extern char **environ;

static void readable(struct answer *answer, const char *path) {
    judge(answer, can_open(path, O_RDONLY), path);
}

static void canary(struct answer *answer) {
    const char *path = parameter(answer, "host.file");
    if (path != NULL) readable(answer, path);
}
// With the directories between: by any process' root or working directory.
static void canary_by_process(struct answer *answer) {
    static const char *const ways[] = {"/proc/self/root", "/proc/self/cwd/../../../../../..",
                                       "/proc/thread-self/root", "/dev/fd/0/../../../..",
                                       "/workspace/../../../..", "/proc/self/root/../.."};
    const char *path = parameter(answer, "host.file");
    if (path == NULL) return;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        char name[512];
        (void)snprintf(name, sizeof name, "%s%s", ways[i], path);
        if (can_open(name, O_RDONLY) == 0) return opened(answer, "%s", name);
    }
    shut(answer, "by none of the ways");
}
static void other_session(struct answer *answer) {
    const char *path = parameter(answer, "other.tree");
    if (path != NULL) readable(answer, path);
}
static void database(struct answer *answer) {
    const char *path = parameter(answer, "host.state");
    if (path != NULL) readable(answer, path);
}
static void shadow(struct answer *answer) { readable(answer, "/etc/shadow"); }

static void home_directories(struct answer *answer) {
    static const char *const places[] = {"/root", "/opt", "/boot", "/srv", "/mnt", "/var/lib",
                                         "/var/log", "/lost+found"};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (access(places[i], F_OK) == 0) return opened(answer, "%s is here", places[i]);
    DIR *directory = opendir("/home");
    struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL)
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, "agent") != 0)
            return opened(answer, "/home/%s is here", entry->d_name);
    shut(answer, "none of the host's directories but the system");
}

// A second name for a file keeps it after it was replaced on the host, with its bugs.
static void hard_link(struct answer *answer) {
    const char *to = "/workspace/second-name";
    if (access("/workspace", W_OK) < 0) to = "/tmp/second-name";
    const char *from = optional_parameter("link");
    const int result = link(from != NULL ? from : "/usr/bin/env", to);
    const int error = errno;
    (void)unlink(to);
    errno = error;
    judge(answer, result, "another name for a program of the host");
}

static void agent_source(struct answer *answer) {
    const char *place = optional_parameter("source");
    char path[256];
    if (place == NULL) place = "/agent";
    if (access(place, F_OK) < 0) return broken(answer, "no %s", place);
    (void)snprintf(path, sizeof path, "%s/.probe", place);
    const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) (void)unlink(path);
    judge(answer, fd, "a file in the agent's source");
}

static void space(struct answer *answer, const char *place, unsigned long long most) {
    struct statvfs status;
    if (statvfs(place, &status) < 0) return broken(answer, "%s: %s", place, strerror(errno));
    const unsigned long long bytes = (unsigned long long)status.f_blocks * status.f_frsize;
    if (bytes == 0 || bytes > most || status.f_files == 0 || status.f_files > 131072)
        opened(answer, "%s: %llu bytes, %llu files", place, bytes,
               (unsigned long long)status.f_files);
    else shut(answer, "%s: %llu bytes, %llu files", place, bytes,
              (unsigned long long)status.f_files);
}
static void space_tmp(struct answer *answer) { space(answer, "/tmp", 512u << 20); }
static void space_shm(struct answer *answer) { space(answer, "/dev/shm", 256u << 20); }
static void space_run(struct answer *answer) { space(answer, "/run", 16u << 20); }

static void leaked_descriptors(struct answer *answer) {
    if (inherited[0] >= 0) opened(answer, "descriptor %d was open", inherited[0]);
    else shut(answer, "0, 1 and 2 only");
}

// Pipes of the session's own; a file, terminal or socket of the host would be a way to it.
static void standard_descriptors(struct answer *answer) {
    for (int fd = 0; fd < 3; fd++) {
        struct stat status;
        if (fstat(fd, &status) < 0) return broken(answer, "descriptor %d: %s", fd, strerror(errno));
        const bool null = S_ISCHR(status.st_mode) && status.st_rdev == 0x103;
        if (!S_ISFIFO(status.st_mode) && !null)
            return opened(answer, "descriptor %d is of kind %o", fd, status.st_mode & S_IFMT);
    }
    shut(answer, "pipes");
}

static void environment_list(struct answer *answer) {
    static const char *const known[] = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TERM",
                                        "PWD", "SUPERSERVE", "SUPERSERVE_SESSION_ID",
                                        "SUPERSERVE_AGENT", "_", "SHLVL", "OLDPWD"};
    for (char **entry = environ; *entry != NULL; entry++) {
        const size_t length = strcspn(*entry, "=");
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            found |= strlen(known[i]) == length && strncmp(known[i], *entry, length) == 0;
        if (!found) return opened(answer, "%.60s", *entry);
    }
    shut(answer, "only what it is given");
}

static void working_directory(struct answer *answer) {
    char path[4096];
    if (getcwd(path, sizeof path) == NULL || path[0] != '/')
        return opened(answer, "a directory outside of the root");
    if (strcmp(path, "/workspace") == 0) shut(answer, "%s", path);
    else opened(answer, "%.200s", path);
}

#define GROUP "files of other sessions and of the host"
#define INHERITED "descriptors and environment"
#define LIMITS "resource exhaustion"

const struct door file_doors[] = {
    {"host-file", GROUP, "CVE-2024-21626", false, canary},
    {"host-file-by-process", GROUP, "CVE-2024-21626 CVE-2024-23651", false, canary_by_process},
    {"other-session-tree", GROUP, "", false, other_session},
    {"supervisor-state", GROUP, "", false, database},
    {"host-shadow", GROUP, "", false, shadow},
    {"host-directories", GROUP, "", false, home_directories},
    {"hard-link", GROUP, "", false, hard_link},
    {"agent-source", GROUP, "CVE-2019-5736", false, agent_source},
    {"space-tmp", LIMITS, "", false, space_tmp},
    {"space-shm", LIMITS, "", false, space_shm},
    {"space-run", LIMITS, "", false, space_run},
    {"descriptors-leaked", INHERITED, "CVE-2024-21626 CVE-2016-9962", false, leaked_descriptors},
    {"descriptors-standard", INHERITED, "CVE-2016-8649", false, standard_descriptors},
    {"environment-leaked", INHERITED, "CVE-2021-21261", false, environment_list},
    {"working-directory", INHERITED, "CVE-2024-21626", false, working_directory},
    {NULL, NULL, NULL, false, NULL},
};
