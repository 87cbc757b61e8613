// The template: a small mount namespace whose root is the read-only root of every session. A
// session's clone3 copies it, which is cheap because it has few mounts, and the kernel locks them
// all together for the session.
#include "launcher.h"
#include "weaken.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#define TREES_MAX 24

// A detached copy of host mounts and where it goes in the template.
struct piece {
    int fd;
    bool directory;
    char target[16];
};

struct pieces {
    struct piece list[TREES_MAX];
    unsigned count;
};

static void close_pieces(struct pieces *pieces) {
    for (unsigned i = 0; i < pieces->count; i++) csandbox_close_fd(&pieces->list[i].fd);
}

static int take_tree(struct pieces *pieces, const char *source, uint64_t attributes, bool directory,
                     struct csandbox_failure *failure) {
    if (pieces->count == TREES_MAX)
        return csandbox_fail(failure, "template", E2BIG, "too many trees");
    CSANDBOX_AUTO_FD int fd = open_tree(
        AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW);
    if (fd < 0) return csandbox_fail(failure, "template", errno, "open_tree %s", source);
    struct mount_attr set = {.attr_set = csandbox_weaken_attributes(source + 1, attributes)};
    if (set.attr_set != 0 &&
        mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &set, sizeof set) < 0)
        return csandbox_fail(failure, "template", errno, "mount_setattr %s", source);
    struct piece *piece = &pieces->list[pieces->count];
    piece->directory = directory;
    (void)snprintf(piece->target, sizeof piece->target, "%s", source + 1);
    piece->fd = csandbox_steal_fd(&fd);
    pieces->count++;
    return 0;
}

