// Doors through the mount table.
#include "door.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void mount_new(struct answer *answer) {
    judge(answer, mount("none", "/tmp", "tmpfs", 0, NULL), "mount a tmpfs");
}

static void mount_bind(struct answer *answer) {
    judge(answer, mount("/proc", "/dev/shm", NULL, MS_BIND, NULL), "bind /proc");
}

static void uncover(struct answer *answer) {
    judge_reached(answer, umount2("/proc/sys", MNT_DETACH), EINVAL,
                  "take off what covers /proc/sys");
}

static void remount(struct answer *answer) {
    judge_reached(answer, mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL), EINVAL,
                  "make /proc/sys writable");
}

static void pivot(struct answer *answer) {
    judge_reached(answer, syscall(SYS_pivot_root, "/proc", "/tmp"), EINVAL, "pivot_root");
}

// The classic way out of a changed root: a second one, below which the old one is not held.
static void root_change(struct answer *answer) {
    if (mkdir("/tmp/jail", 0700) < 0 && errno != EEXIST)
        return broken(answer, "mkdir: %s", strerror(errno));
    if (chroot("/tmp/jail") < 0) {
        const int error = errno;
        (void)rmdir("/tmp/jail");
        errno = error;
        return judge(answer, -1, "chroot");
    }
    for (int i = 0; i < 64; i++)
        if (chdir("..") < 0) break;
    opened(answer, "the root directory can be changed");
}

static void tree_copy(struct answer *answer) {
    judge(answer, syscall(SYS_open_tree, AT_FDCWD, "/usr", 0), "open_tree");
}

static void system_context(struct answer *answer) {
    judge(answer, syscall(SYS_fsopen, "tmpfs", 0), "fsopen");
}

// Places that nobody but the system writes to.
static void write_system(struct answer *answer) {
    static const char *const places[] = {"/usr/local/bin", "/etc", "/usr", "/usr/bin", "/lib",
                                         "/bin",           "/dev", "/"};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "%s/.probe", places[i]);
        const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0) continue;
        close(fd);
        (void)unlink(path);
        return opened(answer, "a file can be made in %s", places[i]);
    }
    shut(answer, "the last one: %s", strerror(errno));
}

struct line {
    char place[256], options[256], rest[256];
};

// Calls `look` with each mount until it answers.
static void each_mount(struct answer *answer, bool (*look)(struct answer *, const struct line *)) {
    FILE *file = fopen("/proc/self/mountinfo", "re");
    if (file == NULL) return broken(answer, "mountinfo: %s", strerror(errno));
    char text[2048];
    int count = 0;
    while (fgets(text, sizeof text, file) != NULL) {
        struct line line;
        if (sscanf(text, "%*s %*s %*s %*s %255s %255s %255[^\n]", line.place, line.options,
                   line.rest) != 3)
            return broken(answer, "mountinfo: %.100s", text);
        count++;
        if (look(answer, &line)) return;
    }
    fclose(file);
    if (count == 0) broken(answer, "no mounts");
    else shut(answer, "%d mounts", count);
}

static bool without_nosuid(struct answer *answer, const struct line *line) {
    if (strstr(line->options, "nosuid") != NULL) return false;
    opened(answer, "set-user-id programs count on %s", line->place);
    return true;
}

// A mount of a single device is what the minimal /dev is made of, and what covers a name in /proc.
static bool without_nodev(struct answer *answer, const struct line *line) {
    struct stat status;
    if (strstr(line->options, "nodev") != NULL) return false;
    if (strcmp(line->place, "/dev/pts") == 0) return false;
    if (stat(line->place, &status) == 0 && S_ISCHR(status.st_mode)) return false;
    opened(answer, "devices count on %s", line->place);
    return true;
}

static bool with_peer(struct answer *answer, const struct line *line) {
    if (strstr(line->rest, "shared:") == NULL && strstr(line->rest, "master:") == NULL)
        return false;
    opened(answer, "%s is tied to a mount elsewhere: %.100s", line->place, line->rest);
    return true;
}

static bool is_writable(struct answer *answer, const struct line *line) {
    static const char *const ours[] = {"/workspace", "/home/agent", "/tmp",    "/run",
                                       "/dev/shm",   "/dev/pts",    "/var/tmp"};
    if (strncmp(line->options, "rw", 2) != 0 || strncmp(line->place, "/proc", 5) == 0) return false;
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (strcmp(line->place, ours[i]) == 0) return false;
    opened(answer, "%s is mounted writable", line->place);
    return true;
}

static void nosuid(struct answer *answer) { each_mount(answer, without_nosuid); }
static void nodev(struct answer *answer) { each_mount(answer, without_nodev); }
static void peers(struct answer *answer) { each_mount(answer, with_peer); }
static void writable(struct answer *answer) { each_mount(answer, is_writable); }

// A program in memory that the session may fill is still a program of its own; only /dev/shm, which
// others may be given to fill, and /proc take none.
static void executable_shm(struct answer *answer) {
    const char *path = "/dev/shm/program";
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    if (fd < 0) return broken(answer, "%s: %s", path, strerror(errno));
    const bool written = write(fd, "#!/bin/sh\n", 10) == 10;
    close(fd);
    const int result = access(path, X_OK);
    const int error = errno;
    (void)unlink(path);
    errno = error;
    if (!written) return broken(answer, "write");
    judge(answer, result, "a program in /dev/shm");
}

#define GROUP "namespaces and mounts"

const struct door mount_doors[] = {
    {"mount", GROUP, "CVE-2022-0185", true, mount_new},
    {"mount-bind", GROUP, "", true, mount_bind},
    {"uncover", GROUP, "", true, uncover},
    {"remount", GROUP, "", true, remount},
    {"pivot-root", GROUP, "", true, pivot},
    {"chroot-twice", GROUP, "", false, root_change},
    {"open-tree", GROUP, "CVE-2021-41133", true, tree_copy},
    {"fsopen", GROUP, "CVE-2022-0185", true, system_context},
    {"write-to-system", GROUP, "", false, write_system},
    {"mount-without-nosuid", GROUP, "", false, nosuid},
    {"mount-without-nodev", GROUP, "", false, nodev},
    {"mount-with-peers", GROUP, "CVE-2021-30465", false, peers},
    {"mount-writable", GROUP, "", false, writable},
    {"program-in-shared-memory", GROUP, "", false, executable_shm},
    {NULL, NULL, NULL, false, NULL},
};
