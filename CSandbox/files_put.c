// FILES_PUT: a tar stream into a path of the session. Runs with the agent's rights and nothing
// else; names of the archive stay below the target and no link on the way is followed.
#include "init.h"
#include "tar.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define DIRECTORY_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define COMPONENTS_MAX CSANDBOX_TAR_DEPTH_MAX

// Components of an entry's name below the base directory.
struct names {
    char text[CSANDBOX_TAR_NAME_MAX + CSANDBOX_TAR_NAME_MAX];
    char *part[COMPONENTS_MAX];
    int count;
};

// A directory on the way to the newest entry. Those that we made get mode and time when we leave
// them: earlier they might keep us from filling them.
struct level {
    int fd;
    bool made;
    uint32_t mode;
    int64_t mtime;
};

struct unpack {
    struct csandbox_tar_reader reader;
    struct csandbox_tar_entry entry;
    struct names names, open, link; // of the entry, of the levels, of a hard link's target
    struct level levels[COMPONENTS_MAX];
    int base;                          // directory that everything is below
    char rename[CSANDBOX_TAR_NAME_MAX]; // "" or what the one top entry is called
    char top[CSANDBOX_TAR_NAME_MAX];    // its name in the archive
    bool failed;
    struct csandbox_failure *failure;
};

// One for the process: too large for a stack.
static struct unpack unpack;

// The first failure is told; the other entries are still unpacked. -error: this entry is over.
static int note(struct unpack *u, int error, const char *what) {
    if (!u->failed)
        (void)csandbox_fail(u->failure, "files", error, "%.180s%s%s", u->entry.name,
                            what[0] != '\0' ? ": " : "", what);
    u->failed = true;
    return -error;
}

// Full disks and broken ones do not get better with the next entry.
static bool is_fatal(int error) { return error == ENOSPC || error == EDQUOT || error == EIO; }

// In rename mode the first component (whatever it is, "." too) stands for the target's own name.
static int rename_top(struct unpack *u, const char *first) {
    if (u->top[0] == '\0') (void)strncpy(u->top, first, sizeof u->top - 1);
    return strcmp(u->top, first) == 0
        ? 0 : note(u, EEXIST, "the target is no directory and takes one entry only");
}

static int split(struct unpack *u, const char *name, struct names *names) {
    names->count = 0;
    if (name[0] == '\0') return note(u, EINVAL, "an empty name");
    if (name[0] == '/') return note(u, EINVAL, "absolute names are refused");
    char *rest = names->text;
    if (u->rename[0] != '\0') {
        (void)strncpy(rest, name, CSANDBOX_TAR_NAME_MAX - 1);
        rest[strcspn(rest, "/")] = '\0';
        if (strcmp(rest, "..") == 0) return note(u, EINVAL, "'..' is refused");
        const int result = rename_top(u, rest);
        if (result != 0) return result;
        name += strcspn(name, "/");
        names->part[names->count++] = u->rename;
    }
    (void)strncpy(rest, name, CSANDBOX_TAR_NAME_MAX - 1);
    rest[CSANDBOX_TAR_NAME_MAX - 1] = '\0';
    for (char *part; (part = strsep(&rest, "/")) != NULL;) {
        if (part[0] == '\0' || strcmp(part, ".") == 0) continue;
        if (strcmp(part, "..") == 0) return note(u, EINVAL, "'..' is refused");
        if (names->count == COMPONENTS_MAX) return note(u, ENAMETOOLONG, "nested too deeply");
        names->part[names->count++] = part;
    }
    return 0;
}

static int set_times(int fd, int64_t mtime) {
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = mtime}};
    return futimens(fd, times);
}

static int parent_fd(const struct unpack *u) {
    return u->open.count > 0 ? u->levels[u->open.count - 1].fd : u->base;
}

static void leave(struct unpack *u) {
    struct level *level = &u->levels[--u->open.count];
    if (level->made) {
        // The agent may have done the same or more meanwhile; neither is worth a failure.
        (void)fchmod(level->fd, level->mode);
        (void)set_times(level->fd, level->mtime);
    }
    csandbox_close_fd(&level->fd);
}