// A device that is not the one its name promises would be handed to every session.
static int take_devices(struct pieces *pieces, struct csandbox_failure *failure) {
    static const struct {
        const char *path;
        unsigned major, minor;
    } devices[] = {
        {"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
        {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
    };
    for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++) {
        const char *path = devices[i].path;
        if (take_tree(pieces, path, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
                      false, failure) < 0)
            return -failure->error;
        struct stat status;
        if (fstat(pieces->list[pieces->count - 1].fd, &status) < 0)
            return csandbox_fail(failure, "template", errno, "stat %s", path);
        if (!S_ISCHR(status.st_mode) ||
            status.st_rdev != makedev(devices[i].major, devices[i].minor))
            return csandbox_fail(failure, "template", ENODEV, "%s of the host is not device %u:%u",
                                 path, devices[i].major, devices[i].minor);
    }
    return 0;
}

struct links {
    char target[8][PATH_MAX];
};

static const char *const system_names[] = {"bin", "sbin", "lib", "lib32", "lib64", "libx32"};
#define SYSTEM_NAMES (sizeof system_names / sizeof system_names[0])

// /bin and its like are symbolic links on merged systems, directories on others.
static int take_system(struct pieces *pieces, struct links *links,
                       struct csandbox_failure *failure) {
    const uint64_t read_only = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    if (take_tree(pieces, "/usr", read_only, true, failure) < 0) return -failure->error;
    for (size_t i = 0; i < SYSTEM_NAMES; i++) {
        char path[16];
        struct stat status;
        (void)snprintf(path, sizeof path, "/%s", system_names[i]);
        if (lstat(path, &status) < 0) continue;
        if (S_ISDIR(status.st_mode)) {
            if (take_tree(pieces, path, read_only, true, failure) < 0) return -failure->error;
        } else if (S_ISLNK(status.st_mode)) {
            const ssize_t length = readlink(path, links->target[i], PATH_MAX - 1);
            if (length < 0) return csandbox_fail(failure, "template", errno, "readlink %s", path);
            links->target[i][length] = '\0';
        }
    }
    // A session may mount its own /proc only where its namespace already shows one that nothing
    // covers.
    const uint64_t inert = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    return take_tree(pieces, "/proc", inert, true, failure);
}

static int make_skeleton(int root, const struct links *links, const char *shell,
                         struct csandbox_failure *failure) {
    static const char *const directories[] = {
        "proc", "dev",       "dev/pts", "dev/shm",    "tmp",   "run",
        "var",  "workspace", "home",    "home/agent", "agent",
    };
    static const char *const symlinks[][2] = {
        {"/tmp", "var/tmp"},
        {"/run", "var/run"},
        {"pts/ptmx", "dev/ptmx"},
        {"/proc/self/fd", "dev/fd"},
        {"/proc/self/fd/0", "dev/stdin"},
        {"/proc/self/fd/1", "dev/stdout"},
        {"/proc/self/fd/2", "dev/stderr"},
    };
    for (size_t i = 0; i < sizeof directories / sizeof directories[0]; i++)
        if (mkdirat(root, directories[i], 0755) < 0)
            return csandbox_fail(failure, "template", errno, "mkdir /%s", directories[i]);
    for (size_t i = 0; i < sizeof symlinks / sizeof symlinks[0]; i++)
        if (symlinkat(symlinks[i][0], root, symlinks[i][1]) < 0)
            return csandbox_fail(failure, "template", errno, "link /%s", symlinks[i][1]);
    for (size_t i = 0; i < SYSTEM_NAMES; i++)
        if (links->target[i][0] != '\0' && symlinkat(links->target[i], root, system_names[i]) < 0)
            return csandbox_fail(failure, "template", errno, "link /%s", system_names[i]);
    return csandbox_template_etc(root, shell, failure);
}

static int attach_pieces(int root, const struct pieces *pieces, struct csandbox_failure *failure) {
    for (unsigned i = 0; i < pieces->count; i++) {
        const struct piece *piece = &pieces->list[i];
        if (piece->directory) {
            if (mkdirat(root, piece->target, 0755) < 0 && errno != EEXIST)
                return csandbox_fail(failure, "template", errno, "mkdir /%s", piece->target);
        } else if (csandbox_write_file(root, piece->target, "", 0444) < 0) {
            return csandbox_fail(failure, "template", errno, "create /%s", piece->target);
        }
        if (move_mount(piece->fd, "", root, piece->target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
            return csandbox_fail(failure, "template", errno, "move_mount /%s", piece->target);
    }
    return 0;
}

static int build_root(struct pieces *pieces, const struct links *links,
                      struct csandbox_failure *failure) {
    const char *shell =
        access("/bin/bash", X_OK) == 0 ? "/bin/bash" : "/bin/sh"; // before /usr is covered
    // Any directory will do to hang the new root on; this one is known to exist and has been cloned
    // already.
    if (mount("template", "/usr", "tmpfs", MS_NOSUID | MS_NODEV,
              "size=64m,nr_inodes=32768,mode=0755") < 0)
        return csandbox_fail(failure, "template", errno, "mount tmpfs");
    CSANDBOX_AUTO_FD int root = open("/usr", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) return csandbox_fail(failure, "template", errno, "open the new root");
    const mode_t before = umask(022);
    const int made =
        make_skeleton(root, links, shell, failure) < 0 || attach_pieces(root, pieces, failure) < 0;
    umask(before);
    if (made != 0) return -failure->error;
    struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
    if (mount_setattr(root, "", AT_EMPTY_PATH, &read_only, sizeof read_only) < 0)
        return csandbox_fail(failure, "template", errno, "make the root read-only");
    // pivot_root(2): with both arguments ".", the old root ends up on top of the new one and is
    // then taken off.
    if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
        return csandbox_fail(failure, "template", errno, "pivot_root");
    return 0;
}

static int build(int *template_fd, struct csandbox_failure *failure) {
    __attribute__((cleanup(close_pieces))) struct pieces pieces = {.count = 0};
    static struct links links;
    memset(&links, 0, sizeof links);
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return csandbox_fail(failure, "template", errno, "make mounts private");
    CSANDBOX_AUTO_FD int namespace_fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    if (namespace_fd < 0)
        return csandbox_fail(failure, "template", errno, "open /proc/self/ns/mnt");
    if (take_system(&pieces, &links, failure) < 0 || take_devices(&pieces, failure) < 0 ||
        build_root(&pieces, &links, failure) < 0)
        return -failure->error;
    *template_fd = csandbox_steal_fd(&namespace_fd);
    return 0;
}

int csandbox_template_build(int *own_fd, int *template_fd, struct csandbox_failure *failure) {
    CSANDBOX_AUTO_FD int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    if (own < 0) return csandbox_fail(failure, "template", errno, "open /proc/self/ns/mnt");
    if (unshare(CLONE_NEWNS) < 0) return csandbox_fail(failure, "template", errno, "unshare");
    const int built = build(template_fd, failure);
    if (setns(own, CLONE_NEWNS) < 0) return csandbox_fail(failure, "template", errno, "setns");
    if (built < 0) return built;
    *own_fd = csandbox_steal_fd(&own);
    return 0;
}
