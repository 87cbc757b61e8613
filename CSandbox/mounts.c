// Executes a plan, in the child that clone3 made: as root of the session's user namespace, in its
// own copy of the template. The working directory is the root being made; targets are relative to
// it and resolved without following any link.
#include "launcher.h"

#include <fcntl.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

static int fail_op(const struct csandbox_op *op, struct csandbox_failure *failure,
                   const char *call) {
    const int error = errno;
    return csandbox_fail(failure, op->stage, error, "%s /%s", call,
                         op->target != NULL ? op->target : "");
}

// What an optional operation may do without: a target that is absent, is a link, or of another
// kind.
static bool may_skip(const struct csandbox_op *op) {
    return op->optional && (errno == ENOENT || errno == ELOOP || errno == ENOTDIR);
}

// 1 opened, 0 to be skipped, or a failure.
static int open_target(const struct csandbox_op *op, int *fd, struct csandbox_failure *failure) {
    *fd = csandbox_open_plain(AT_FDCWD, op->target, O_PATH);
    if (*fd >= 0) return 1;
    if (may_skip(op)) return 0;
    return fail_op(op, failure, "open");
}

static int attach(const struct csandbox_op *op, int tree_fd, int target_fd,
                  struct csandbox_failure *failure) {
    if (move_mount(tree_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) <
        0)
        return fail_op(op, failure, "move_mount");
    return 0;
}

static int do_mount(const struct csandbox_op *op, struct csandbox_failure *failure) {
    if (mount(op->source, op->target, op->source, op->flags, op->data) == 0) return 0;
    if (errno == EPERM && strcmp(op->source, "proc") == 0)
        return csandbox_fail(
            failure, op->stage, EPERM,
            "mount /proc: the /proc that the launcher sees is covered or read-only in parts (a "
            "container?); start it where /proc is whole");
    return fail_op(op, failure, "mount");
}

static int do_attach(const struct csandbox_op *op, struct csandbox_failure *failure) {
    CSANDBOX_AUTO_FD int target = -1;
    const int opened = open_target(op, &target, failure);
    return opened == 1 ? attach(op, op->fd, target, failure) : opened;
}

static int do_clone(const struct csandbox_op *op, struct csandbox_failure *failure) {
    CSANDBOX_AUTO_FD int target = -1;
    const int opened = open_target(op, &target, failure);
    if (opened != 1) return opened;
    CSANDBOX_AUTO_FD int tree =
        open_tree(AT_FDCWD, op->source,
                  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW);
    if (tree < 0) return fail_op(op, failure, "open_tree");
    struct stat from, to;
    if (fstat(tree, &from) < 0 || fstat(target, &to) < 0) return fail_op(op, failure, "stat");
    if (op->optional && S_ISDIR(from.st_mode) != S_ISDIR(to.st_mode)) return 0;
    return attach(op, tree, target, failure);
}

// With mount(2), by path: nobody else is in this namespace yet, and open_tree would make a mount
// namespace each time, which costs, and is not to be had any more once namespaces are used up.
static int do_cover(const struct csandbox_op *op, struct csandbox_failure *failure) {
    // Of the template: the device it has checked, or a directory that is empty. Both are read-only
    // there.
    if (mount("/dev/null", op->target, NULL, MS_BIND, NULL) == 0) return 0;
    if (errno == ENOTDIR && mount("/home/agent", op->target, NULL, MS_BIND, NULL) == 0) return 0;
    return may_skip(op) ? 0 : fail_op(op, failure, "cover");
}

static int do_read_only(const struct csandbox_op *op, struct csandbox_failure *failure) {
    if (mount(op->target, op->target, NULL, MS_BIND, NULL) < 0)
        return may_skip(op) ? 0 : fail_op(op, failure, "bind");
    if (mount(NULL, op->target, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | op->flags, NULL) < 0)
        return fail_op(op, failure, "make read-only");
    return 0;
}

static int do_directory(const struct csandbox_op *op, struct csandbox_failure *failure) {
    if (mkdir(op->target, op->mode) < 0) {
        if (errno == EEXIST) return 0;
        return fail_op(op, failure, "mkdir");
    }
    if (op->owner != 0 && lchown(op->target, op->owner, op->owner) < 0)
        return fail_op(op, failure, "chown");
    return 0;
}

static int do_write(const struct csandbox_op *op, struct csandbox_failure *failure) {
    CSANDBOX_AUTO_FD int fd = csandbox_open_plain(AT_FDCWD, op->target, O_WRONLY);
    if (fd < 0 && may_skip(op)) return 0;
    if (fd < 0) return fail_op(op, failure, "open");
    const size_t length = strlen(op->data);
    return write(fd, op->data, length) == (ssize_t)length ? 0 : fail_op(op, failure, "write");
}

int csandbox_op_loopback(const struct csandbox_op *op, struct csandbox_failure *failure) {
    CSANDBOX_AUTO_FD int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {.ifr_name = "lo"};
    if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0)
        return csandbox_fail(failure, op->stage, errno, "read the flags of lo");
    request.ifr_flags |= IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        return csandbox_fail(failure, op->stage, errno, "bring up lo");
    return 0;
}

int csandbox_op_limit(const struct csandbox_op *op, struct csandbox_failure *failure) {
    const __rlimit_resource_t resource = (__rlimit_resource_t)op->flags;
    struct rlimit limit;
    if (getrlimit(resource, &limit) < 0)
        return csandbox_fail(failure, op->stage, errno, "limit %u", resource);
    // Raising a hard limit needs a capability of the host.
    if (op->value < limit.rlim_max) limit.rlim_max = op->value;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(resource, &limit) < 0)
        return csandbox_fail(failure, op->stage, errno, "limit %u", resource);
    return 0;
}

static int execute(const struct csandbox_op *op, struct csandbox_failure *failure) {
    switch (op->kind) {
    case CSANDBOX_OP_MOUNT: return do_mount(op, failure);
    case CSANDBOX_OP_ATTACH: return do_attach(op, failure);
    case CSANDBOX_OP_CLONE: return do_clone(op, failure);
    case CSANDBOX_OP_COVER: return do_cover(op, failure);
    case CSANDBOX_OP_READ_ONLY: return do_read_only(op, failure);
    case CSANDBOX_OP_DIRECTORY: return do_directory(op, failure);
    case CSANDBOX_OP_WRITE: return do_write(op, failure);
    case CSANDBOX_OP_MOUNT_POINT: return csandbox_op_mount_point(op, failure);
    case CSANDBOX_OP_NEW_ROOT: return csandbox_op_new_root(op, failure);
    case CSANDBOX_OP_MIRROR: return csandbox_op_mirror(op, failure);
    case CSANDBOX_OP_PIVOT: return csandbox_op_pivot(op, failure);
    case CSANDBOX_OP_HOST_NAME:
        if (sethostname(op->data, strlen(op->data)) == 0) return 0;
        return csandbox_fail(failure, op->stage, errno, "sethostname");
    case CSANDBOX_OP_LOOPBACK: return csandbox_op_loopback(op, failure);
    case CSANDBOX_OP_LIMIT: return csandbox_op_limit(op, failure);
    }
    return csandbox_fail(failure, op->stage, ENOSYS, "unknown operation");
}

int csandbox_plan_execute(const struct csandbox_plan *plan, uint64_t *measures,
                          struct csandbox_failure *failure) {
    for (unsigned i = 0; i < plan->count; i++) {
        const struct csandbox_op *op = &plan->ops[i];
        if (execute(op, failure) == 0) continue;
        if (op->measures == 0) return -failure->error;
        *measures &= ~op->measures;
    }
    return 0;
}