// Remembers the way by copying the names: the entry's own are overwritten by the next one.
static int push(struct unpack *u, const char *part, struct level level) {
    struct names *open = &u->open;
    const int depth = open->count;
    const char *last = depth > 0 ? open->part[depth - 1] : NULL;
    char *place = last == NULL ? open->text : open->part[depth - 1] + strlen(last) + 1;
    const size_t room = (size_t)(open->text + sizeof open->text - place);
    if (strlen(part) >= room) {
        close(level.fd);
        return note(u, ENAMETOOLONG, "nested too deeply");
    }
    memcpy(place, part, strlen(part) + 1);
    open->part[depth] = place;
    u->levels[depth] = level;
    open->count++;
    return 0;
}

// Into the directory `part` of the directory that we are in; made when it is missing. `own`: it is
// the entry itself, whose mode and time are known.
static int descend(struct unpack *u, const char *part, bool own) {
    const int at = parent_fd(u);
    struct level level = {.fd = openat(at, part, DIRECTORY_FLAGS), .mode = 0755};
    if (level.fd < 0 && errno == ENOENT) {
        if (mkdirat(at, part, 0700) != 0 && errno != EEXIST) return note(u, errno, "mkdir");
        level.made = true;
        level.mtime = u->entry.mtime;
        if (own) level.mode = u->entry.mode;
        level.fd = openat(at, part, DIRECTORY_FLAGS);
    }
    if (level.fd < 0) return note(u, errno, part);
    return push(u, part, level);
}

// To the directory that holds the entry, keeping what is common with the way to the last one.
static int go_to_parent(struct unpack *u, int count) {
    int common = 0;
    while (common < count && common < u->open.count &&
           strcmp(u->names.part[common], u->open.part[common]) == 0)
        common++;
    while (u->open.count > common) leave(u);
    for (int i = common; i < count; i++) {
        const int result = descend(u, u->names.part[i], false);
        if (result != 0) return result;
    }
    return 0;
}

// A new file in the place of whatever is no directory. Where the directory forbids that, into the
// file.
static int open_file(struct unpack *u, const char *name) {
    const int at = parent_fd(u);
    const int flags = O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    struct stat status;
    if (unlinkat(at, name, 0) == 0 || errno == ENOENT) {
        const int fd = openat(at, name, flags | O_CREAT | O_EXCL, 0600);
        return fd >= 0 ? fd : note(u, errno, "");
    }
    const int error = errno;
    if (error == EISDIR) return note(u, EISDIR, "a directory has this name");
    CSANDBOX_AUTO_FD int fd = openat(at, name, flags | O_TRUNC);
    if (fd < 0) return note(u, error, "");
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return note(u, EINVAL, "no file");
    return csandbox_steal_fd(&fd);
}

static int write_all(int fd, const uint8_t *bytes, size_t length) {
    while (length > 0) {
        const ssize_t written = write(fd, bytes, length);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return -errno;
        bytes += written;
        length -= (size_t)written;
    }
    return 0;
}

static int put_file(struct unpack *u, const char *name) {
    CSANDBOX_AUTO_FD int fd = open_file(u, name);
    if (fd < 0) return fd;
    const uint8_t *bytes = NULL;
    ssize_t count;
    while ((count = csandbox_tar_content(&u->reader, &bytes)) > 0) {
        const int result = write_all(fd, bytes, (size_t)count);
        if (result != 0) return note(u, -result, "write");
    }
    if (count < 0) return 0; // an early end; the next step tells
    if (fchmod(fd, u->entry.mode) != 0 || set_times(fd, u->entry.mtime) != 0)
        return note(u, errno, "mode and time");
    return 0;
}

static int put_symbolic_link(struct unpack *u, const char *name) {
    const int at = parent_fd(u);
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = u->entry.mtime}};
    if (unlinkat(at, name, 0) != 0 && errno != ENOENT) return note(u, errno, "");
    if (symlinkat(u->entry.link, at, name) != 0) return note(u, errno, "symlink");
    (void)utimensat(at, name, times, AT_SYMLINK_NOFOLLOW);
    return 0;
}

