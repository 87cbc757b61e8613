// Who the service is and which host ids its sessions use: user namespace maps, /etc/subuid,
// /etc/subgid.
//
// The outer namespace maps `0 <service> 1` and `1 <first subordinate> <count>`; a session's own
// namespace maps a block of four of those (user_namespaces(7), subuid(5)). Files are parsed here: a
// static program has no NSS.
#include "launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static void close_file(FILE **file) {
    if (*file != NULL) fclose(*file);
}
#define AUTO_FILE __attribute__((cleanup(close_file)))

static void free_text(char **text) { free(*text); }

int csandbox_identity_parse_range(const char *text, struct csandbox_id_range *range) {
    char *end;
    if (*text < '0' || *text > '9') return -EINVAL;
    errno = 0;
    const unsigned long first = strtoul(text, &end, 10);
    if (errno != 0 || *end != ':' || end[1] < '0' || end[1] > '9') return -EINVAL;
    const unsigned long count = strtoul(end + 1, &end, 10);
    // (uid_t)-1 means "no id" to the kernel.
    if (errno != 0 || *end != '\0' || first == 0 || count == 0 || first >= UINT32_MAX ||
        count > UINT32_MAX - first)
        return -EINVAL;
    *range = (struct csandbox_id_range){(uint32_t)first, (uint32_t)count};
    return 0;
}

// The login name of `uid` in /etc/passwd; `name` is empty when there is none.
static void login_name(uid_t uid, char *name, size_t capacity) {
    name[0] = '\0';
    AUTO_FILE FILE *file = fopen("/etc/passwd", "re");
    if (file == NULL) return;
    __attribute__((cleanup(free_text))) char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, file) > 0) {
        char *rest = line;
        const char *login = strsep(&rest, ":");
        if (rest == NULL || strsep(&rest, ":") == NULL || rest == NULL) continue;
        const char *number = strsep(&rest, ":");
        char *end;
        if (*number == '\0' || strtoul(number, &end, 10) != uid || *end != '\0') continue;
        (void)snprintf(name, capacity, "%s", login);
        return;
    }
}

// The longest line of `path` that belongs to the user, by name or by number. 1 found, 0 none.
static int subordinate_range(const char *path, const char *name, uid_t uid,
                             struct csandbox_id_range *range) {
    AUTO_FILE FILE *file = fopen(path, "re");
    if (file == NULL) return 0;
    __attribute__((cleanup(free_text))) char *line = NULL;
    size_t size = 0;
    char number[16];
    (void)snprintf(number, sizeof number, "%u", uid);
    range->count = 0;
    while (getline(&line, &size, file) > 0) {
        line[strcspn(line, "\r\n")] = '\0';
        char *rest = line;
        const char *owner = strsep(&rest, ":");
        if (rest == NULL) continue;
        if (strcmp(owner, number) != 0 && (*name == '\0' || strcmp(owner, name) != 0)) continue;
        struct csandbox_id_range found;
        if (csandbox_identity_parse_range(rest, &found) == 0 && found.count > range->count)
            *range = found;
    }
    return range->count > 0;
}

int csandbox_identity_subordinate(uid_t uid, struct csandbox_id_range *range,
                                  struct csandbox_failure *failure) {
    char name[64];
    login_name(uid, name, sizeof name);
    if (subordinate_range("/etc/subuid", name, uid, range) == 1) return 0;
    return csandbox_fail(failure, "subordinate ids", ENOENT,
                         "no line for user '%s' (%u) in /etc/subuid: name its ids with --sub-uid",
                         name, uid);
}

static int resolve_plain(struct csandbox_identity *identity, struct csandbox_failure *failure) {
    identity->uid = geteuid();
    identity->gid = getegid();
    char name[64];
    login_name(identity->uid, name, sizeof name);
    if (name[0] == '\0') { // a directory service may know the user; newuidmap checks the claim
        const char *user = getenv("USER");
        if (user != NULL) (void)snprintf(name, sizeof name, "%s", user);
    }
    const char *shown = name[0] != '\0' ? name : "(no name)";
    for (int group = 0; group <= 1; group++) {
        const char *path = group ? "/etc/subgid" : "/etc/subuid";
        struct csandbox_id_range *range = group ? &identity->sub_gid : &identity->sub_uid;
        if (subordinate_range(path, name, identity->uid, range) == 0)
            return csandbox_fail(failure, "subordinate ids", ENOENT,
                                 "no line for user '%s' (%u) in %s; add one with: usermod "
                                 "--add-subuids 100000-165535 --add-subgids 100000-165535 %s",
                                 shown, identity->uid, path, shown);
        if (range->count < CSANDBOX_BLOCK_SIZE)
            return csandbox_fail(failure, "subordinate ids", ERANGE,
                                 "the line for user '%s' in %s has %u ids; a session needs %u",
                                 shown, path, range->count, CSANDBOX_BLOCK_SIZE);
    }
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
        return csandbox_fail(
            failure, "subordinate ids", EPERM,
            "this process has no_new_privs, under which newuidmap cannot work; start it without");
    return 0;
}

