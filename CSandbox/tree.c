// Session trees on disk: made and deleted by helpers of the launcher, with held descriptors, one
// component at a time, following no link. Deleting flattens: a directory found in a directory is
// first moved up to the top of the tree, so neither depth nor path length matters and two
// descriptors are enough. What is mounted inside a tree is never entered: it is not the session's.
#include "launcher.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

// A process of the session that is still dying may add entries behind our back; this often we look
// again.
#define ROUNDS_MAX 1000

bool csandbox_session_valid(const char *text, size_t length) {
    if (length != CSANDBOX_SESSION_LENGTH) return false;
    for (size_t i = 0; i < length; i++)
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f')))
            return false;
    return true;
}

// Makes `name` where it is absent and opens it; whatever else bears the name is refused.
static int make_directory(int parent, const char *name, uid_t owner, int *fd,
                          struct csandbox_failure *failure) {
    if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
        return csandbox_fail(failure, "prepare", errno, "mkdir %s", name);
    *fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat status;
    if (*fd < 0 || fstat(*fd, &status) < 0)
        return csandbox_fail(failure, "prepare", errno, "open %s", name);
    if (status.st_uid == owner && status.st_gid == owner) return 0;
    // Id 0 is the service: an earlier attempt ended before this line. Any other owner means files
    // of other ids.
    if (status.st_uid != 0)
        return csandbox_fail(failure, "prepare", EEXIST,
                             "%s belongs to id %u of another block, not to %u", name, status.st_uid,
                             owner);
    if (fchown(*fd, owner, owner) < 0)
        return csandbox_fail(failure, "prepare", errno, "chown %s to %u", name, owner);
    return 0;
}

int csandbox_tree_prepare(int sessions_fd, const char *session, uint64_t block,
                          struct csandbox_failure *failure) {
    const uid_t agent = csandbox_block_id(block, CSANDBOX_SLOT_AGENT);
    CSANDBOX_AUTO_FD int top = -1;
    if (make_directory(sessions_fd, session, 0, &top, failure) < 0) return -failure->error;
    if (fchmod(top, 0700) < 0) return csandbox_fail(failure, "prepare", errno, "chmod %s", session);
    static const char *const names[] = {"workspace", "home"};
    for (size_t i = 0; i < 2; i++) {
        CSANDBOX_AUTO_FD int fd = -1;
        if (make_directory(top, names[i], agent, &fd, failure) < 0) return -failure->error;
    }
    return 0;
}

struct removal {
    int top;       // everything is moved here before it is emptied
    uint64_t next; // number of the next directory that is moved
    uint64_t done; // moved directories below this number have been dealt with
    bool progress; // this round removed or moved something
    struct csandbox_failure *failure;
};

