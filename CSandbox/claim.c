// Which ids a keeper of root's has to itself. Two supervisors with the same ids would give sessions
// of both the same owner. So every keeper claims its range in a directory of root's, for as long as
// it lives: a file for each range, locked, with the state directory in it. Where no range is
// configured, it takes a slice of a large pool that nobody else has, and always the same one,
// because its sessions' files belong to those ids.
#include "launcher.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define DIRECTORY "/run/superserve-ids"
#define RECORD "ids" // in the state directory: the slice
#define RECORD_MAX 64
#define PATIENCE_SECONDS 10
#define ATTEMPTS_MAX 100
// From the service's default id to where systemd has ids for files of other machines.
#define POOL_FIRST (CSANDBOX_SERVICE_ID + 1)
#define SLICES ((2147352575u - POOL_FIRST) / CSANDBOX_SUBORDINATE_COUNT)

static void close_directory(DIR **directory) {
    if (*directory != NULL) closedir(*directory);
}

static int open_directory(struct csandbox_failure *failure) {
    if (mkdir(DIRECTORY, 0700) < 0 && errno != EEXIST)
        return csandbox_fail(failure, "id range", errno, "mkdir %s", DIRECTORY);
    CSANDBOX_AUTO_FD int fd = open(DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0)
        return csandbox_fail(failure, "id range", errno, "open %s", DIRECTORY);
    if (status.st_uid != 0 || (status.st_mode & 022) != 0)
        return csandbox_fail(failure, "id range", EPERM, "%s must belong to root alone", DIRECTORY);
    return csandbox_steal_fd(&fd);
}

static void ring(int number) { (void)number; }

// flock(2) with an end: whoever holds the lock does so for moments, unless somebody has stopped it.
static int lock_in_time(int fd) {
    const struct sigaction bell = {.sa_handler = ring}; // interrupts the call
    struct sigaction before;
    if (sigaction(SIGALRM, &bell, &before) < 0) return -errno;
    (void)alarm(PATIENCE_SECONDS);
    const int result = flock(fd, LOCK_EX) < 0 ? -errno : 0;
    (void)alarm(0);
    (void)sigaction(SIGALRM, &before, NULL);
    return result;
}

// The directory, locked: claims are looked at and made by one keeper at a time. The last one that
// ends removes it, so that what was waited for may not be there any more.
static int lock_directory(struct csandbox_failure *failure) {
    for (int attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        CSANDBOX_AUTO_FD int fd = open_directory(failure);
        struct stat status;
        if (fd < 0) return -failure->error;
        const int result = lock_in_time(fd);
        if (result < 0)
            return csandbox_fail(failure, "id range", -result, "%s stays locked", DIRECTORY);
        if (fstat(fd, &status) == 0 && status.st_nlink > 0) return csandbox_steal_fd(&fd);
    }
    return csandbox_fail(failure, "id range", EBUSY, "%s comes and goes", DIRECTORY);
}

static void claim_name(char *name, size_t capacity, char kind, struct csandbox_id_range range) {
    (void)snprintf(name, capacity, "%c%u:%u", kind, range.first, range.count);
}

static bool overlap(struct csandbox_id_range a, struct csandbox_id_range b) {
    return a.first < b.first + b.count && b.first < a.first + a.count;
}

// The state directory of a claim; whether its keeper lives.
static bool is_held(int fd, char owner[PATH_MAX]) {
    const ssize_t length = pread(fd, owner, PATH_MAX - 1, 0);
    owner[length > 0 ? length : 0] = '\0';
    return flock(fd, LOCK_EX | LOCK_NB) < 0;
}

static bool exists(const char *owner) {
    struct stat status;
    return owner[0] == '/' && (lstat(owner, &status) == 0 || errno != ENOENT);
}

