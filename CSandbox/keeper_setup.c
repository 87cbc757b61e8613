// What the keeper does once before it serves: its command line, its directories, its lock and its
// socket.
#include "launcher.h"

#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static int parse_number(const char *text, uint32_t *value) {
    char *end;
    if (*text < '0' || *text > '9') return -EINVAL;
    errno = 0;
    const unsigned long number = strtoul(text, &end, 10);
    if (errno != 0 || *end != '\0' || number >= UINT32_MAX) return -EINVAL;
    *value = (uint32_t)number;
    return 0;
}

static int copy_path(char *to, const char *from) {
    if (from[0] != '/') return -EINVAL;
    return snprintf(to, PATH_MAX, "%s", from) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int take_option(struct csandbox_keeper *keeper, int option, const char *value) {
    struct csandbox_identity *identity = &keeper->identity;
    uint32_t number;
    switch (option) {
    case 's': return copy_path(keeper->state_path, value);
    case 'r': return copy_path(keeper->runtime_path, value);
    case 'f':
        if (parse_number(value, &number) < 0 || number > INT_MAX) return -EINVAL;
        keeper->ready_fd = (int)number;
        return 0;
    case 'u': return parse_number(value, &identity->uid);
    case 'g': return parse_number(value, &identity->gid);
    case 'U': return csandbox_identity_parse_range(value, &identity->sub_uid);
    case 'G': return csandbox_identity_parse_range(value, &identity->sub_gid);
    case 'm': keeper->moves_starter = true; return 0;
    default: return -EINVAL;
    }
}

int csandbox_keeper_parse(struct csandbox_keeper *keeper, int argc, char *const *argv,
                          struct csandbox_failure *failure) {
    static const struct option options[] = {
        {"state-dir", required_argument, NULL, 's'},
        {"runtime-dir", required_argument, NULL, 'r'},
        {"ready-fd", required_argument, NULL, 'f'},
        {"service-uid", required_argument, NULL, 'u'},
        {"service-gid", required_argument, NULL, 'g'},
        {"sub-uid", required_argument, NULL, 'U'},
        {"sub-gid", required_argument, NULL, 'G'},
        {"move-starter", no_argument, NULL, 'm'},
        {NULL, 0, NULL, 0},
    };
    const struct csandbox_id_range pool = {CSANDBOX_SERVICE_ID + 1, CSANDBOX_SUBORDINATE_COUNT};
    keeper->identity = (struct csandbox_identity){
        .privileged = geteuid() == 0,
        .uid = CSANDBOX_SERVICE_ID,
        .gid = CSANDBOX_SERVICE_ID,
        .sub_uid = pool,
        .sub_gid = pool,
    };
    bool ids_given = false;
    int option, index = 0;
    opterr = 0;
    failure->error = 0;
    // All are read, even after a mistake: the ready descriptor may come last, and takes the
    // message.
    while ((option = getopt_long(argc, argv, "", options, &index)) != -1) {
        const int result = option == '?' ? -EINVAL : take_option(keeper, option, optarg);
        ids_given = ids_given || (option != '?' && strchr("ugUG", option) != NULL);
        if (result == 0 || failure->error != 0) continue;
        if (option == '?')
            (void)csandbox_fail(failure, "options", EINVAL, "unknown, or without its value: %s",
                                argv[optind - 1]);
        else
            (void)csandbox_fail(failure, "options", -result, "--%s %s", options[index].name,
                                optarg);
    }
    if (failure->error != 0) return -failure->error;
    if (optind != argc)
        return csandbox_fail(failure, "options", EINVAL, "not an option: %s", argv[optind]);
    // A service manager is told on its own socket.
    const bool has_listener = keeper->ready_fd >= 3 || getenv("NOTIFY_SOCKET") != NULL;
    if (keeper->state_path[0] == '\0' || keeper->runtime_path[0] == '\0' || !has_listener)
        return csandbox_fail(failure, "options", EINVAL,
                             "--state-dir, --runtime-dir and --ready-fd are needed");
    if (ids_given && !keeper->identity.privileged)
        return csandbox_fail(
            failure, "options", EPERM,
            "--service-uid, --service-gid, --sub-uid and --sub-gid are for root only");
    // The usual range, also when it is spelled out, stands for "any slice of the pool".
    const struct csandbox_identity *identity = &keeper->identity;
    keeper->takes_slice =
        identity->privileged && memcmp(&identity->sub_uid, &pool, sizeof pool) == 0 &&
        memcmp(&identity->sub_gid, &pool, sizeof pool) == 0;
    return 0;
}

int csandbox_keeper_become_service(const struct csandbox_keeper *keeper) {
    const struct csandbox_identity *identity = &keeper->identity;
    if (!identity->privileged) return 0;
    if (setresgid(identity->gid, identity->gid, 0) < 0) return -errno;
    if (setresuid(identity->uid, identity->uid, 0) == 0) return csandbox_make_undumpable();
    const int error = errno;
    if (setresgid(0, 0, 0) < 0) abort();
    return -error;
}

void csandbox_keeper_become_self(const struct csandbox_keeper *keeper) {
    if (!keeper->identity.privileged) return;
    // The saved ids are still root's; a keeper that could not return to them must not go on.
    if (setresuid(0, 0, 0) < 0 || setresgid(0, 0, 0) < 0 || csandbox_make_undumpable() < 0) abort();
}

void csandbox_keeper_record_stop(const struct csandbox_keeper *keeper) {
    char text[32];
    const long ticks = sysconf(_SC_CLK_TCK);
    const uint64_t tick_ns = 1000000000u / (uint64_t)(ticks > 0 ? ticks : 100);
    const uint64_t now = csandbox_boottime_ns() / tick_ns;
    const int length = snprintf(text, sizeof text, "%" PRIu64 "\n", now);
    if (csandbox_keeper_become_service(keeper) < 0) return;
    CSANDBOX_AUTO_FD int fd = openat(keeper->runtime_fd, "stopped",
                                     O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, (size_t)length) != length)
        dprintf(2, "superserve-launcher: the stop is not recorded: %s\n", strerror(errno));
    csandbox_keeper_become_self(keeper);
}

