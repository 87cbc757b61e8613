// How much a session's tree holds. Nothing is changed, so the way back up goes through "..", which
// is believed only when it leads to a directory that was passed on the way down: a tree that is
// being rearranged cannot lead outside.
#include "launcher.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

struct entry { // as getdents64(2) returns it
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

// A directory on the way down, and where to go on reading it.
struct level {
    dev_t device;
    ino_t inode;
    off_t position;
};

struct walk {
    struct level *levels;
    size_t depth, capacity;
    uint64_t bytes, files;
};

static void free_walk(struct walk *walk) { free(walk->levels); }

static int push(struct walk *walk, int fd) {
    struct stat status;
    if (fstat(fd, &status) < 0) return errno > 0 ? -errno : -EIO;
    if (walk->depth == walk->capacity) {
        const size_t capacity = walk->capacity == 0 ? 64 : walk->capacity * 2;
        struct level *levels = realloc(walk->levels, capacity * sizeof *levels);
        if (levels == NULL) return -ENOMEM;
        walk->levels = levels;
        walk->capacity = capacity;
    }
    walk->levels[walk->depth++] = (struct level){status.st_dev, status.st_ino, 0};
    return 0;
}

// A file with several names is shared out among them, so that it counts once in all.
static void count(struct walk *walk, const struct stat *status) {
    const uint64_t bytes = (uint64_t)status->st_blocks * 512;
    walk->bytes +=
        !S_ISDIR(status->st_mode) && status->st_nlink > 1 ? bytes / status->st_nlink : bytes;
    walk->files++;
}

// Reads on in the directory until it ends (0) or a directory is found and opened (1).
static int read_on(struct walk *walk, int fd, int *child) {
    _Alignas(struct entry) char buffer[32768];
    struct level *level = &walk->levels[walk->depth - 1];
    if (lseek(fd, level->position, SEEK_SET) < 0) return -errno;
    ssize_t length;
    while ((length = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0) {
        for (ssize_t at = 0; at < length;) {
            const struct entry *entry = (const struct entry *)(const void *)(buffer + at);
            at += entry->length;
            level->position = entry->offset;
            if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0) continue;
            struct stat status;
            if (fstatat(fd, entry->name, &status, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
                continue; // gone
            count(walk, &status);
            if (!S_ISDIR(status.st_mode) || status.st_dev != level->device) continue;
            *child = openat(fd, entry->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (*child >= 0) return 1;
            if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP) return -errno;
        }
    }
    return length < 0 ? -errno : 0;
}

// Goes up from `fd` to the nearest directory that was passed on the way down.
static int climb(struct walk *walk, int *fd) {
    const int up = openat(*fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (up < 0) return -errno;
    close(*fd);
    *fd = up;
    struct stat status;
    if (fstat(up, &status) < 0) return -errno;
    for (size_t depth = walk->depth - 1; depth > 0; depth--) {
        const struct level *level = &walk->levels[depth - 1];
        if (level->inode != status.st_ino || level->device != status.st_dev) continue;
        walk->depth = depth;
        return 0;
    }
    return -ESTALE; // moved to where we have not been
}

static int measure(struct walk *walk, int top) {
    CSANDBOX_AUTO_FD int fd = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -errno;
    walk->depth = 0;
    walk->bytes = walk->files = 0;
    int result = push(walk, fd);
    while (result == 0) {
        int child = -1;
        const int found = read_on(walk, fd, &child);
        if (found < 0) return found;
        if (child >= 0) {
            close(fd);
            fd = child;
            result = push(walk, fd);
        } else if (walk->depth == 1) {
            return 0;
        } else {
            result = climb(walk, &fd);
        }
    }
    return result;
}

int csandbox_tree_measure(int sessions_fd, const char *session, uint64_t *bytes, uint64_t *files,
                          struct csandbox_failure *failure) {
    CSANDBOX_AUTO_FD int top =
        openat(sessions_fd, session, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (top < 0) return csandbox_fail(failure, "measure", errno, "open sessions/%s", session);
    __attribute__((cleanup(free_walk))) struct walk walk = {.levels = NULL};
    int result = -ESTALE;
    for (int attempt = 0; attempt < 5 && result == -ESTALE; attempt++) result = measure(&walk, top);
    if (result < 0) return csandbox_fail(failure, "measure", -result, "walk sessions/%s", session);
    *bytes = walk.bytes;
    *files = walk.files;
    return 0;
}