// Whether the reader's user namespace has every id of the range. 1, 0, or -errno.
static int namespace_covers(const char *map, uint32_t first, uint32_t count, char *shown,
                            size_t capacity) {
    AUTO_FILE FILE *file = fopen(map, "re");
    if (file == NULL) return -errno;
    unsigned inside, outside, length;
    uint64_t next = first;
    const uint64_t end = (uint64_t)first + count;
    size_t used = 0;
    shown[0] = '\0';
    // Extents may come in any order; few of them, so look again until nothing moves.
    while (fscanf(file, "%u %u %u", &inside, &outside, &length) == 3) {
        if (used < capacity)
            used += (size_t)snprintf(shown + used, capacity - used, "%s%u-%u", used ? ", " : "",
                                     inside, inside + length - 1);
        if (next < inside || next >= (uint64_t)inside + length) continue;
        next = (uint64_t)inside + length;
        if (next >= end) return 1;
        rewind(file);
        used = 0;
    }
    return 0;
}

static int check_range(const char *map, const char *option, struct csandbox_id_range range,
                       struct csandbox_failure *failure) {
    char shown[96];
    const int covered = namespace_covers(map, range.first, range.count, shown, sizeof shown);
    if (covered == 1) return 0;
    if (covered < 0) return csandbox_fail(failure, "id range", -covered, "cannot read %s", map);
    return csandbox_fail(failure, "id range", ERANGE,
                         "ids %u-%u are not mapped here (%s has %s); choose others with %s",
                         range.first, range.first + range.count - 1, map, shown, option);
}

static bool contains(struct csandbox_id_range range, uint32_t id) {
    return id >= range.first && id - range.first < range.count;
}

int csandbox_identity_resolve(struct csandbox_identity *identity,
                              struct csandbox_failure *failure) {
    if (!identity->privileged && resolve_plain(identity, failure) < 0) return -failure->error;
    if (identity->uid == 0 || identity->gid == 0)
        return csandbox_fail(failure, "service ids", EINVAL,
                             "the service must not be user or group 0");
    if (identity->sub_uid.count < CSANDBOX_BLOCK_SIZE ||
        identity->sub_gid.count < CSANDBOX_BLOCK_SIZE)
        return csandbox_fail(failure, "id range", ERANGE, "a range has fewer than %u ids",
                             CSANDBOX_BLOCK_SIZE);
    if (contains(identity->sub_uid, identity->uid) || contains(identity->sub_gid, identity->gid))
        return csandbox_fail(failure, "id range", EINVAL,
                             "the service's own id %u:%u lies in the range for sessions",
                             identity->uid, identity->gid);
    const struct {
        const char *map, *option;
        struct csandbox_id_range range;
    } checks[] = {
        {"/proc/self/uid_map", "--service-uid", {identity->uid, 1}},
        {"/proc/self/gid_map", "--service-gid", {identity->gid, 1}},
        {"/proc/self/uid_map", "--sub-uid", identity->sub_uid},
        {"/proc/self/gid_map", "--sub-gid", identity->sub_gid},
    };
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++)
        if (check_range(checks[i].map, checks[i].option, checks[i].range, failure) < 0)
            return -failure->error;
    return 0;
}

// What the helper says, until it closes its end. False when the time is over first.
static bool read_said(int fd, char *said, size_t capacity) {
    const uint64_t due = csandbox_boottime_ns() + CSANDBOX_MAP_SECONDS * 1000000000ull;
    size_t length = 0;
    for (;;) {
        char rest[256];
        const bool room = length < capacity - 1;
        const uint64_t now = csandbox_boottime_ns();
        struct pollfd event = {.fd = fd, .events = POLLIN};
        if (now >= due) return false;
        const int ready = poll(&event, 1, (int)((due - now) / 1000000 + 1));
        if (ready < 0 && errno != EINTR) return false;
        if (ready <= 0) continue;
        const ssize_t got = read(fd, room ? said + length : rest,
                                 room ? capacity - 1 - length : sizeof rest);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        if (room) length += (size_t)got;
    }
    said[length] = '\0';
    said[strcspn(said, "\n")] = '\0';
    return true;
}

