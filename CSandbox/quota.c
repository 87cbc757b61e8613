// A wall for disk space: hard limits of a file system on what each host id may own there
// (quotactl_fd(2), since Linux 5.14). A session's agent has an id that nobody else has, and cannot
// give files away, so a limit on that id is one on the session. Root sets them, once for all ids
// (`set-quotas`); the launcher, which may not, asks what stands.
#include "quota.h"

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/dqblk_xfs.h>
#include <linux/quota.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define BYTES_MIN (UINT64_C(1) << 20)
#define BYTES_MAX (UINT64_C(1) << 50)
#define FILES_MIN 16u // workspace and home are two
#define FILES_MAX (UINT64_C(1) << 32)

static int quota_call(int fd, unsigned command, uint32_t id, void *address) {
    const unsigned all = QCMD(command, USRQUOTA);
    return syscall(SYS_quotactl_fd, fd, all, id, address) < 0 ? -errno : 0;
}

// 1 where limits of user ids hold, 0 where they are numbers only: ext4 counts without a mount
// option, and xfs can. -errno where there are none.
static int is_enforced(int fd) {
    struct fs_quota_statv state;
    memset(&state, 0, sizeof state);
    state.qs_version = FS_QSTATV_VERSION1;
    const int result = quota_call(fd, Q_XGETQSTATV, 0, &state);
    if (result < 0) return result;
    return (state.qs_flags & FS_QUOTA_UDQ_ENFD) != 0;
}

// `id` in the caller's user namespace. Whoever asks for his own needs no right.
static int read_limits(int fd, uint32_t id, struct csandbox_quota *quota) {
    struct if_dqblk block;
    memset(&block, 0, sizeof block);
    *quota = (struct csandbox_quota){0, 0};
    const int result = quota_call(fd, Q_GETQUOTA, id, &block);
    if (result == -ENOENT) return 0; // xfs: an id without files and without limits
    if (result < 0) return result;
    const uint64_t most = UINT64_MAX >> QIF_DQBLKSIZE_BITS;
    const uint64_t blocks = block.dqb_bhardlimit < most ? block.dqb_bhardlimit : most;
    quota->bytes = blocks << QIF_DQBLKSIZE_BITS;
    quota->files = block.dqb_ihardlimit;
    return 0;
}

static int write_limits(int fd, uint32_t id, const struct csandbox_quota *quota) {
    struct if_dqblk block;
    memset(&block, 0, sizeof block);
    block.dqb_bhardlimit = quota->bytes >> QIF_DQBLKSIZE_BITS;
    block.dqb_ihardlimit = quota->files;
    block.dqb_valid = QIF_LIMITS; // the soft ones too: there are none
    return quota_call(fd, Q_SETQUOTA, id, &block);
}

void csandbox_quota_own(int sessions_fd, const char *session, uint64_t block,
                        struct csandbox_quota *quota) {
    const uid_t agent = csandbox_block_id(block, CSANDBOX_SLOT_AGENT);
    char path[CSANDBOX_SESSION_LENGTH + sizeof "/workspace"];
    *quota = (struct csandbox_quota){0, 0};
    (void)snprintf(path, sizeof path, "%s/workspace", session);
    CSANDBOX_AUTO_FD int fd =
        openat(sessions_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    // The kernel compares the effective id with the one that is asked for.
    if (fd < 0 || setresuid(agent, agent, agent) < 0 || csandbox_make_undumpable() < 0) return;
    if (is_enforced(fd) != 1 || read_limits(fd, agent, quota) < 0)
        *quota = (struct csandbox_quota){0, 0};
}

// --- superserve-launcher set-quotas --------------------------------------------------------------

struct request {
    char state_path[PATH_MAX];
    bool has_bytes;
    struct csandbox_quota quota;
    struct csandbox_id_range range; // count 0: that of the state directory's owner
};

// A whole number, with KiB, MiB, GiB or TiB where it is a size.
static int parse_amount(const char *text, bool is_size, uint64_t *value) {
    static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB"};
    char *end;
    if (*text < '0' || *text > '9') return -EINVAL;
    errno = 0;
    const unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0) return -ERANGE;
    for (unsigned i = 0; i < (is_size ? sizeof units / sizeof units[0] : 1); i++) {
        if (strcmp(end, units[i]) != 0) continue;
        if (number > UINT64_MAX >> (10 * i)) return -ERANGE;
        *value = (uint64_t)number << (10 * i);
        return 0;
    }
    return -EINVAL;
}

static int take_option(struct request *request, int option, const char *value) {
    uint64_t number = 0;
    switch (option) {
    case 's':
        return snprintf(request->state_path, sizeof request->state_path, "%s", value) < PATH_MAX
                   ? 0
                   : -ENAMETOOLONG;
    case 'b':
        if (parse_amount(value, true, &number) < 0) return -EINVAL;
        if (number != 0 && (number < BYTES_MIN || number > BYTES_MAX)) return -ERANGE;
        request->quota.bytes = number >> QIF_DQBLKSIZE_BITS << QIF_DQBLKSIZE_BITS;
        request->has_bytes = true;
        return 0;
    case 'f':
        if (parse_amount(value, false, &number) < 0) return -EINVAL;
        if (number != 0 && (number < FILES_MIN || number > FILES_MAX)) return -ERANGE;
        request->quota.files = number;
        return 0;
    case 'U': return csandbox_identity_parse_range(value, &request->range);
    default: return -EINVAL;
    }
}