// The target is an earlier entry, so it is below the base too and no link leads to it.
static int put_hard_link(struct unpack *u, const char *name) {
    int result = split(u, u->entry.link, &u->link);
    if (result != 0) return result;
    if (u->link.count == 0) return note(u, EINVAL, "a hard link to nothing");
    CSANDBOX_AUTO_FD int at = openat(u->base, ".", DIRECTORY_FLAGS);
    for (int i = 0; at >= 0 && i < u->link.count - 1; i++) {
        const int next = openat(at, u->link.part[i], DIRECTORY_FLAGS);
        const int error = errno;
        close(at);
        at = next;
        errno = error;
    }
    if (at < 0) return note(u, errno, u->entry.link);
    if (unlinkat(parent_fd(u), name, 0) != 0 && errno != ENOENT) return note(u, errno, "");
    if (linkat(at, u->link.part[u->link.count - 1], parent_fd(u), name, 0) != 0)
        return note(u, errno, "link");
    return 0;
}

static int put_entry(struct unpack *u) {
    const int result = split(u, u->entry.name, &u->names);
    if (result != 0) return result;
    const int count = u->names.count;
    if (count == 0) // the directory itself, or nothing
        return u->entry.type == CSANDBOX_TAR_DIRECTORY ? 0 : note(u, EINVAL, "no name");
    const int gone = go_to_parent(u, count - 1);
    if (gone != 0) return gone;
    const char *name = u->names.part[count - 1];
    switch (u->entry.type) {
    case CSANDBOX_TAR_DIRECTORY: return descend(u, name, true);
    case CSANDBOX_TAR_FILE: return put_file(u, name);
    case CSANDBOX_TAR_SYMBOLIC_LINK: return put_symbolic_link(u, name);
    case CSANDBOX_TAR_HARD_LINK: return put_hard_link(u, name);
    case '3': case '4': case '6': return 0; // devices and pipes, as FILES_GET leaves them out
    default: return note(u, EOPNOTSUPP, "unknown kind of entry");
    }
}

// An existing directory takes the entries; else the target is the new name of the one top entry.
static int open_target(struct unpack *u, const char *path) {
    char parent[CSANDBOX_TAR_NAME_MAX];
    u->base = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (u->base >= 0) return 0;
    if (errno != ENOENT && errno != ENOTDIR)
        return csandbox_fail(u->failure, "files", errno, "%.200s", path);
    if (strlen(path) >= sizeof parent)
        return csandbox_fail(u->failure, "files", ENAMETOOLONG, "%.200s", path);
    memcpy(parent, path, strlen(path) + 1);
    for (size_t end = strlen(parent); end > 0 && parent[end - 1] == '/';) parent[--end] = '\0';
    char *slash = strrchr(parent, '/');
    const char *name = slash != NULL ? slash + 1 : parent;
    memcpy(u->rename, name, strlen(name) + 1);
    if (u->rename[0] == '\0' || strcmp(u->rename, ".") == 0 || strcmp(u->rename, "..") == 0)
        return csandbox_fail(u->failure, "files", ENOENT, "%.200s", path);
    if (slash != NULL) slash[slash == parent ? 1 : 0] = '\0';
    u->base = open(slash != NULL ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (u->base < 0)
        return csandbox_fail(u->failure, "files", errno, "%.200s: its directory", path);
    return 0;
}

int csandbox_files_put(const char *path, int fd, struct csandbox_failure *failure) {
    struct unpack *u = &unpack;
    u->reader.fd = fd;
    u->failure = failure;
    umask(0); // modes are those of the archive
    int result = open_target(u, path);
    if (result != 0) return result;
    struct csandbox_failure broken;
    while ((result = csandbox_tar_next(&u->reader, &u->entry, &broken)) == 1) {
        const int outcome = put_entry(u);
        if (outcome < 0 && is_fatal(-outcome)) break;
    }
    while (u->open.count > 0) leave(u);
    if (result < 0 && !u->failed) {
        u->failed = true;
        *failure = broken;
    }
    if (result == 0) csandbox_tar_drain(&u->reader);
    return u->failed ? -failure->error : 0;
}
