// Doors in /proc and /sys.
#include "door.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH 5 // below a directory; what matters lies higher

static void open_writing(struct answer *answer, const char *path) {
    judge(answer, can_open(path, O_WRONLY), path);
}

// Opened, not written: a kernel that lets it be opened lets it be written.
static void core_pattern(struct answer *answer) {
    open_writing(answer, "/proc/sys/kernel/core_pattern");
}
static void drop_caches(struct answer *answer) { open_writing(answer, "/proc/sys/vm/drop_caches"); }
static void sysrq(struct answer *answer) { open_writing(answer, "/proc/sysrq-trigger"); }
static void modprobe(struct answer *answer) { open_writing(answer, "/proc/sys/kernel/modprobe"); }

// The first file below `path` that can be opened with `flags`, 1; 0 when there is none.
static int find(const char *path, int flags, int depth, char *found, size_t capacity) {
    DIR *directory = depth > 0 ? opendir(path) : NULL;
    if (directory == NULL) return 0;
    struct dirent *entry;
    int result = 0;
    while (result == 0 && (entry = readdir(directory)) != NULL) {
        char name[512];
        if (entry->d_name[0] == '.') continue;
        if (snprintf(name, sizeof name, "%s/%s", path, entry->d_name) >= (int)sizeof name) continue;
        struct stat status;
        if (lstat(name, &status) < 0) continue;
        if (S_ISDIR(status.st_mode)) {
            result = find(name, flags, depth - 1, found, capacity);
        } else if (S_ISREG(status.st_mode) && can_open(name, flags) == 0) {
            (void)snprintf(found, capacity, "%s", name);
            result = 1;
        }
    }
    closedir(directory);
    return result;
}

static void writable_below(struct answer *answer, const char *top) {
    char found[512];
    if (access(top, F_OK) < 0) return shut(answer, "no %s", top);
    if (find(top, O_WRONLY, DEPTH, found, sizeof found))
        opened(answer, "%.200s can be written", found);
    else shut(answer, "nothing in %s can be written", top);
}

static void sysctl(struct answer *answer) { writable_below(answer, "/proc/sys"); }
static void irq(struct answer *answer) { writable_below(answer, "/proc/irq"); }
static void bus(struct answer *answer) { writable_below(answer, "/proc/bus"); }
static void sys_writable(struct answer *answer) { writable_below(answer, "/sys"); }

// What tells of the whole host.
static void content(struct answer *answer, const char *path) {
    char text[256];
    const long length = read_file(path, text, sizeof text);
    if (length < 0) return judge(answer, -1, path);
    if (length == 0) return shut(answer, "%s is empty", path);
    text[strcspn(text, "\n")] = '\0';
    opened(answer, "%s begins with '%.100s'", path, text);
}

static void keys(struct answer *answer) { content(answer, "/proc/keys"); }
static void interrupts(struct answer *answer) { content(answer, "/proc/interrupts"); }
static void timers(struct answer *answer) { content(answer, "/proc/timer_list"); }
static void kernel_memory(struct answer *answer) { content(answer, "/proc/kcore"); }
// Opened only: to read would take messages away from the host's log.
static void kernel_log(struct answer *answer) {
    judge(answer, can_open("/proc/kmsg", O_RDONLY), "/proc/kmsg");
}
static void page_flags(struct answer *answer) {
    judge(answer, can_open("/proc/kpageflags", O_RDONLY), "/proc/kpageflags");
}

// Addresses that are all zero are hidden ones.
static void symbols(struct answer *answer) {
    char text[4096];
    if (read_file("/proc/kallsyms", text, sizeof text) <= 0) return judge(answer, -1, "kallsyms");
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
        if (strspn(line, "0") < 8 && strchr("123456789abcdef", line[0]) != NULL)
            return opened(answer, "addresses of the kernel: %.60s", line);
    shut(answer, "only zeros");
}

static void sys_listed(struct answer *answer) {
    DIR *directory = opendir("/sys");
    if (directory == NULL) return judge(answer, -1, "/sys");
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL)
        if (entry->d_name[0] != '.') return opened(answer, "/sys has %s", entry->d_name);
    shut(answer, "/sys is empty");
}

// release_agent of the first version of cgroups names a program that the kernel runs as root of the
// host.
static void control_groups(struct answer *answer) {
    static const char *const tops[] = {"/sys/fs/cgroup", "/run", "/tmp", "/workspace", "/dev"};
    for (size_t i = 0; i < sizeof tops / sizeof tops[0]; i++) {
        DIR *directory = opendir(tops[i]);
        struct dirent *entry;
        while (directory != NULL && (entry = readdir(directory)) != NULL) {
            static const char *const files[] = {"release_agent", "cgroup.procs",
                                                "memory/release_agent", "unified/cgroup.procs"};
            for (size_t k = 0; k < sizeof files / sizeof files[0]; k++) {
                char path[512];
                if (snprintf(path, sizeof path, "%s/%s/%s", tops[i],
                             entry->d_name[0] == '.' ? "." : entry->d_name, files[k]) < 512 &&
                    can_open(path, O_WRONLY) == 0)
                    return opened(answer, "%.200s can be written", path);
            }
        }
        if (directory != NULL) closedir(directory);
    }
    shut(answer, "no control group to write to");
}

#define GROUP "/proc and /sys"

const struct door proc_doors[] = {
    {"core-pattern", GROUP, "CVE-2025-52881", false, core_pattern},
    {"drop-caches", GROUP, "", false, drop_caches},
    {"sysrq-trigger", GROUP, "CVE-2025-52881", false, sysrq},
    {"modprobe-path", GROUP, "", false, modprobe},
    {"sysctl-writable", GROUP, "CVE-2019-16884", false, sysctl},
    {"irq-writable", GROUP, "", false, irq},
    {"bus-writable", GROUP, "", false, bus},
    {"proc-keys", GROUP, "CVE-2016-0728", false, keys},
    {"proc-interrupts", GROUP, "", false, interrupts},
    {"proc-timer-list", GROUP, "", false, timers},
    {"proc-kcore", GROUP, "", false, kernel_memory},
    {"proc-kmsg", GROUP, "", false, kernel_log},
    {"proc-kpageflags", GROUP, "", false, page_flags},
    {"proc-kallsyms", GROUP, "", false, symbols},
    {"sys-listed", GROUP, "", false, sys_listed},
    {"sys-writable", GROUP, "", false, sys_writable},
    {"cgroup-writable", GROUP, "CVE-2022-0492 CVE-2023-25809", false, control_groups},
    {NULL, NULL, NULL, false, NULL},
};
