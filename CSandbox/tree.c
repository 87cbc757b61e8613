// Session trees on disk: made and deleted by helpers of the launcher, with held descriptors, one component at a time,
// following no link. Deleting flattens: a directory found in a directory is first moved up to the top of the tree,
// so neither depth nor path length matters and two descriptors are enough.
#include "launcher.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

// A process of the session that is still dying may add entries behind our back; this often we look again.
#define ROUNDS_MAX 1000

bool csandbox_session_valid(const char *text, size_t length) {
    if (length != CSANDBOX_SESSION_LENGTH) return false;
    for (size_t i = 0; i < length; i++)
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f'))) return false;
    return true;
}

// Makes `name` where it is absent and opens it; whatever else bears the name is refused.
static int make_directory(int parent, const char *name, uid_t owner, int *fd, struct csandbox_failure *failure) {
    if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
        return csandbox_fail(failure, "prepare", errno, "mkdir %s", name);
    *fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat status;
    if (*fd < 0 || fstat(*fd, &status) < 0) return csandbox_fail(failure, "prepare", errno, "open %s", name);
    if (status.st_uid == owner && status.st_gid == owner) return 0;
    // Id 0 is the service: an earlier attempt ended before this line. Any other owner means files of other ids.
    if (status.st_uid != 0)
        return csandbox_fail(failure, "prepare", EEXIST, "%s belongs to id %u of another block, not to %u", name,
                             status.st_uid, owner);
    if (fchown(*fd, owner, owner) < 0) return csandbox_fail(failure, "prepare", errno, "chown %s to %u", name, owner);
    return 0;
}

int csandbox_tree_prepare(int sessions_fd, const char *session, uint64_t block, struct csandbox_failure *failure) {
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
    int top;           // everything is moved here before it is emptied
    uint64_t next;     // of the names given to moved directories
    bool progress;     // this round removed or moved something
    struct csandbox_failure *failure;
};

static int lift(struct removal *removal, int dir, const char *name) {
    for (;;) {
        char lifted[32];
        (void)snprintf(lifted, sizeof lifted, ".%llx", (unsigned long long)removal->next++);
        if (renameat2(dir, name, removal->top, lifted, RENAME_NOREPLACE) == 0) return 0;
        if (errno != EEXIST) return -errno;
    }
}

static bool is_dots(const char *name) { return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0')); }

// Unlinks every file of a directory; directories in it are removed when empty, else lifted to the top.
static int strip(struct removal *removal, int dir_fd) {
    const int copy = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = copy >= 0 ? fdopendir(copy) : NULL;
    if (entries == NULL) {
        const int error = errno;
        if (copy >= 0) close(copy);
        return csandbox_fail(removal->failure, "destroy", error, "read a directory");
    }
    struct dirent *entry;
    int result = 0;
    while (result == 0 && (entry = readdir(entries)) != NULL) {
        if (is_dots(entry->d_name)) continue;
        int error = unlinkat(dir_fd, entry->d_name, 0) < 0 ? errno : 0;
        if (error == EISDIR) error = unlinkat(dir_fd, entry->d_name, AT_REMOVEDIR) < 0 ? errno : 0;
        if (error == ENOTEMPTY) error = -lift(removal, dir_fd, entry->d_name);
        if (error == 0) removal->progress = true;
        else if (error != ENOENT)
            result = csandbox_fail(removal->failure, "destroy", error, "remove %.200s", entry->d_name);
    }
    closedir(entries);
    return result;
}

// One pass over the top: empties and removes every directory in it, lifting what they hold.
static int sweep_top(struct removal *removal) {
    const int copy = openat(removal->top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = copy >= 0 ? fdopendir(copy) : NULL;
    if (entries == NULL) {
        if (copy >= 0) close(copy);
        return csandbox_fail(removal->failure, "destroy", errno, "read the session directory");
    }
    struct dirent *entry;
    int result = 0;
    while (result == 0 && (entry = readdir(entries)) != NULL) {
        const char *name = entry->d_name;
        if (is_dots(name)) continue;
        CSANDBOX_AUTO_FD int fd = openat(removal->top, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0) {
            if (unlinkat(removal->top, name, 0) == 0) removal->progress = true;
            else if (errno != ENOENT)
                result = csandbox_fail(removal->failure, "destroy", errno, "remove %.200s", name);
            continue;
        }
        result = strip(removal, fd);
        if (result == 0 && unlinkat(removal->top, name, AT_REMOVEDIR) == 0) removal->progress = true;
        else if (result == 0 && errno != ENOTEMPTY && errno != ENOENT)
            result = csandbox_fail(removal->failure, "destroy", errno, "rmdir %.200s", name);
    }
    closedir(entries);
    return result;
}

int csandbox_tree_destroy(int sessions_fd, const char *session, struct csandbox_failure *failure) {
    CSANDBOX_AUTO_FD int top = openat(sessions_fd, session, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (top < 0 && errno == ENOENT) return 0;
    if (top < 0) return csandbox_fail(failure, "destroy", errno, "open sessions/%s", session);
    struct removal removal = {.top = top, .failure = failure};
    for (int idle = 0; idle < ROUNDS_MAX; idle = removal.progress ? 0 : idle + 1) {
        removal.progress = false;
        if (sweep_top(&removal) < 0) return -failure->error;
        if (unlinkat(sessions_fd, session, AT_REMOVEDIR) == 0 || errno == ENOENT) return 0;
        if (errno != ENOTEMPTY && errno != EEXIST)
            return csandbox_fail(failure, "destroy", errno, "rmdir sessions/%s", session);
    }
    return csandbox_fail(failure, "destroy", ENOTEMPTY, "sessions/%s does not become empty", session);
}