// 0 when nobody else has ids of the range: no keeper, and no state directory whose keeper does not
// run now, but whose sessions may, or will again. Claims that are over are removed on the way.
static int check_claims(const struct csandbox_keeper *keeper, int directory, char kind,
                        struct csandbox_id_range range, struct csandbox_failure *failure) {
    const int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    __attribute__((cleanup(close_directory))) DIR *entries = copy >= 0 ? fdopendir(copy) : NULL;
    if (entries == NULL) {
        if (copy >= 0) close(copy);
        return csandbox_fail(failure, "id range", EIO, "read %s", DIRECTORY);
    }
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        struct csandbox_id_range other;
        if (entry->d_name[0] != kind ||
            csandbox_identity_parse_range(entry->d_name + 1, &other) < 0)
            continue;
        char owner[PATH_MAX];
        CSANDBOX_AUTO_FD int fd = openat(directory, entry->d_name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0) continue;
        const bool held = is_held(fd, owner);
        const bool own = strcmp(owner, keeper->state_path) == 0;
        const bool over = !held && !own && !exists(owner);
        if (!over && !overlap(range, other)) continue;
        if (held || (!own && !over))
            return csandbox_fail(failure, "id range", EBUSY,
                                 "%s %u-%u for %.60s overlap with %u-%u, which the supervisor of "
                                 "%.60s %s: choose others with subordinate_first",
                                 kind == 'u' ? "user ids" : "group ids", range.first,
                                 range.first + range.count - 1, keeper->state_path, other.first,
                                 other.first + other.count - 1, owner,
                                 held ? "uses" : "may still use");
        (void)unlinkat(directory, entry->d_name, 0);
    }
    return 0;
}

static int check_both(const struct csandbox_keeper *keeper, int directory,
                      struct csandbox_failure *failure) {
    if (check_claims(keeper, directory, 'u', keeper->identity.sub_uid, failure) < 0 ||
        check_claims(keeper, directory, 'g', keeper->identity.sub_gid, failure) < 0)
        return -failure->error;
    return 0;
}