struct entry { // as getdents64(2) returns it
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

static void lifted_name(char *name, size_t capacity, uint64_t number) {
    (void)snprintf(name, capacity, ".%llx", (unsigned long long)number);
}

static int lift(struct removal *removal, int dir, const char *name) {
    for (;;) {
        char lifted[32];
        lifted_name(lifted, sizeof lifted, removal->next++);
        if (renameat2(dir, name, removal->top, lifted, RENAME_NOREPLACE) == 0) return 0;
        if (errno != EEXIST)
            return -errno; // a leftover of a removal that was interrupted has the name
    }
}

static bool is_dots(const char *name) {
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static int fail_mounted(struct removal *removal, const char *name) {
    return csandbox_fail(removal->failure, "destroy", EXDEV,
                         "%.150s is a mount point: a file system that is not the session's is "
                         "mounted there; unmount it and try again",
                         name);
}

// A directory of `parent`, in the same mount: neither another file system nor a bind of this one.
static int open_inside(int parent, const char *name) {
    const struct open_how how = {
        .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH,
    };
    for (;;) {
        const long fd = syscall(SYS_openat2, parent, name, &how, sizeof how);
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) return (int)fd;
    }
}

// A file is unlinked, a directory removed when it is empty, else lifted.
static int remove_entry(struct removal *removal, int dir, const struct entry *entry) {
    int error = EISDIR;
    if (entry->type != DT_DIR) error = unlinkat(dir, entry->name, 0) < 0 ? errno : 0;
    if (error == EISDIR) error = unlinkat(dir, entry->name, AT_REMOVEDIR) < 0 ? errno : 0;
    if (error == ENOTEMPTY) error = -lift(removal, dir, entry->name);
    if (error == 0) removal->progress = true;
    if (error == 0 || error == ENOENT) return 0;
    if (error == EBUSY || error == EXDEV) return fail_mounted(removal, entry->name);
    return csandbox_fail(removal->failure, "destroy", error, "remove %.200s", entry->name);
}

static int visit(struct removal *removal, int dir,
                 int (*action)(struct removal *, int, const struct entry *)) {
    _Alignas(struct entry) char buffer[32768];
    ssize_t length;
    while ((length = syscall(SYS_getdents64, dir, buffer, sizeof buffer)) > 0) {
        for (ssize_t at = 0; at < length;) {
            const struct entry *entry = (const struct entry *)(const void *)(buffer + at);
            at += entry->length;
            if (!is_dots(entry->name) && action(removal, dir, entry) < 0)
                return -removal->failure->error;
        }
    }
    if (length < 0) return csandbox_fail(removal->failure, "destroy", errno, "read a directory");
    return 0;
}

// Empties a directory of the top and removes it; what is no directory is unlinked.
static int remove_from_top(struct removal *removal, const char *name) {
    CSANDBOX_AUTO_FD int fd = open_inside(removal->top, name);
    if (fd < 0 && errno == EXDEV) return fail_mounted(removal, name);
    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP)) {
        if (unlinkat(removal->top, name, 0) == 0)
            removal->progress = true;
        else if (errno == EBUSY)
            return fail_mounted(removal, name);
        else if (errno != ENOENT)
            return csandbox_fail(removal->failure, "destroy", errno, "remove %.200s", name);
        return 0;
    }
    if (fd < 0 && errno == ENOENT) return 0;
    if (fd < 0) return csandbox_fail(removal->failure, "destroy", errno, "open %.200s", name);
    if (visit(removal, fd, remove_entry) < 0) return -removal->failure->error;
    if (unlinkat(removal->top, name, AT_REMOVEDIR) == 0)
        removal->progress = true;
    else if (errno != ENOTEMPTY && errno != ENOENT)
        return csandbox_fail(removal->failure, "destroy", errno, "rmdir %.200s", name);
    return 0;
}

static int remove_top_entry(struct removal *removal, int dir, const struct entry *entry) {
    (void)dir; // the top itself
    return remove_from_top(removal, entry->name);
}

// One pass: what the top holds, then what came up from below, in the order in which it came.
static int sweep(struct removal *removal) {
    if (lseek(removal->top, 0, SEEK_SET) < 0)
        return csandbox_fail(removal->failure, "destroy", errno, "rewind the session directory");
    if (visit(removal, removal->top, remove_top_entry) < 0) return -removal->failure->error;
    for (; removal->done < removal->next; removal->done++) {
        char name[32];
        lifted_name(name, sizeof name, removal->done);
        if (remove_from_top(removal, name) < 0) return -removal->failure->error;
    }
    return 0;
}

int csandbox_tree_destroy(int sessions_fd, const char *session, struct csandbox_failure *failure) {
    CSANDBOX_AUTO_FD int top = open_inside(sessions_fd, session);
    struct removal removal = {.top = top, .failure = failure};
    if (top < 0 && errno == ENOENT) return 0;
    if (top < 0 && errno == EXDEV) return fail_mounted(&removal, session);
    if (top < 0) return csandbox_fail(failure, "destroy", errno, "open sessions/%s", session);
    for (int idle = 0; idle < ROUNDS_MAX; idle = removal.progress ? 0 : idle + 1) {
        removal.progress = false;
        if (sweep(&removal) < 0) return -failure->error;
        if (unlinkat(sessions_fd, session, AT_REMOVEDIR) == 0 || errno == ENOENT) return 0;
        if (errno != ENOTEMPTY && errno != EEXIST)
            return csandbox_fail(failure, "destroy", errno, "rmdir sessions/%s", session);
    }
    return csandbox_fail(failure, "destroy", ENOTEMPTY, "sessions/%s does not become empty",
                         session);
}
