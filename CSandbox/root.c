// A root of the session's own: a small tmpfs into which the top-level entries of another root are
// bound. Needed when an operator's tree is the root, or when mounts go to places that the template
// does not have.
#include "launcher.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

// As getdents64(2) returns it.
struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

int csandbox_op_new_root(const struct csandbox_op *op, struct csandbox_failure *failure) {
    if (mount("root", op->target, "tmpfs", MS_NOSUID | MS_NODEV,
              "size=4m,nr_inodes=4096,mode=0755") < 0)
        return csandbox_fail(failure, op->stage, errno, "mount tmpfs");
    if (chdir(op->target) < 0)
        return csandbox_fail(failure, op->stage, errno, "enter the new root");
    return 0;
}

// Every session has its own of these, whatever the other root holds under the name.
static bool is_own(const char *name) {
    static const char *const own[] = {".",   "..",        "proc", "sys",   "dev",       "tmp",
                                      "run", "workspace", "home", "agent", "lost+found"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (strcmp(name, own[i]) == 0) return true;
    return false;
}

static int mirror_link(const struct csandbox_op *op, int base, const char *name,
                       struct csandbox_failure *failure) {
    char target[PATH_MAX];
    const ssize_t length = readlinkat(base, name, target, sizeof target - 1);
    if (length < 0) return csandbox_fail(failure, op->stage, errno, "readlink /%.200s", name);
    target[length] = '\0';
    if (symlink(target, name) < 0)
        return csandbox_fail(failure, op->stage, errno, "symlink /%.200s", name);
    return 0;
}

static int mirror_entry(const struct csandbox_op *op, int base, const char *name,
                        struct csandbox_failure *failure) {
    struct stat status;
    if (fstatat(base, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return csandbox_fail(failure, op->stage, errno, "stat /%.200s", name);
    if (S_ISLNK(status.st_mode)) return mirror_link(op, base, name, failure);
    if (!S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode))
        return 0; // devices, sockets: not into a session
    const int made =
        S_ISDIR(status.st_mode) ? mkdir(name, 0755) : csandbox_write_file(AT_FDCWD, name, "", 0444);
    if (made < 0) return csandbox_fail(failure, op->stage, errno, "create /%.200s", name);
    CSANDBOX_AUTO_FD int tree = open_tree(
        base, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW);
    if (tree < 0) return csandbox_fail(failure, op->stage, errno, "open_tree /%.200s", name);
    if (move_mount(tree, "", AT_FDCWD, name, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return csandbox_fail(failure, op->stage, errno, "move_mount /%.200s", name);
    return 0;
}

int csandbox_op_mirror(const struct csandbox_op *op, struct csandbox_failure *failure) {
    CSANDBOX_AUTO_FD int base = open(op->source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (base < 0) return csandbox_fail(failure, op->stage, errno, "open the root directory");
    _Alignas(struct entry) char buffer[8192];
    ssize_t length;
    while ((length = syscall(SYS_getdents64, base, buffer, sizeof buffer)) > 0) {
        for (ssize_t at = 0; at < length;) {
            const struct entry *entry = (const struct entry *)(const void *)(buffer + at);
            at += entry->length;
            if (!is_own(entry->name) && mirror_entry(op, base, entry->name, failure) < 0)
                return -failure->error;
        }
    }
    if (length < 0) return csandbox_fail(failure, op->stage, errno, "read the root directory");
    return 0;
}

static int enter_component(int *dir, const char *name, const struct csandbox_op *op,
                           struct csandbox_failure *failure) {
    if (mkdirat(*dir, name, 0755) < 0 && errno != EEXIST) {
        if (errno == EROFS || errno == EACCES || errno == EPERM)
            return csandbox_fail(
                failure, op->stage, errno,
                "/%.120s is not in the root, which is read-only there: mount at a directory that "
                "exists or below a new top-level one",
                op->target);
        return csandbox_fail(failure, op->stage, errno, "mkdir %.80s of /%.120s", name, op->target);
    }
    const int next = openat(*dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (next < 0)
        return csandbox_fail(failure, op->stage, errno, "open %.80s of /%.120s", name, op->target);
    close(*dir);
    *dir = next;
    return 0;
}

int csandbox_op_mount_point(const struct csandbox_op *op, struct csandbox_failure *failure) {
    char path[PATH_MAX];
    struct stat status;
    if (fstat(op->fd, &status) < 0) return csandbox_fail(failure, op->stage, errno, "stat");
    (void)snprintf(path, sizeof path, "%s", op->target);
    CSANDBOX_AUTO_FD int dir = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) return csandbox_fail(failure, op->stage, errno, "open the root");
    char *rest = path;
    char *name = strsep(&rest, "/");
    for (; rest != NULL; name = strsep(&rest, "/"))
        if (enter_component(&dir, name, op, failure) < 0) return -failure->error;
    if (S_ISDIR(status.st_mode)) return enter_component(&dir, name, op, failure);
    const int made = csandbox_write_file(dir, name, "", 0444);
    if (made < 0 && made != -EEXIST)
        return csandbox_fail(failure, op->stage, -made, "create /%.200s", op->target);
    return 0;
}

int csandbox_op_pivot(const struct csandbox_op *op, struct csandbox_failure *failure) {
    struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
    if (mount_setattr(AT_FDCWD, ".", 0, &read_only, sizeof read_only) < 0)
        return csandbox_fail(failure, op->stage, errno, "make the root read-only");
    // pivot_root(2): the old root ends up on top of the new one and is then taken off with all that
    // hung on it.
    if (syscall(SYS_pivot_root, ".", ".") < 0)
        return csandbox_fail(failure, op->stage, errno, "pivot_root");
    if (umount2(".", MNT_DETACH) < 0)
        return csandbox_fail(failure, op->stage, errno, "detach the old root");
    if (chdir("/") < 0) return csandbox_fail(failure, op->stage, errno, "chdir");
    return 0;
}