static int parse(struct request *request, int argc, char *const *argv,
                 struct csandbox_failure *failure) {
    static const struct option options[] = {
        {"state-dir", required_argument, NULL, 's'},
        {"bytes", required_argument, NULL, 'b'},
        {"files", required_argument, NULL, 'f'},
        {"sub-uid", required_argument, NULL, 'U'},
        {NULL, 0, NULL, 0},
    };
    int option, index = 0;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, &index)) != -1) {
        if (option == '?')
            return csandbox_fail(failure, "options", EINVAL, "unknown, or without its value: %s",
                                 argv[optind - 1]);
        const int result = take_option(request, option, optarg);
        if (result < 0)
            return csandbox_fail(failure, "options", -result,
                                 "--%s %.64s (bytes: 0, or 1MiB to 1024TiB; files: 0, or %u to "
                                 "%" PRIu64 "; ids: FIRST:COUNT)",
                                 options[index].name, optarg, FILES_MIN, FILES_MAX);
    }
    if (optind != argc)
        return csandbox_fail(failure, "options", EINVAL, "not an option: %s", argv[optind]);
    if (request->state_path[0] == '\0' || !request->has_bytes)
        return csandbox_fail(failure, "options", EINVAL, "--state-dir and --bytes are needed");
    if (request->quota.bytes == 0 && request->quota.files != 0)
        return csandbox_fail(failure, "options", EINVAL, "--files without --bytes");
    return 0;
}

// The directory whose file system the sessions' files are on. It is the service's, so that a link
// in it leads nowhere.
static int open_place(struct request *request, struct csandbox_failure *failure) {
    CSANDBOX_AUTO_FD int state = open(request->state_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat status;
    if (state < 0 || fstat(state, &status) < 0)
        return csandbox_fail(failure, "directories", errno, "open %.200s", request->state_path);
    if (request->range.count == 0) {
        if (status.st_uid == 0)
            return csandbox_fail(failure, "id range", EINVAL,
                                 "%.150s belongs to root: name the sessions' ids with --sub-uid",
                                 request->state_path);
        if (csandbox_identity_subordinate(status.st_uid, &request->range, failure) < 0)
            return -failure->error;
    }
    if (request->range.count < CSANDBOX_BLOCK_SIZE)
        return csandbox_fail(failure, "id range", ERANGE, "fewer than %u ids", CSANDBOX_BLOCK_SIZE);
    const int sessions =
        openat(state, "sessions", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (sessions >= 0) return sessions;
    if (errno == ENOENT) return csandbox_steal_fd(&state); // no supervisor has been here yet
    return csandbox_fail(failure, "directories", errno, "open %.200s/sessions",
                         request->state_path);
}

static int check_place(const struct request *request, int fd, struct csandbox_failure *failure) {
    const int enforced = is_enforced(fd);
    if (enforced == 1 || (enforced == 0 && request->quota.bytes == 0)) return 0;
    if (enforced == 0)
        return csandbox_fail(failure, "quota", ENOTSUP,
                             "the file system of %.60s counts what users own and does not limit "
                             "it: mount it with usrquota (ext4) or uquota (xfs)",
                             request->state_path);
    return csandbox_fail(failure, "quota", -enforced,
                         "no user quotas on the file system of %.60s. ext4: tune2fs -O quota "
                         "DEVICE while it is not mounted, then mount it with usrquota; xfs: mount "
                         "it with uquota",
                         request->state_path);
}

// What is so already is left alone: ids without limits get no entry.
static int set_all(const struct request *request, int fd, struct csandbox_failure *failure) {
    const struct csandbox_id_range range = request->range;
    for (uint32_t id = range.first; id - range.first < range.count; id++) {
        struct csandbox_quota now;
        int result = read_limits(fd, id, &now);
        if (result == 0 &&
            (now.bytes != request->quota.bytes || now.files != request->quota.files))
            result = write_limits(fd, id, &request->quota);
        if (result == 0) continue;
        return csandbox_fail(failure, "quota", -result, "id %u on the file system of %.100s%s", id,
                             request->state_path,
                             result == -EPERM ? ": only root may (CAP_SYS_ADMIN)"
                             : result == -EROFS
                                 ? ": this process may not write there (ReadWritePaths=)"
                                 : "");
    }
    return 0;
}

static void say(const struct request *request) {
    const struct csandbox_id_range range = request->range;
    printf("ids %u to %u on the file system of %s: ", range.first, range.first + range.count - 1,
           request->state_path);
    if (request->quota.bytes == 0)
        printf("no limit\n");
    else if (request->quota.files == 0)
        printf("%" PRIu64 " bytes each\n", request->quota.bytes);
    else
        printf("%" PRIu64 " bytes and %" PRIu64 " files each\n", request->quota.bytes,
               request->quota.files);
}

int csandbox_quota_main(int argc, char *const *argv) {
    static struct request request;
    struct csandbox_failure failure;
    CSANDBOX_AUTO_FD int fd = -1;
    if (parse(&request, argc, argv, &failure) == 0 && (fd = open_place(&request, &failure)) >= 0 &&
        check_place(&request, fd, &failure) == 0 && set_all(&request, fd, &failure) == 0) {
        say(&request);
        return 0;
    }
    fprintf(stderr, "superserve-launcher: %s: %s: %s\n", failure.stage, failure.detail,
            strerror(failure.error));
    return strcmp(failure.stage, "options") == 0 ? 2 : 1;
}
