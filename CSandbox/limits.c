// Limits of sessions: what a request asks for, the files of cgroup v2 that hold it, and what the
// kernel counts there.
#include "launcher.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[CSANDBOX_LIMITS] = {
    [CSANDBOX_LIMIT_MEMORY] = "memory",         [CSANDBOX_LIMIT_MEMORY_HIGH] = "memory_high",
    [CSANDBOX_LIMIT_SWAP] = "swap",             [CSANDBOX_LIMIT_PIDS] = "pids",
    [CSANDBOX_LIMIT_CPU] = "cpu",               [CSANDBOX_LIMIT_CPU_WEIGHT] = "cpu_weight",
    [CSANDBOX_LIMIT_IO_WEIGHT] = "io_weight",   [CSANDBOX_LIMIT_CPU_TIME] = "cpu_time",
};

static uint64_t bit(enum csandbox_limit limit) { return UINT64_C(1) << limit; }

static bool has_weight(uint64_t weight) {
    return weight == CSANDBOX_UNLIMITED || (weight >= 1 && weight <= 10000);
}

int csandbox_limits_read(struct csandbox_view payload, struct csandbox_limits *limits,
                         struct csandbox_failure *failure) {
    struct csandbox_view value;
    const int found = csandbox_find_field(payload, CSANDBOX_TAG_LIMITS, &value);
    if (found == 0) return 0;
    if (found < 0 || value.length != sizeof *limits)
        return csandbox_fail(failure, "limits", EPROTO, "LIMITS must have %zu bytes",
                             sizeof *limits);
    memcpy(limits, value.bytes, sizeof *limits);
    if (limits->version != CSANDBOX_LIMITS_VERSION)
        return csandbox_fail(failure, "limits", EPROTO, "LIMITS has version %u, not %u",
                             limits->version, CSANDBOX_LIMITS_VERSION);
    if ((limits->required >> CSANDBOX_LIMITS) != 0)
        return csandbox_fail(failure, "limits", EINVAL, "LIMITS requires an unknown limit");
    if (limits->memory == 0 || limits->memory_high == 0 || limits->pids == 0 ||
        limits->cpu_quota < 1000) // what the kernel accepts at least
        return csandbox_fail(failure, "limits", EINVAL, "a limit of nothing lets no agent run");
    if (!has_weight(limits->cpu_weight) || !has_weight(limits->io_weight))
        return csandbox_fail(failure, "limits", ERANGE, "a weight must be 1 to 10000");
    return 1;
}

void csandbox_limits_names(uint64_t set, char *text, size_t capacity) {
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < CSANDBOX_LIMITS; i++) {
        if ((set >> i & 1) == 0) continue;
        const int length =
            snprintf(text + used, capacity - used, "%s%s", used == 0 ? "" : ", ", names[i]);
        if (length < 0 || (size_t)length >= capacity - used) return;
        used += (size_t)length;
    }
}

uint64_t csandbox_limits_possible(int cgroup_fd) {
    char enabled[512];
    if (cgroup_fd < 0) return 0;
    uint64_t possible = bit(CSANDBOX_LIMIT_CPU_TIME);
    if (csandbox_group_read(cgroup_fd, "cgroup.subtree_control", enabled, sizeof enabled) < 0)
        return possible;
    if (csandbox_group_has_word(enabled, "memory"))
        possible |= bit(CSANDBOX_LIMIT_MEMORY) | bit(CSANDBOX_LIMIT_MEMORY_HIGH) |
                    bit(CSANDBOX_LIMIT_SWAP);
    if (csandbox_group_has_word(enabled, "pids")) possible |= bit(CSANDBOX_LIMIT_PIDS);
    if (csandbox_group_has_word(enabled, "cpu"))
        possible |= bit(CSANDBOX_LIMIT_CPU) | bit(CSANDBOX_LIMIT_CPU_WEIGHT);
    if (csandbox_group_has_word(enabled, "io")) possible |= bit(CSANDBOX_LIMIT_IO_WEIGHT);
    return possible;
}

// One file; the first that cannot be written is noted.
static bool put(int dir_fd, const char *name, const char *text, char note[CSANDBOX_GROUP_NOTE]) {
    const int result = csandbox_group_write(dir_fd, name, text);
    if (result < 0 && note[0] == '\0')
        (void)snprintf(note, CSANDBOX_GROUP_NOTE, "%s: %s", name,
                       result == -ENOENT ? "this kernel or group does not have it"
                                         : strerror(-result));
    return result == 0;
}