// Only 0, 1, 2 and the ready descriptor, where there is one, stay open.
static int settle_descriptors(struct csandbox_keeper *keeper, struct csandbox_failure *failure) {
    CSANDBOX_AUTO_FD int null = open("/dev/null", O_RDWR); // may itself become one of 0, 1, 2
    if (null < 0) return csandbox_fail(failure, "descriptors", errno, "open /dev/null");
    if (dup2(null, 0) < 0 || dup2(null, 1) < 0 || (fcntl(2, F_GETFD) < 0 && dup2(null, 2) < 0))
        return csandbox_fail(failure, "descriptors", errno, "dup2");
    if (keeper->ready_fd < 0) {
        if (close_range(3, ~0u, 0) < 0)
            return csandbox_fail(failure, "descriptors", errno, "close_range");
        if (null > 2) (void)csandbox_steal_fd(&null); // closed just now, by number
        return 0;
    }
    const unsigned ready = (unsigned)keeper->ready_fd;
    if (ready == (unsigned)null)
        return csandbox_fail(failure, "descriptors", EBADF, "ready-fd is not open");
    if ((ready > 3 && close_range(3, ready - 1, 0) < 0) || close_range(ready + 1, ~0u, 0) < 0)
        return csandbox_fail(failure, "descriptors", errno, "close_range");
    (void)csandbox_steal_fd(&null); // closed just now, by number
    if (fcntl(keeper->ready_fd, F_SETFD, FD_CLOEXEC) < 0)
        return csandbox_fail(failure, "descriptors", errno, "ready-fd %d", keeper->ready_fd);
    return 0;
}

static int open_directory(char *path, int *fd, struct csandbox_failure *failure) {
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0) return csandbox_fail(failure, "directories", errno, "open %s", path);
    // The real path, for comparison with the paths that SPAWN requests name.
    char link[32];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", *fd);
    const ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0)
        return csandbox_fail(failure, "directories", errno, "read the real path of %s", path);
    path[length] = '\0';
    return 0;
}