// Runs newuidmap or newgidmap; what it says on stderr becomes the detail.
static int run_helper(const char *name, pid_t pid, uint32_t own, struct csandbox_id_range range,
                      struct csandbox_failure *failure) {
    static const char *const places[] = {"/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin",
                                         "/run/wrappers/bin"};
    char path[64] = "";
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", places[i], name);
        if (access(path, X_OK) == 0) break;
        path[0] = '\0';
    }
    if (path[0] == '\0')
        return csandbox_fail(failure, name, ENOENT,
                             "%s is not installed; install the package 'uidmap'", name);
    char numbers[4][12];
    (void)snprintf(numbers[0], sizeof numbers[0], "%d", pid);
    (void)snprintf(numbers[1], sizeof numbers[1], "%u", own);
    (void)snprintf(numbers[2], sizeof numbers[2], "%u", range.first);
    (void)snprintf(numbers[3], sizeof numbers[3], "%u", range.count);
    char one[] = "1", zero[] = "0";
    char *const arguments[] = {path, numbers[0], zero,       numbers[1], one,
                               one,  numbers[2], numbers[3], NULL};
    char *const environment[] = {NULL};
    CSANDBOX_AUTO_FD int output = -1;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return csandbox_fail(failure, name, errno, "pipe");
    output = ends[0];
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        execve(path, arguments, environment);
        _exit(127);
    }
    close(ends[1]);
    if (child < 0) return csandbox_fail(failure, name, errno, "fork");
    char said[200];
    int status;
    // It has root's rights: where it cannot be killed, it is left to itself.
    if (!read_said(output, said, sizeof said)) {
        if (kill(child, SIGKILL) == 0) (void)waitpid(child, NULL, 0);
        return csandbox_fail(failure, name, ETIMEDOUT,
                             "%s has not ended within %d seconds (does a directory service hang?)",
                             path, CSANDBOX_MAP_SECONDS);
    }
    if (waitpid(child, &status, 0) < 0) return csandbox_fail(failure, name, errno, "waitpid");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
    return csandbox_fail(failure, name, EPERM, "%s (see newuidmap(1), subuid(5))",
                         said[0] ? said : path);
}

static int write_map(pid_t pid, const char *name, const char *text,
                     struct csandbox_failure *failure) {
    char path[48];
    (void)snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    CSANDBOX_AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return csandbox_fail(failure, name, errno, "open %s", path);
    // A map is taken whole by one write(2), or not at all.
    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        return csandbox_fail(failure, name, errno, "write %s", path);
    return 0;
}

int csandbox_identity_map(const struct csandbox_identity *identity, pid_t pid,
                          struct csandbox_failure *failure) {
    if (!identity->privileged) {
        if (run_helper("newuidmap", pid, identity->uid, identity->sub_uid, failure) < 0)
            return -failure->error;
        return run_helper("newgidmap", pid, identity->gid, identity->sub_gid, failure);
    }
    char text[80];
    (void)snprintf(text, sizeof text, "0 %u 1\n1 %u %u\n", identity->uid, identity->sub_uid.first,
                   identity->sub_uid.count);
    if (write_map(pid, "uid_map", text, failure) < 0) return -failure->error;
    (void)snprintf(text, sizeof text, "0 %u 1\n1 %u %u\n", identity->gid, identity->sub_gid.first,
                   identity->sub_gid.count);
    return write_map(pid, "gid_map", text, failure);
}

int csandbox_identity_blocks(uint64_t *blocks, struct csandbox_failure *failure) {
    static const char *const maps[] = {"/proc/self/uid_map", "/proc/self/gid_map"};
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < 2; i++) {
        AUTO_FILE FILE *file = fopen(maps[i], "re");
        if (file == NULL) return csandbox_fail(failure, "id range", errno, "open %s", maps[i]);
        unsigned inside, outside, length, pool = 0;
        while (fscanf(file, "%u %u %u", &inside, &outside, &length) == 3) {
            if (outside == 0)
                return csandbox_fail(failure, "id range", EPERM, "%s maps id 0 of the host",
                                     maps[i]);
            if (inside == 1) pool = length;
        }
        if (pool / CSANDBOX_BLOCK_SIZE < least) least = pool / CSANDBOX_BLOCK_SIZE;
    }
    if (least == 0)
        return csandbox_fail(failure, "id range", ERANGE, "no ids for sessions are mapped");
    *blocks = least;
    return 0;
}

int csandbox_identity_map_session(pid_t pid, uint64_t block, struct csandbox_failure *failure) {
    char text[128];
    (void)snprintf(text, sizeof text, "0 %u 1\n1 %u 1\n%u %u 1\n%u %u 1\n",
                   csandbox_block_id(block, CSANDBOX_SLOT_INIT),
                   csandbox_block_id(block, CSANDBOX_SLOT_HELPER), CSANDBOX_AGENT_ID,
                   csandbox_block_id(block, CSANDBOX_SLOT_AGENT), CSANDBOX_NOBODY_ID,
                   csandbox_block_id(block, CSANDBOX_SLOT_NOBODY));
    if (write_map(pid, "uid_map", text, failure) < 0) return -failure->error;
    return write_map(pid, "gid_map", text, failure);
}