static bool put_amount(int dir_fd, const char *name, uint64_t value,
                       char note[CSANDBOX_GROUP_NOTE]) {
    char text[32] = "max";
    if (value != CSANDBOX_UNLIMITED) (void)snprintf(text, sizeof text, "%" PRIu64, value);
    char ignored[CSANDBOX_GROUP_NOTE] = "";
    const bool done = put(dir_fd, name, text, value == CSANDBOX_UNLIMITED ? ignored : note);
    return done && value != CSANDBOX_UNLIMITED;
}

static bool put_weight(int dir_fd, const char *name, uint64_t value,
                       char note[CSANDBOX_GROUP_NOTE]) {
    char text[32];
    if (value == CSANDBOX_UNLIMITED) return false;
    (void)snprintf(text, sizeof text, "%" PRIu64, value);
    return put(dir_fd, name, text, note);
}

uint64_t csandbox_limits_write(int session_fd, int agent_fd, const struct csandbox_limits *limits,
                               char note[CSANDBOX_GROUP_NOTE]) {
    uint64_t set = 0;
    char text[64];
    // Without a limit of memory nothing of one agent is worth ending all of it for.
    const bool whole = limits->memory == CSANDBOX_UNLIMITED ||
                       put(agent_fd, "memory.oom.group", "1", note);
    if (put_amount(agent_fd, "memory.max", limits->memory, note) && whole)
        set |= bit(CSANDBOX_LIMIT_MEMORY);
    if (put_amount(agent_fd, "memory.high", limits->memory_high, note))
        set |= bit(CSANDBOX_LIMIT_MEMORY_HIGH);
    if (put_amount(agent_fd, "memory.swap.max", limits->swap, note))
        set |= bit(CSANDBOX_LIMIT_SWAP);
    if (put_amount(agent_fd, "pids.max", limits->pids, note)) set |= bit(CSANDBOX_LIMIT_PIDS);
    if (limits->cpu_quota == CSANDBOX_UNLIMITED) {
        (void)csandbox_group_write(agent_fd, "cpu.max", "max");
    } else {
        (void)snprintf(text, sizeof text, "%" PRIu64 " %u", limits->cpu_quota,
                       CSANDBOX_CPU_PERIOD);
        if (put(agent_fd, "cpu.max", text, note)) set |= bit(CSANDBOX_LIMIT_CPU);
    }
    // Weights count among siblings, and the siblings are the sessions.
    if (put_weight(session_fd, "cpu.weight", limits->cpu_weight, note))
        set |= bit(CSANDBOX_LIMIT_CPU_WEIGHT);
    if (put_weight(session_fd, "io.weight", limits->io_weight, note))
        set |= bit(CSANDBOX_LIMIT_IO_WEIGHT);
    return set;
}

// The number after `key ` in a file of such lines; or the file's one number, without a key.
static bool read_number(int dir_fd, const char *name, const char *key, uint64_t *value) {
    char text[4096];
    if (csandbox_group_read(dir_fd, name, text, sizeof text) <= 0) return false;
    const char *at = text;
    if (key != NULL) {
        const size_t length = strlen(key);
        while (strncmp(at, key, length) != 0 || at[length] != ' ') {
            at = strchr(at, '\n');
            if (at == NULL) return false;
            at++;
        }
        at += length + 1;
    }
    if (*at < '0' || *at > '9') return false;
    *value = strtoull(at, NULL, 10);
    return true;
}

void csandbox_group_usage(int cgroup_fd, const char *session, struct csandbox_usage *usage) {
    *usage = (struct csandbox_usage){.version = CSANDBOX_LIMITS_VERSION};
    CSANDBOX_AUTO_FD int top =
        cgroup_fd < 0 ? -1
                      : openat(cgroup_fd, session, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    CSANDBOX_AUTO_FD int agent =
        top < 0 ? -1 : openat(top, "agent", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (agent < 0) return;
    const struct {
        const char *file;
        const char *key;
        uint64_t *value;
        uint32_t kind;
    } sources[] = {
        {"cpu.stat", "usage_usec", &usage->cpu_us, CSANDBOX_USAGE_CPU},
        {"memory.current", NULL, &usage->memory, CSANDBOX_USAGE_MEMORY},
        {"memory.peak", NULL, &usage->memory_peak, CSANDBOX_USAGE_MEMORY_PEAK},
        {"memory.events", "oom_kill", &usage->oom_kills, CSANDBOX_USAGE_OOM_KILLS},
        {"pids.current", NULL, &usage->pids, CSANDBOX_USAGE_PIDS},
        {"pids.events", "max", &usage->pids_refused, CSANDBOX_USAGE_PIDS_REFUSED},
        {"cgroup.events", "populated", &usage->populated, CSANDBOX_USAGE_POPULATED},
    };
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++)
        if (read_number(agent, sources[i].file, sources[i].key, sources[i].value))
            usage->known |= sources[i].kind;
}
