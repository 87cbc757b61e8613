// What the parts of the launcher program share; not visible to Swift.
#pragma once

#include "csandbox.h"

#include <errno.h>
#include <linux/filter.h>
#include <unistd.h>

// Descriptors and automatic cleanup.
static inline void csandbox_close_fd(int *_Nonnull fd) {
    if (*fd >= 0) {
        int saved = errno;
        close(*fd);
        errno = saved;
    }
}
#define CSANDBOX_AUTO_FD __attribute__((cleanup(csandbox_close_fd)))

static inline int csandbox_steal_fd(int *_Nonnull fd) {
    int value = *fd;
    *fd = -1;
    return value;
}

// Where something failed: `stage` points to a string literal, `error` is an errno, `detail` is for people.
struct csandbox_failure {
    const char *_Nonnull stage;
    int error;
    char detail[256];
};

// Fills `failure` (printf style detail) and returns -error, so that callers can `return csandbox_fail(...)`.
int csandbox_fail(struct csandbox_failure *_Nonnull failure, const char *_Nonnull stage, int error,
                  const char *_Nonnull format, ...) __attribute__((format(printf, 4, 5)));

// --- privileges.c ---------------------------------------------------------------------------------------------

// Neither traced nor dumped by whoever has the same ids. To be repeated after every change of ids, which may
// undo it (suid_dumpable in proc(5)). 0 or -errno.
int csandbox_make_undumpable(void);

// --- wire.c: frames made of fields; used by launcher and init -------------------------------------------------

// A frame under construction; `overflow` is set instead of writing past the end.
struct csandbox_writer {
    uint8_t bytes[CSANDBOX_FRAME_MAX];
    size_t length; // header included
    bool overflow;
};
void csandbox_frame_begin(struct csandbox_writer *_Nonnull w, uint16_t type, uint32_t request, uint64_t offset);
void csandbox_frame_bytes(struct csandbox_writer *_Nonnull w, const void *_Nonnull bytes, size_t length); // raw payload
void csandbox_frame_field(struct csandbox_writer *_Nonnull w, uint16_t tag, const void *_Nonnull bytes, size_t length);
void csandbox_frame_text(struct csandbox_writer *_Nonnull w, uint16_t tag, const char *_Nonnull text);
void csandbox_frame_u64(struct csandbox_writer *_Nonnull w, uint16_t tag, uint64_t value);
void csandbox_frame_failure(struct csandbox_writer *_Nonnull w, uint32_t request,
                            const struct csandbox_failure *_Nonnull f);
// Fixes the length in the header and sends. Bytes sent or -errno.
ssize_t csandbox_frame_send(struct csandbox_writer *_Nonnull w, int fd, int passed_fd);

// Walks fields. `cursor` starts at 0. 1: a field, 0: end, -EPROTO: malformed.
struct csandbox_view { const uint8_t *_Nullable bytes; size_t length; };
int csandbox_next_field(struct csandbox_view payload, size_t *_Nonnull cursor, uint16_t *_Nonnull tag,
                        struct csandbox_view *_Nonnull value);
// The first field with `tag`: 1 found, 0 absent, -EPROTO malformed (u64: also when not 8 bytes).
int csandbox_find_field(struct csandbox_view payload, uint16_t tag, struct csandbox_view *_Nonnull value);
int csandbox_find_u64(struct csandbox_view payload, uint16_t tag, uint64_t *_Nonnull value);
// Checks magic, version, lengths and field-free payload size. 0 or -EPROTO. `payload` points into `bytes`.
int csandbox_parse_frame(const void *_Nonnull bytes, size_t length, struct csandbox_header *_Nonnull header,
                         struct csandbox_view *_Nonnull payload);

// --- what a spawned sandbox hands to its init ----------------------------------------------------------------
//
// The child that clone3 made sets up everything that needs full capabilities of the session's user namespace
// (mounts, loopback, host name, rlimits, sysctls) as uid 0 of the session, then executes the launcher binary
// again as `superserve-launcher init` with exactly these descriptors open:
#define CSANDBOX_FD_LISTEN 3 // bound control socket (seqpacket, non-blocking); init calls listen()
#define CSANDBOX_FD_BOOT 4   // sealed memfd: struct csandbox_boot, then the two seccomp programs
#define CSANDBOX_FD_REPORT 5 // stream socket to the launcher: init writes one struct csandbox_report, then closes it
#define CSANDBOX_FD_GROUP 6  // cgroup.procs of the agent's control group; absent where sessions have none
// 0 and 1 are /dev/null; 2 is the keeper's log until init is ready, then /dev/null too. Environment: empty.
// Working directory: /.

#define CSANDBOX_NAMES_PORT 53 // where init takes name queries, on 127.0.0.1

// What init listens on (NETWORK and PORT of SPAWN).
struct csandbox_network_wish {
    uint32_t enabled; // 0: nothing, and no port
    uint32_t port_count;
    uint16_t ports[CSANDBOX_PORTS_MAX];
};

struct csandbox_boot {
    uint32_t magic;   // CSANDBOX_WIRE_MAGIC
    uint32_t version; // CSANDBOX_WIRE_VERSION
    uint8_t nonce[CSANDBOX_NONCE_SIZE];
    uint64_t linger;             // seconds without a supervisor; 0 = never
    uint64_t ring_size;          // bytes
    uint64_t loosened;           // measures that this session goes without, see measures.h
    struct csandbox_network_wish network;
    uint32_t init_filter_count;  // struct sock_filter entries that follow this struct, init's first
    uint32_t agent_filter_count; // then the agent's
};

// What protects a session: bits of measures.h, and the version of the kernel's Landlock.
struct csandbox_protection {
    uint64_t measures;
    uint64_t landlock;
};

// error == 0: ready (init: it listens). The spawned child uses the same report for its own failures.
struct csandbox_report {
    int32_t error; // errno
    char stage[64];
    char detail[256];
    struct csandbox_protection protection; // init, when it is ready
};
// NULL = ready. False: nobody is there to hear it.
bool csandbox_report_send(int fd, const struct csandbox_failure *_Nullable failure);
bool csandbox_report_ready(int fd, const struct csandbox_protection *_Nonnull protection);

// init.c: PID 1 of a session. First: non-dumpable, no_new_privs; reads the boot block; opens what it
// listens on for connections that leave the session; drops to exactly SYS_PTRACE, DAC_READ_SEARCH, KILL,
// SETUID, SETGID, SETPCAP (securebits locked, ambient empty); enters its Landlock domain and loads init's
// filter; listen(); report ready; loop. Returns the exit status. `measures`: what is in force already, in
// hexadecimal digits.
int csandbox_init_main(const char *_Nonnull measures);

// Modes of the program, by argv[1].
int csandbox_keeper_main(int argc, char *_Nonnull const *_Nonnull argv);
