// The host directories that a SPAWN request names, opened as detached mounts in the launcher's
// namespace with the service's rights: open_tree(2) here, move_mount(2) in the session, so that no
// path to them exists there.
#include "launcher.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

int csandbox_open_plain(int dir_fd, const char *path, uint64_t flags) {
    struct open_how how = {
        .flags = flags | O_CLOEXEC,
        .resolve =
            RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | (path[0] == '/' ? 0u : RESOLVE_BENEATH),
    };
    for (;;) {
        const long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof how);
        // EAGAIN: something was renamed meanwhile, and the kernel could not tell whether the walk
        // stayed inside.
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) return (int)fd;
    }
}

void csandbox_trees_close(struct csandbox_trees *trees) {
    csandbox_close_fd(&trees->workspace_fd);
    csandbox_close_fd(&trees->home_fd);
    csandbox_close_fd(&trees->source_fd);
    csandbox_close_fd(&trees->root_fd);
    for (unsigned i = 0; i < trees->extra_count; i++) csandbox_close_fd(&trees->extra[i].tree_fd);
    free(trees->extra);
    *trees =
        (struct csandbox_trees){.workspace_fd = -1, .home_fd = -1, .source_fd = -1, .root_fd = -1};
}

// Absolute, without empty, "." and ".." components or a slash at the end.
static bool is_plain_path(const char *path) {
    if (path[0] != '/') return false;
    if (path[1] == '\0') return true;
    for (const char *at = path; *at != '\0';) {
        const size_t length = (size_t)(strchrnul(at + 1, '/') - (at + 1));
        if (length == 0 || (length == 1 && at[1] == '.') ||
            (length == 2 && at[1] == '.' && at[2] == '.'))
            return false;
        at += 1 + length;
    }
    return true;
}

