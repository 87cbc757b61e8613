// Landlock as a second wall: one domain for the whole session, which init takes before it starts
// anything. It repeats what mounts, ids and namespaces forbid, by other means (landlock(7)).
//
// One domain and not one for each agent: processes of two domains can neither signal nor trace nor
// see each other in /proc, and what an agent left running must stay within reach of the next one.
#include "init.h"
#include "measures.h"
#include "weaken.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>

// The interface as of version 7 (Linux 6.15); headers may be older than the kernel.
struct ruleset {
    uint64_t files;
    uint64_t network; // nothing is handled: the namespace has loopback only
    uint64_t scopes;
};
#define RIGHT(number) (UINT64_C(1) << (number))
#define TRUNCATE RIGHT(14)
#define IOCTL_DEVICE RIGHT(15)
#define SCOPE_ABSTRACT_SOCKET RIGHT(0)
#define SCOPE_SIGNAL RIGHT(1)
// What agents break of domains that they make themselves is not the host's audit log's business.
#define LOG_SUBDOMAINS_OFF 4u

#define VERSION_REFER 2 // without it nothing could be moved from one directory to another
#define VERSION_TRUNCATE 3
#define VERSION_IOCTL 5
#define VERSION_SCOPES 6
#define VERSION_LOG 7

#define READ                                                                                       \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE (LANDLOCK_ACCESS_FS_WRITE_FILE | TRUNCATE)
#define CHANGE                                                                                     \
    (WRITE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |                      \
     LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |    \
     LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER)
#define DEVICE_NODES (LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK) // nowhere

// Rights add up along a path. Requests to the kernel's random source are allowed nowhere; null,
// zero and full have none, but answer programs that ask whether they are terminals.
static const struct {
    const char *path;
    uint64_t rights;
} rules[] = {
    {"/", READ},
    {"/workspace", CHANGE},
    {"/home/agent", CHANGE},
    {"/tmp", CHANGE},
    {"/run/user/1000", CHANGE},
    {"/dev/shm", CHANGE},
    {"/proc", WRITE}, // /proc/self/comm and its like; the rest is mounted read-only
    {"/dev/null", WRITE | IOCTL_DEVICE},
    {"/dev/zero", WRITE | IOCTL_DEVICE},
    {"/dev/full", WRITE | IOCTL_DEVICE},
    {"/dev/random", WRITE},
    {"/dev/urandom", WRITE},
    {"/dev/tty", WRITE | IOCTL_DEVICE},
    {"/dev/pts", WRITE | IOCTL_DEVICE},
};

static bool has(uint64_t set, enum csandbox_measure measure) {
    return (set & csandbox_measure_bit(measure)) != 0;
}

static int add_rule(int ruleset, const char *path, uint64_t rights,
                    struct csandbox_failure *failure) {
    CSANDBOX_AUTO_FD int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) return csandbox_fail(failure, "landlock", errno, "open %s", path);
    const struct landlock_path_beneath_attr rule = {.allowed_access = rights, .parent_fd = fd};
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
        return csandbox_fail(failure, "landlock", errno, "rule for %s", path);
    return 0;
}

int csandbox_enter_landlock(uint64_t loosened, uint64_t *measures, uint64_t *version,
                            struct csandbox_failure *failure) {
    if (WEAKENED("landlock domain")) return 0;
    const long newest =
        syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    *version = newest > 0 ? (uint64_t)newest : 0;
    if (newest < VERSION_REFER) return 0; // not there, or switched off: the first wall stands
    struct ruleset attributes = {.files = READ | CHANGE | DEVICE_NODES};
    if (newest < VERSION_TRUNCATE) attributes.files &= ~TRUNCATE;
    if (newest >= VERSION_IOCTL) attributes.files |= IOCTL_DEVICE;
    if (newest >= VERSION_SCOPES) attributes.scopes = SCOPE_ABSTRACT_SOCKET | SCOPE_SIGNAL;
    if (has(loosened, CSANDBOX_MEASURE_LANDLOCK_FILES)) attributes.files &= IOCTL_DEVICE;
    if (has(loosened, CSANDBOX_MEASURE_LANDLOCK_DEVICES)) attributes.files &= ~IOCTL_DEVICE;
    if (has(loosened, CSANDBOX_MEASURE_LANDLOCK_SCOPES)) attributes.scopes = 0;
    if (attributes.files == 0 && attributes.scopes == 0) return 0;
    // The fields that a kernel does not know yet are left off, not set to zero (landlock(7)).
    const size_t size = newest >= VERSION_SCOPES ? sizeof attributes : sizeof attributes.files;
    CSANDBOX_AUTO_FD int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, size, 0);
    if (ruleset < 0) return csandbox_fail(failure, "landlock", errno, "create the rules");
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if ((rules[i].rights & attributes.files) != 0 &&
            add_rule(ruleset, rules[i].path, rules[i].rights & attributes.files, failure) < 0)
            return -failure->error;
    const unsigned flags = newest >= VERSION_LOG ? LOG_SUBDOMAINS_OFF : 0;
    if (syscall(SYS_landlock_restrict_self, ruleset, flags) != 0)
        return csandbox_fail(failure, "landlock", errno, "enter the domain");
    if ((attributes.files & ~IOCTL_DEVICE) != 0)
        *measures |= csandbox_measure_bit(CSANDBOX_MEASURE_LANDLOCK_FILES);
    if ((attributes.files & IOCTL_DEVICE) != 0)
        *measures |= csandbox_measure_bit(CSANDBOX_MEASURE_LANDLOCK_DEVICES);
    if (attributes.scopes != 0)
        *measures |= csandbox_measure_bit(CSANDBOX_MEASURE_LANDLOCK_SCOPES);
    return 0;
}