// In the service's name, so that what is made belongs to it and nothing of root's can be reached by
// a planted link.
static int make_private_places(struct csandbox_keeper *keeper, struct csandbox_failure *failure) {
    if (mkdirat(keeper->state_fd, "sessions", 0700) < 0 && errno != EEXIST)
        return csandbox_fail(failure, "directories", errno, "mkdir %.180s/sessions",
                             keeper->state_path);
    if (mkdirat(keeper->runtime_fd, "s", 0700) < 0 && errno != EEXIST)
        return csandbox_fail(failure, "directories", errno, "mkdir %.180s/s", keeper->runtime_path);
    keeper->lock_fd = openat(keeper->runtime_fd, "launcher.lock",
                             O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (keeper->lock_fd < 0)
        return csandbox_fail(failure, "lock", errno, "open %.180s/launcher.lock",
                             keeper->runtime_path);
    if (flock(keeper->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return csandbox_fail(failure, "lock", errno, "another keeper already serves %.180s",
                             keeper->runtime_path);

    const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "launcher.sock"};
    keeper->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (keeper->listen_fd < 0) return csandbox_fail(failure, "socket", errno, "socket");
    // Relative to the directory: its path may be longer than a socket address.
    if (fchdir(keeper->runtime_fd) < 0)
        return csandbox_fail(failure, "socket", errno, "enter %.180s", keeper->runtime_path);
    if (unlink(address.sun_path) < 0 && errno != ENOENT)
        return csandbox_fail(failure, "socket", errno, "remove the stale %s", address.sun_path);
    const mode_t before = umask(0177);
    const int bound = bind(keeper->listen_fd, (const struct sockaddr *)&address, sizeof address);
    const int error = errno;
    umask(before);
    if (bound < 0)
        return csandbox_fail(failure, "socket", error, "bind %.180s/launcher.sock",
                             keeper->runtime_path);
    if (listen(keeper->listen_fd, 64) < 0) return csandbox_fail(failure, "socket", errno, "listen");
    return 0;
}

// Sockets of sessions are found by path: refuse now what no client could reach later.
static int check_path_length(const char *runtime_path, struct csandbox_failure *failure) {
    const size_t longest =
        strlen(runtime_path) + strlen("/s/") + CSANDBOX_SESSION_LENGTH + strlen(".sock");
    if (longest < sizeof((struct sockaddr_un *)0)->sun_path) return 0;
    return csandbox_fail(
        failure, "socket", ENAMETOOLONG,
        "the runtime directory's path is %zu bytes too long for Unix sockets: %.150s",
        longest + 1 - sizeof((struct sockaddr_un *)0)->sun_path, runtime_path);
}

int csandbox_keeper_setup(struct csandbox_keeper *keeper, struct csandbox_failure *failure) {
    umask(077);
    if (settle_descriptors(keeper, failure) < 0) return -failure->error;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return csandbox_fail(failure, "keeper", errno, "prctl");
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    if (keeper->identity.privileged && setgroups(0, NULL) < 0)
        return csandbox_fail(failure, "keeper", errno, "setgroups");
    if (csandbox_identity_resolve(&keeper->identity, failure) < 0) return -failure->error;
    keeper->program_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (keeper->program_fd < 0)
        return csandbox_fail(failure, "program", errno, "open /proc/self/exe");
    // As root: parents of both may be closed to the service.
    if (open_directory(keeper->state_path, &keeper->state_fd, failure) < 0 ||
        open_directory(keeper->runtime_path, &keeper->runtime_fd, failure) < 0)
        return -failure->error;
    if (check_path_length(keeper->runtime_path, failure) < 0) return -failure->error;

    const int changed = csandbox_keeper_become_service(keeper);
    if (changed < 0)
        return csandbox_fail(failure, "service ids", -changed, "become %u:%u", keeper->identity.uid,
                             keeper->identity.gid);
    const int made = make_private_places(keeper, failure);
    const int back = chdir("/") < 0 ? errno : 0;
    csandbox_keeper_become_self(keeper);
    if (made < 0) return made;
    if (back != 0) return csandbox_fail(failure, "keeper", back, "chdir /");
    if (csandbox_claim_ids(keeper, failure) < 0) return -failure->error;
    csandbox_cgroup_prepare(keeper);
    return 0;
}
