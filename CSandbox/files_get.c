// FILES_GET: a path of the session as a tar stream. Runs with the agent's rights and nothing else,
// against a tree that the agent may change at any moment.
#include "init.h"
#include "tar.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#define OPEN_FLAGS (O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

struct level {
    DIR *directory;
    dev_t device;
    size_t name_length; // of the path up to here, with its slash
};

struct walk {
    struct csandbox_tar_writer writer;
    struct csandbox_tar_entry entry; // its name is the path of where we are
    struct level levels[CSANDBOX_TAR_DEPTH_MAX];
    int depth;
    bool failed;
    struct csandbox_failure *failure;
};

// One for the process: too large for a stack.
static struct walk walk;

// The first failure is told; the rest of the tree still comes.
static void note(struct walk *w, int error, const char *what) {
    if (w->failed) return;
    w->failed = true;
    (void)csandbox_fail(w->failure, "files", error, "%.180s%s%s", w->entry.name,
                        what[0] != '\0' ? ": " : "", what);
}

static void describe(struct walk *w, char type, const struct stat *status) {
    w->entry.type = type;
    w->entry.mode = status->st_mode & 0777u; // set-id bits are no business of other machines
    w->entry.size = type == CSANDBOX_TAR_FILE ? (uint64_t)status->st_size : 0;
    w->entry.mtime = status->st_mtime;
    if (type != CSANDBOX_TAR_SYMBOLIC_LINK) w->entry.link[0] = '\0';
}

// Exactly the announced size: a file that grows is cut, one that shrinks is filled with zeros.
static int put_file(struct walk *w, int fd, const struct stat *status) {
    describe(w, CSANDBOX_TAR_FILE, status);
    int result = csandbox_tar_write_header(&w->writer, &w->entry);
    uint64_t left = w->entry.size;
    while (result == 0 && left > 0) {
        size_t room;
        uint8_t *space = csandbox_tar_space(&w->writer, &room);
        const ssize_t got = read(fd, space, left < room ? (size_t)left : room);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            note(w, got < 0 ? errno : EIO, got < 0 ? "read" : "shrank while it was read");
            break;
        }
        left -= (uint64_t)got;
        result = csandbox_tar_wrote(&w->writer, (size_t)got);
    }
    const uint64_t over = w->entry.size % CSANDBOX_TAR_BLOCK;
    if (result == 0 && over != 0) left += CSANDBOX_TAR_BLOCK - over;
    return result != 0 ? result : csandbox_tar_zeros(&w->writer, left);
}

static int put_link(struct walk *w, int at, const char *name, const struct stat *status) {
    const ssize_t length = readlinkat(at, name, w->entry.link, sizeof w->entry.link - 1);
    if (length < 0) {
        note(w, errno, "readlink");
        return 0;
    }
    w->entry.link[length] = '\0';
    describe(w, CSANDBOX_TAR_SYMBOLIC_LINK, status);
    return csandbox_tar_write_header(&w->writer, &w->entry);
}

// A directory's own entry, then down into it. Takes `fd`.
static int enter(struct walk *w, int fd, const struct stat *status) {
    const size_t length = strlen(w->entry.name);
    CSANDBOX_AUTO_FD int owned = fd;
    if (w->depth == CSANDBOX_TAR_DEPTH_MAX || length + 2 > sizeof w->entry.name) {
        note(w, ENAMETOOLONG, "nested too deeply");
        return 0;
    }
    memcpy(w->entry.name + length, "/", 2);
    describe(w, CSANDBOX_TAR_DIRECTORY, status);
    const int result = csandbox_tar_write_header(&w->writer, &w->entry);
    if (result != 0) return result;
    DIR *directory = fdopendir(owned);
    if (directory == NULL) {
        note(w, errno, "");
        return 0;
    }
    (void)csandbox_steal_fd(&owned);
    w->levels[w->depth++] = (struct level){
        .directory = directory, .device = status->st_dev, .name_length = length + 1};
    return 0;
}