// Whether `path` is `top` or lies below it.
static bool is_within(const char *path, const char *top) {
    const size_t length = strlen(top);
    if (strcmp(top, "/") == 0) return true;
    return strncmp(path, top, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static bool is_same(int fd, int other) {
    struct stat a, b;
    return fstat(fd, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

// A session never sees another session's tree, the supervisor's data base or its sockets. By name,
// because what contains them cannot be walked up to by the service; and by identity, should they be
// mounted elsewhere too.
// Agents' own files and roots may be kept in the state directory, what is mounted besides may not.
static bool is_forbidden(const struct csandbox_places *places, const char *path, int fd,
                         bool extra) {
    if (extra && is_within(path, places->state_path)) return true;
    if (is_within(places->state_path, path) || is_within(places->runtime_path, path)) return true;
    if (is_within(path, places->runtime_path)) return true;
    char sessions[PATH_MAX + 16];
    (void)snprintf(sessions, sizeof sessions, "%s/sessions", places->state_path);
    if (is_within(path, sessions)) return true;
    struct stat status;
    if (fstat(fd, &status) < 0) return true;
    if (!S_ISDIR(status.st_mode)) return false;
    CSANDBOX_AUTO_FD int at = openat(fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (int depth = 0; at >= 0 && depth < 256; depth++) {
        if (is_same(at, places->sessions_fd)) return true;
        const int up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (up < 0) return false; // the rest has been compared by name
        const bool top = is_same(up, at);
        close(at);
        at = up;
        if (top) return false;
    }
    return false;
}

// A detached, recursive, read-only copy of the mounts at `path`; only `extra` ones may be files.
static int open_source(const struct csandbox_places *places, const char *stage, const char *path,
                       bool extra, int *tree, struct csandbox_failure *failure) {
    if (!is_plain_path(path))
        return csandbox_fail(failure, stage, EINVAL, "not an absolute path without '..': %.200s",
                             path);
    CSANDBOX_AUTO_FD int fd =
        csandbox_open_plain(AT_FDCWD, path, O_PATH | (extra ? 0 : O_DIRECTORY));
    if (fd < 0) {
        const char *advice = errno == EACCES  ? " (the service must be able to read it)"
                             : errno == ELOOP ? " (a part of it is a symbolic link)"
                                              : "";
        return csandbox_fail(failure, stage, errno, "open %.160s%s", path, advice);
    }
    if (is_forbidden(places, path, fd, extra))
        return csandbox_fail(failure, stage, EPERM,
                             "%.160s is, holds or lies in the supervisor's own directories", path);
    struct stat status;
    if (fstat(fd, &status) < 0 || (!S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode)))
        return csandbox_fail(failure, stage, ENOTDIR, "neither a directory nor a file: %.200s",
                             path);
    *tree = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
    if (*tree < 0) return csandbox_fail(failure, stage, errno, "open_tree %.200s", path);
    struct mount_attr set = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
                             .propagation = MS_PRIVATE};
    if (mount_setattr(*tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &set, sizeof set) < 0)
        return csandbox_fail(failure, stage, errno, "mount_setattr %.200s", path);
    return 0;
}

static int field_path(struct csandbox_view value, const char *stage, char *path,
                      struct csandbox_failure *failure) {
    if (value.length == 0 || value.length >= PATH_MAX ||
        memchr(value.bytes, '\0', value.length) != NULL)
        return csandbox_fail(failure, stage, EINVAL, "a path of %zu bytes", value.length);
    memcpy(path, value.bytes, value.length);
    path[value.length] = '\0';
    return 0;
}

// Places that a session makes for itself, or that belong to the agent, who could redirect what is
// below.
static bool is_reserved_target(const char *target) {
    static const char *const reserved[] = {"/proc",      "/dev",        "/sys",
                                           "/workspace", "/home/agent", "/agent"};
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
        if (is_within(target, reserved[i])) return true;
    return is_within("/home/agent", target) || is_within("/tmp", target) ||
           is_within("/run", target) || strcmp(target, "/etc") == 0 || strcmp(target, "/usr") == 0;
}

static int open_extra(struct csandbox_trees *trees, const struct csandbox_places *places,
                      struct csandbox_view value, struct csandbox_failure *failure) {
    if (trees->extra_count == CSANDBOX_MOUNTS_MAX)
        return csandbox_fail(failure, "mount", E2BIG, "more than %d mounts", CSANDBOX_MOUNTS_MAX);
    if (trees->extra == NULL) trees->extra = calloc(CSANDBOX_MOUNTS_MAX, sizeof *trees->extra);
    if (trees->extra == NULL) return csandbox_fail(failure, "mount", ENOMEM, "memory for mounts");
    struct csandbox_extra_mount *extra = &trees->extra[trees->extra_count];
    extra->tree_fd = -1;
    const uint8_t *end = value.length > 0 ? memchr(value.bytes, '\0', value.length) : NULL;
    if (end == NULL) return csandbox_fail(failure, "mount", EINVAL, "no NUL between the two paths");
    const size_t host_length = (size_t)(end - value.bytes);
    char host[PATH_MAX] = "", target[PATH_MAX] = "";
    const struct csandbox_view host_view = {value.bytes, host_length};
    const struct csandbox_view target_view = {end + 1, value.length - host_length - 1};
    if (field_path(host_view, "mount", host, failure) < 0 ||
        field_path(target_view, "mount", target, failure) < 0)
        return -failure->error;
    if (!is_plain_path(target) || target[1] == '\0')
        return csandbox_fail(failure, "mount", EINVAL, "not a path for a mount: %.200s", target);
    if (is_reserved_target(target))
        return csandbox_fail(
            failure, "mount", EINVAL,
            "nothing can be mounted at %.120s: choose a place of its own, such as /data", target);
    (void)snprintf(extra->target, sizeof extra->target, "%s", target + 1);
    trees->extra_count++; // from here on csandbox_trees_close owns it
    return open_source(places, "mount", host, true, &extra->tree_fd, failure);
}

// Workspace or home: the agent's own, writable.
static int open_own(int session_fd, const char *name, uint64_t block, int *tree,
                    struct csandbox_failure *failure) {
    const uint32_t owner = csandbox_block_id(block, CSANDBOX_SLOT_AGENT);
    struct stat status;
    CSANDBOX_AUTO_FD int fd = csandbox_open_plain(session_fd, name, O_PATH | O_DIRECTORY);
    if (fd < 0 || fstat(fd, &status) < 0)
        return csandbox_fail(failure, name, errno, "open the session's %s", name);
    if (status.st_uid != owner || status.st_gid != owner)
        return csandbox_fail(failure, name, EPERM,
                             "%s does not belong to block %llu: prepare the session first", name,
                             (unsigned long long)block);
    *tree = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    struct mount_attr set = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
                             .propagation = MS_PRIVATE};
    if (*tree < 0 || mount_setattr(*tree, "", AT_EMPTY_PATH, &set, sizeof set) < 0)
        return csandbox_fail(failure, name, errno, "clone the mount of %s", name);
    return 0;
}

int csandbox_trees_open(struct csandbox_trees *trees, const struct csandbox_places *places,
                        const char *session, uint64_t block, struct csandbox_view payload,
                        struct csandbox_failure *failure) {
    *trees =
        (struct csandbox_trees){.workspace_fd = -1, .home_fd = -1, .source_fd = -1, .root_fd = -1};
    CSANDBOX_AUTO_FD int session_fd =
        csandbox_open_plain(places->sessions_fd, session, O_PATH | O_DIRECTORY);
    if (session_fd < 0)
        return csandbox_fail(failure, "session", errno, "open sessions/%s", session);
    if (open_own(session_fd, "workspace", block, &trees->workspace_fd, failure) < 0 ||
        open_own(session_fd, "home", block, &trees->home_fd, failure) < 0)
        return -failure->error;
    size_t cursor = 0;
    uint16_t tag;
    struct csandbox_view value;
    char path[PATH_MAX];
    int more;
    while ((more = csandbox_next_field(payload, &cursor, &tag, &value)) == 1) {
        if (tag == CSANDBOX_TAG_MOUNT && open_extra(trees, places, value, failure) < 0)
            return -failure->error;
        if (tag != CSANDBOX_TAG_SOURCE && tag != CSANDBOX_TAG_ROOT) continue;
        const bool source = tag == CSANDBOX_TAG_SOURCE;
        int *tree = source ? &trees->source_fd : &trees->root_fd;
        const char *stage = source ? "agent directory" : "root";
        if (*tree >= 0) return csandbox_fail(failure, stage, EINVAL, "named twice");
        if (field_path(value, stage, path, failure) < 0 ||
            open_source(places, stage, path, false, tree, failure) < 0)
            return -failure->error;
    }
    return more == 0 ? 0 : csandbox_fail(failure, "request", EPROTO, "malformed fields");
}
