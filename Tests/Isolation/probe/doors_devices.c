// Doors through device files and terminals.
#include "door.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define TIOCLINUX_COPY 0x541c
#define BTRFS_IOC_SUBVOL_CREATE 0x5000940e

// Device files besides the handful that every program needs, and that this process may open.
static int other_device(const char *path, int depth, char *found, size_t capacity) {
    static const struct {
        unsigned major, minor;
    } known[] = {{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 2}};
    DIR *directory = opendir(path);
    if (directory == NULL || depth == 0) return 0;
    struct dirent *entry;
    int result = 0;
    while (result == 0 && (entry = readdir(directory)) != NULL) {
        char name[512];
        struct stat status;
        if (entry->d_name[0] == '.') continue;
        if (snprintf(name, sizeof name, "%s/%s", path, entry->d_name) >= (int)sizeof name) continue;
        if (lstat(name, &status) < 0) continue;
        if (S_ISDIR(status.st_mode)) result = other_device(name, depth - 1, found, capacity);
        if (!S_ISCHR(status.st_mode) && !S_ISBLK(status.st_mode)) continue;
        bool harmless = S_ISCHR(status.st_mode) && major(status.st_rdev) == 136; // own terminals
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            harmless |= S_ISCHR(status.st_mode) && major(status.st_rdev) == known[i].major &&
                        minor(status.st_rdev) == known[i].minor;
        // Looked at, not opened: to open some devices does something.
        if (harmless || access(name, R_OK | W_OK) < 0) continue;
        (void)snprintf(found, capacity, "%s", name);
        result = 1;
    }
    closedir(directory);
    return result;
}

static void device_files(struct answer *answer) {
    char found[512];
    if (other_device("/dev", 4, found, sizeof found)) opened(answer, "%.200s", found);
    else shut(answer, "only the usual ones");
}

static void make_device(struct answer *answer, mode_t kind, unsigned major, unsigned minor) {
    const char *path = "/tmp/device";
    (void)unlink(path);
    judge(answer, mknod(path, kind | 0600, makedev(major, minor)), "mknod");
    (void)unlink(path);
}

static void make_block(struct answer *answer) { make_device(answer, S_IFBLK, 7, 0); }

// One that the host left in the tree.
static void left_device(struct answer *answer) {
    const char *path = parameter(answer, "device");
    if (path == NULL) return;
    if (access(path, F_OK) < 0) return broken(answer, "%s: %s", path, strerror(errno));
    judge(answer, can_open(path, O_RDONLY), path);
}

// A terminal of its own, which controls the session of this process.
static int own_terminal(struct answer *answer, int *primary) {
    char name[64];
    *primary = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    int unlocked = 0;
    unsigned number = 0;
    if (*primary < 0 || ioctl(*primary, TIOCSPTLCK, &unlocked) < 0 ||
        ioctl(*primary, TIOCGPTN, &number) < 0) {
        broken(answer, "no terminal: %s", strerror(errno));
        return -1;
    }
    (void)snprintf(name, sizeof name, "/dev/pts/%u", number);
    (void)setsid();
    const int fd = open(name, O_RDWR | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, TIOCSCTTY, 0) < 0) {
        broken(answer, "%s does not control: %s", name, strerror(errno));
        return -1;
    }
    return fd;
}

static void terminal_call(struct answer *answer, unsigned long request, void *argument, int reached,
                          const char *what) {
    int primary;
    const int fd = own_terminal(answer, &primary);
    if (fd < 0) return;
    // Raw: glibc would cut the request to 32 bits.
    judge_reached(answer, syscall(SYS_ioctl, fd, request, argument), reached, what);
}

static void type_in(struct answer *answer) {
    char letter = 'x';
    terminal_call(answer, TIOCSTI, &letter, EIO, "TIOCSTI");
}
static void type_in_high(struct answer *answer) {
    char letter = 'x';
    terminal_call(answer, TIOCSTI | UINT64_C(1) << 32, &letter, EIO, "TIOCSTI with a high bit");
}
static void paste(struct answer *answer) {
    char request[16] = {3}; // TIOCL_PASTESEL
    terminal_call(answer, TIOCLINUX_COPY, request, ENOTTY, "TIOCLINUX");
}
static void discipline(struct answer *answer) {
    int number = 0; // the usual one, which a terminal has already
    terminal_call(answer, TIOCSETD, &number, EINVAL, "TIOCSETD");
}

static void host_terminal(struct answer *answer) {
    const char *path = parameter(answer, "host.pts");
    if (path == NULL) return;
    judge(answer, can_open(path, O_RDWR), path);
}

static void controlling_terminal(struct answer *answer) {
    judge(answer, can_open("/dev/tty", O_RDWR), "a terminal that controls this process");
}

static void console(struct answer *answer) {
    static const char *const names[] = {"/dev/console", "/dev/tty0", "/dev/tty1", "/dev/ttyS0"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (access(names[i], W_OK) == 0) return opened(answer, "%s can be written", names[i]);
    shut(answer, "none of the host's consoles is here");
}

// Makes a tree that its owner could not delete.
static void subvolume(struct answer *answer) {
    static char request[4096] = {0};
    const int fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return broken(answer, "/tmp: %s", strerror(errno));
    judge_reached(answer, ioctl(fd, BTRFS_IOC_SUBVOL_CREATE, request), ENOTTY, "a btrfs request");
}

#define GROUP "devices and ttys"

const struct door device_doors[] = {
    {"device-files", GROUP, "", false, device_files},
    {"mknod-block", GROUP, "", true, make_block},
    {"device-left-in-tree", GROUP, "", false, left_device},
    {"tiocsti", GROUP, "CVE-2017-5226", false, type_in},
    {"tiocsti-high-bits", GROUP, "CVE-2019-10063 CVE-2019-7303", false, type_in_high},
    {"tioclinux", GROUP, "CVE-2023-28100", false, paste},
    {"line-discipline", GROUP, "CVE-2017-2636 CVE-2023-6546", false, discipline},
    {"host-terminal", GROUP, "", false, host_terminal},
    {"controlling-terminal", GROUP, "CVE-2017-5226", false, controlling_terminal},
    {"console", GROUP, "CVE-2025-52565", false, console},
    {"btrfs-subvolume", GROUP, "", true, subvolume},
    {NULL, NULL, NULL, false, NULL},
};