// The kernel's own tree is not somebody's files; its "files" are without end.
static bool is_proc(const struct level *parent, int fd, const struct stat *status) {
    struct statfs system;
    return parent->device != status->st_dev && fstatfs(fd, &system) == 0 &&
           system.f_type == PROC_SUPER_MAGIC;
}

// What is there now: it may have become something else since it was looked at.
static int put_opened(struct walk *w, const struct level *parent, const char *name,
                      mode_t expected) {
    struct stat status;
    const bool directory = S_ISDIR(expected);
    CSANDBOX_AUTO_FD int fd = openat(dirfd(parent->directory), name,
                                     OPEN_FLAGS | O_NOFOLLOW | (directory ? O_DIRECTORY : 0));
    if (fd < 0 || fstat(fd, &status) != 0) {
        if (errno != ENOENT) note(w, errno, "");
        return 0;
    }
    if (S_ISREG(status.st_mode)) return put_file(w, fd, &status);
    if (!S_ISDIR(status.st_mode) || is_proc(parent, fd, &status)) return 0;
    return enter(w, csandbox_steal_fd(&fd), &status);
}

// Pipes, sockets and devices are left out.
static int put_child(struct walk *w, const char *name) {
    const struct level *parent = &w->levels[w->depth - 1];
    struct stat status;
    const size_t length = strlen(name);
    if (parent->name_length + length >= sizeof w->entry.name) {
        note(w, ENAMETOOLONG, name);
        return 0;
    }
    memcpy(w->entry.name + parent->name_length, name, length + 1);
    if (fstatat(dirfd(parent->directory), name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno != ENOENT) note(w, errno, ""); // gone meanwhile
        return 0;
    }
    if (S_ISLNK(status.st_mode)) return put_link(w, dirfd(parent->directory), name, &status);
    if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode))
        return put_opened(w, parent, name, status.st_mode);
    return 0;
}

static int put_tree(struct walk *w) {
    int result = 0;
    while (result == 0 && w->depth > 0) {
        struct level *level = &w->levels[w->depth - 1];
        errno = 0;
        const struct dirent *child = readdir(level->directory);
        if (child == NULL) {
            w->entry.name[level->name_length] = '\0';
            if (errno != 0) note(w, errno, "");
            closedir(level->directory);
            w->depth--;
        } else if (strcmp(child->d_name, ".") != 0 && strcmp(child->d_name, "..") != 0) {
            result = put_child(w, child->d_name);
        }
    }
    return result;
}

// The last component; "." where that is no name, so that the content goes where it is unpacked.
static void name_top(struct walk *w, const char *path) {
    size_t end = strlen(path);
    while (end > 0 && path[end - 1] == '/') end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') start--;
    memcpy(w->entry.name, path + start, end - start);
    w->entry.name[end - start] = '\0';
    if (end == start || strcmp(w->entry.name, "..") == 0) memcpy(w->entry.name, ".", 2);
}

int csandbox_files_get(const char *path, int fd, struct csandbox_failure *failure) {
    struct stat status;
    walk.writer.fd = fd;
    walk.failure = failure;
    CSANDBOX_AUTO_FD int top = open(path, OPEN_FLAGS);
    if (top < 0 || fstat(top, &status) != 0)
        return csandbox_fail(failure, "files", errno, "%.200s", path);
    if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))
        return csandbox_fail(failure, "files", EINVAL, "%.180s: neither a file nor a directory",
                             path);
    name_top(&walk, path);
    int result = S_ISREG(status.st_mode) ? put_file(&walk, top, &status)
                                         : enter(&walk, csandbox_steal_fd(&top), &status);
    if (result == 0) result = put_tree(&walk);
    if (result == 0) result = csandbox_tar_write_end(&walk.writer);
    if (result != 0) return csandbox_fail(failure, "files", -result, "writing the stream");
    return walk.failed ? -failure->error : 0;
}