static int claim(struct csandbox_keeper *keeper, int directory, char kind,
                 struct csandbox_id_range range, int *held_fd, struct csandbox_failure *failure) {
    char name[32];
    claim_name(name, sizeof name, kind, range);
    const size_t length = strlen(keeper->state_path);
    *held_fd = openat(directory, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (*held_fd < 0 || flock(*held_fd, LOCK_EX | LOCK_NB) < 0 || ftruncate(*held_fd, 0) < 0 ||
        pwrite(*held_fd, keeper->state_path, length, 0) != (ssize_t)length)
        return csandbox_fail(failure, "id range", errno, "claim %s/%s", DIRECTORY, name);
    return 0;
}

static struct csandbox_id_range slice_range(uint32_t slice) {
    return (struct csandbox_id_range){POOL_FIRST + slice * CSANDBOX_SUBORDINATE_COUNT,
                                      CSANDBOX_SUBORDINATE_COUNT};
}

// 1 with the slice that an earlier keeper of this state directory had, 0 when there was none.
static int read_record(const struct csandbox_keeper *keeper, uint32_t *slice,
                       struct csandbox_failure *failure) {
    char text[RECORD_MAX] = "";
    struct csandbox_id_range range;
    CSANDBOX_AUTO_FD int fd = openat(keeper->state_fd, RECORD,
                                     O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return 0;
    if (fd < 0 || read(fd, text, sizeof text - 1) < 0)
        return csandbox_fail(failure, "id range", errno, "read %.200s/%s", keeper->state_path,
                             RECORD);
    text[strcspn(text, "\n")] = '\0';
    if (csandbox_identity_parse_range(text, &range) == 0 && range.first >= POOL_FIRST) {
        *slice = (range.first - POOL_FIRST) / CSANDBOX_SUBORDINATE_COUNT;
        const struct csandbox_id_range known = slice_range(*slice);
        if (*slice < SLICES && known.first == range.first && known.count == range.count) return 1;
    }
    return csandbox_fail(failure, "id range", EINVAL, "%.180s/%s does not name a slice of the pool",
                         keeper->state_path, RECORD);
}

// In the service's name, to whom the directory belongs.
static int write_record(const struct csandbox_keeper *keeper, struct csandbox_failure *failure) {
    char text[RECORD_MAX];
    const int length = snprintf(text, sizeof text, "%u:%u\n", keeper->identity.sub_uid.first,
                                keeper->identity.sub_uid.count);
    const int changed = csandbox_keeper_become_service(keeper);
    if (changed < 0) return csandbox_fail(failure, "service ids", -changed, "become the service");
    (void)unlinkat(keeper->state_fd, RECORD ".new", 0);
    CSANDBOX_AUTO_FD int fd = openat(keeper->state_fd, RECORD ".new",
                                     O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    const bool written =
        fd >= 0 && write(fd, text, (size_t)length) == length && fsync(fd) == 0 &&
        renameat(keeper->state_fd, RECORD ".new", keeper->state_fd, RECORD) == 0;
    const int error = written ? 0 : errno;
    csandbox_keeper_become_self(keeper);
    if (written) return 0;
    return csandbox_fail(failure, "id range", error, "write %.200s/%s", keeper->state_path, RECORD);
}

// Whether there are trees from a time without slices: they belong to the first one.
static bool has_sessions(const struct csandbox_keeper *keeper) {
    const int fd = openat(keeper->state_fd, "sessions", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    __attribute__((cleanup(close_directory))) DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
    if (entries == NULL && fd >= 0) close(fd);
    for (struct dirent *entry; entries != NULL && (entry = readdir(entries)) != NULL;)
        if (entry->d_name[0] != '.') return true;
    return false;
}

// Where the search begins: by name, so that the order in which supervisors start after a reboot
// changes nothing.
static uint32_t usual_slice(const struct csandbox_keeper *keeper) {
    uint32_t hash = 2166136261u; // FNV-1a
    for (const char *c = keeper->state_path; *c != '\0'; c++)
        hash = (hash ^ (uint8_t)*c) * 16777619u;
    return hash % SLICES;
}

static int choose_slice(struct csandbox_keeper *keeper, int directory,
                        struct csandbox_failure *failure) {
    struct csandbox_identity *identity = &keeper->identity;
    uint32_t slice = 0;
    const int recorded = read_record(keeper, &slice, failure);
    if (recorded < 0) return recorded;
    if (recorded == 1 || has_sessions(keeper)) { // without a record: the first slice
        identity->sub_uid = identity->sub_gid = slice_range(slice);
        if (csandbox_identity_resolve(identity, failure) < 0 ||
            check_both(keeper, directory, failure) < 0)
            return -failure->error;
        return recorded == 1 ? 0 : write_record(keeper, failure);
    }
    const uint32_t first = usual_slice(keeper);
    int result = -ERANGE;
    for (uint32_t tried = 0; tried < SLICES && result < 0; tried++) {
        identity->sub_uid = identity->sub_gid = slice_range((first + tried) % SLICES);
        result = csandbox_identity_resolve(identity, failure);
        if (result == 0) result = check_both(keeper, directory, failure);
    }
    return result < 0 ? result : write_record(keeper, failure);
}

int csandbox_claim_ids(struct csandbox_keeper *keeper, struct csandbox_failure *failure) {
    if (!keeper->identity.privileged) return 0;
    CSANDBOX_AUTO_FD int directory = lock_directory(failure);
    if (directory < 0) return -failure->error;
    const int result = keeper->takes_slice ? choose_slice(keeper, directory, failure)
                                           : check_both(keeper, directory, failure);
    if (result < 0) return result;
    if (claim(keeper, directory, 'u', keeper->identity.sub_uid, &keeper->claim_fds[0], failure) <
            0 ||
        claim(keeper, directory, 'g', keeper->identity.sub_gid, &keeper->claim_fds[1], failure) < 0)
        return -failure->error;
    return 0;
}

// At an orderly end, when no process of a session is left.
void csandbox_claim_release(const struct csandbox_keeper *keeper) {
    struct csandbox_failure ignored;
    if (keeper->claim_fds[0] < 0) return;
    CSANDBOX_AUTO_FD int directory = lock_directory(&ignored);
    if (directory < 0) return;
    const struct csandbox_id_range none = {0, 0};
    char name[32];
    claim_name(name, sizeof name, 'u', keeper->identity.sub_uid);
    (void)unlinkat(directory, name, 0);
    claim_name(name, sizeof name, 'g', keeper->identity.sub_gid);
    (void)unlinkat(directory, name, 0);
    (void)check_claims(keeper, directory, 'u', none, &ignored); // those that are over
    (void)check_claims(keeper, directory, 'g', none, &ignored);
    (void)rmdir(DIRECTORY);
}
