// The public face of CSandbox: the wire between supervisor, launcher and a session's init, and the few
// system calls that Swift cannot make by itself. Everything else in this target is private.
//
// Both wires are Unix SOCK_SEQPACKET sockets: one packet is one frame, a `csandbox_header` followed by
// `length` payload bytes, never more than CSANDBOX_FRAME_MAX in all. Integers are in host byte order: both
// ends are always on the same machine. Structured payloads are lists of fields (see `csandbox_field`).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h> // for Swift, whose Glibc module lacks it
#include <sys/types.h>

#define CSANDBOX_WIRE_MAGIC 0x56525353u   // "SSRV"
#define CSANDBOX_WIRE_VERSION 1
#define CSANDBOX_FRAME_MAX 65536u         // bytes, header included
#define CSANDBOX_CHUNK_MAX 61440u         // bytes of data in one OUTPUT/INPUT frame
#define CSANDBOX_RING_DEFAULT 1048576u    // bytes of unacknowledged log that init keeps
#define CSANDBOX_INPUT_WINDOW 262144u     // bytes of input that init holds for an agent that does not read
#define CSANDBOX_RECORD_MAX 61440u        // payload bytes of one log record
#define CSANDBOX_NONCE_SIZE 16u
#define CSANDBOX_PORTS_MAX 32u            // PORT fields of one SPAWN
#define CSANDBOX_PROXY_PORT 3128          // where init listens for proxy clients, on 127.0.0.1
#define CSANDBOX_DATAGRAM_MAX 4096u       // bytes of a name query, and of an answer
#define CSANDBOX_QUERIES_MAX 64u          // name queries that init lets wait for an answer
// Addresses that stand for names (RFC 2544's range, which no host on the internet has), as 32-bit
// numbers: all of them are the session's own. The last one is a broadcast address and the first one
// was on old kernels; connections to those do not arrive.
#define CSANDBOX_SYNTHETIC_NETWORK 0xC6120000u // 198.18.0.0
#define CSANDBOX_SYNTHETIC_MASK 0xFFFE0000u    // /15

struct csandbox_header {
    uint32_t magic;
    uint16_t version;
    uint16_t type;      // enum csandbox_frame_type
    uint32_t length;    // payload bytes after this header
    uint32_t request;   // chosen by the asking side, returned in the answer; 0 where there is none
    uint64_t offset;    // meaning by type, else 0
};

// A field: 16-bit tag, 16 bits zero, 32-bit length, then `length` bytes, not padded. Tags may repeat
// (ARG, ENV, MOUNT). Unknown tags are skipped. Numbers are 8-byte little-endian (u64/i64).
struct csandbox_field {
    uint16_t tag;       // enum csandbox_tag
    uint16_t zero;
    uint32_t length;
};

enum csandbox_frame_type {
    // supervisor -> launcher (each answered by OK or FAILED with the same request number)
    CSANDBOX_LAUNCHER_HELLO = 1,   // {} -> OK {BLOCKS, PID, START_TIME, STATE_DIR, ENFORCED, DETAIL?}: how
                                   //   many id blocks there are, and whose sessions these are: a supervisor
                                   //   with another state directory must not ask for anything else; ENFORCED:
                                   //   limits that this host can enforce; DETAIL: why not all of them
    CSANDBOX_LAUNCHER_PREPARE = 2, // {SESSION, BLOCK} -> OK {QUOTA_BYTES, QUOTA_FILES}: makes
                                   //   sessions/<SESSION>/{workspace,home}; fine if there. What the file system
                                   //   lets the agent own there; launchers before that was looked at do not say
    CSANDBOX_LAUNCHER_SPAWN = 3,   // {SESSION, BLOCK, NONCE, SOURCE?, ROOT?, MOUNT*, LINGER?,
                                   //    LOOSEN*, NETWORK?, PORT*, LIMITS?}
                                   //   -> OK {PID, START_TIME, MEASURES, LANDLOCK, ENFORCED, DETAIL?}
    CSANDBOX_LAUNCHER_KILL = 4,    // {PID, START_TIME}: SIGKILL to that init if it is still that; waits for its end
    CSANDBOX_LAUNCHER_DESTROY = 5, // {SESSION}: deletes the session's tree and control socket; fine if absent
    CSANDBOX_LAUNCHER_MEASURE = 6, // {SESSION} -> OK {BYTES, FILES}
    CSANDBOX_LAUNCHER_LIST = 7,    // {} -> OK {SESSION*}: every session tree on disk
    CSANDBOX_LAUNCHER_STOP = 8,    // {} -> OK: ends the keeper, the launcher and every sandbox; trees stay
    CSANDBOX_LAUNCHER_USAGE = 9,   // {SESSION} -> OK {USAGE}: what its agent has used; nothing is known of a
                                   //   session without a control group
    // launcher -> supervisor
    CSANDBOX_LAUNCHER_EXITED = 32, // unasked: {SESSION, PID, STATUS}: an init of this launcher ended (wait status)

    // both wires
    CSANDBOX_OK = 64,
    CSANDBOX_FAILED = 65,          // {STAGE, ERRNO, DETAIL}

    // supervisor -> init
    CSANDBOX_INIT_HELLO = 128,     // {NONCE}; first frame. Init answers INIT_STATE, then replays the log from its start
    CSANDBOX_INIT_START = 129,     // {GENERATION, ARG+, ENV*, CWD?}: starts the agent; refused (FAILED) while one runs.
                                   //   Same GENERATION as the last one: nothing happens, OK
    CSANDBOX_INIT_INPUT = 130,     // offset = absolute input offset of the first byte; payload = bytes for stdin.
                                   //   What init has already is skipped; a gap is FAILED (request 0); more than
                                   //   CSANDBOX_INPUT_WINDOW beyond the last INPUT_ACCEPTED ends the connection
    CSANDBOX_INIT_INPUT_EOF = 131, // offset = absolute input offset at which stdin is closed
    CSANDBOX_INIT_ACK = 132,       // offset = absolute log offset up to which everything is committed
                                   //   (a replay leaves out what is acknowledged before it gets there)
    CSANDBOX_INIT_SIGNAL = 133,    // {GENERATION, SIGNAL, SCOPE}
    CSANDBOX_INIT_FILES_GET = 134, // {PATH}: answered OK with one descriptor (pipe): a tar stream of PATH, then EOF,
                                   //   then FILES_DONE. Relative paths start at /workspace
    CSANDBOX_INIT_FILES_PUT = 135, // {PATH}: answered OK with one descriptor (pipe) that takes a tar stream for PATH;
                                   //   when the helper is done, FILES_DONE with the same request number
    CSANDBOX_INIT_SHUTDOWN = 136,  // {}: kills everything and leaves
    CSANDBOX_INIT_ADMIT = 137,     // offset = how many connections init may have handed over since HELLO, in
                                   //   all; none before the first ADMIT. A lower number changes nothing
    CSANDBOX_INIT_ANSWER = 138,    // offset = that of the QUERY; payload = the datagram to send back, or
                                   //   nothing: then none is sent, and the query is forgotten

    // init -> supervisor
    CSANDBOX_INIT_STATE = 160,     // {NONCE, GENERATION, RUNNING, LOG_START, LOG_END, INPUT_ACCEPTED,
                                   //   MEASURES, LANDLOCK}
    CSANDBOX_INIT_LOG = 161,       // offset = absolute log offset of the payload; payload = whole log records
    CSANDBOX_INIT_INPUT_ACCEPTED = 162, // offset = absolute input offset up to which bytes are written, or
                                        //   discarded because there is no agent to read them
    CSANDBOX_INIT_CONNECTION = 164,// {} with one descriptor: a connected TCP socket that a process of the session
                                   //   opened to one of the ports init listens on (getsockname tells which, and
                                   //   which address was meant)
    CSANDBOX_INIT_QUERY = 165,     // offset = where an answer goes (opaque); payload = a datagram that a process of
                                   //   the session sent to 127.0.0.1:53
    CSANDBOX_INIT_FILES_DONE = 163,// {STATUS, ERRNO?, DETAIL?}: a FILES_GET/PUT helper ended; STATUS 0 = all done
};

enum csandbox_tag {
    CSANDBOX_TAG_SESSION = 1,      // 32 lower-case hex digits
    CSANDBOX_TAG_BLOCK = 2,        // u64, index of the id block, 0 ..< BLOCKS
    CSANDBOX_TAG_NONCE = 3,        // CSANDBOX_NONCE_SIZE bytes
    CSANDBOX_TAG_SOURCE = 4,       // host path that becomes read-only /agent
    CSANDBOX_TAG_ROOT = 5,         // host path of a root file-system directory, used read-only
    CSANDBOX_TAG_MOUNT = 6,        // host path, NUL, path in the session: extra read-only mount
    CSANDBOX_TAG_PID = 7,          // u64
    CSANDBOX_TAG_START_TIME = 8,   // u64, field 22 of /proc/<pid>/stat (clock ticks since boot)
    CSANDBOX_TAG_STATUS = 9,       // i64
    CSANDBOX_TAG_STAGE = 10,       // text: name of the stage that failed
    CSANDBOX_TAG_ERRNO = 11,       // u64
    CSANDBOX_TAG_DETAIL = 12,      // text: which path, which call, what to do
    CSANDBOX_TAG_BLOCKS = 13,      // u64
    CSANDBOX_TAG_BYTES = 14,       // u64
    CSANDBOX_TAG_FILES = 15,       // u64
    CSANDBOX_TAG_GENERATION = 16,  // u64, numbers the agent processes of a session from 1
    CSANDBOX_TAG_ARG = 17,         // one argument, no NUL
    CSANDBOX_TAG_ENV = 18,         // NAME=value, no NUL
    CSANDBOX_TAG_CWD = 19,         // path in the session
    CSANDBOX_TAG_RUNNING = 20,     // u64, 1 until the log has the end (or the failed start) of GENERATION
    CSANDBOX_TAG_LOG_START = 21,   // u64, first log offset that init still holds
    CSANDBOX_TAG_LOG_END = 22,     // u64
    CSANDBOX_TAG_INPUT_ACCEPTED = 23, // u64
    CSANDBOX_TAG_SIGNAL = 24,      // u64
    CSANDBOX_TAG_SCOPE = 25,       // u64, enum csandbox_signal_scope
    CSANDBOX_TAG_PATH = 26,        // path in the session
    CSANDBOX_TAG_LINGER = 27,      // u64 seconds without a supervisor after which init leaves; 0 = never
    CSANDBOX_TAG_FRAGMENT = 28,    // u64, 1 in an OK to LIST when another OK with the same request follows
    CSANDBOX_TAG_STATE_DIR = 29,   // real (absolute, no link in it) host path of the launcher's state directory
    CSANDBOX_TAG_MEASURES = 30,    // u64, what is in force: bit i is csandbox_measure_name(i)
    CSANDBOX_TAG_LOOSEN = 32,      // name of a measure that the session goes without; may be repeated
    CSANDBOX_TAG_NETWORK = 33,     // u64, 1: init listens for connections that leave the session: proxy clients on
                                   //   127.0.0.1:CSANDBOX_PROXY_PORT, names on 127.0.0.1:53 (UDP and TCP), and
                                   //   every PORT on all addresses; the synthetic addresses lead there too
    CSANDBOX_TAG_PORT = 34,        // u64, 1 ... 65535, at most CSANDBOX_PORTS_MAX
    CSANDBOX_TAG_LANDLOCK = 31,    // u64, version of the kernel's Landlock interface; 0 = none
    CSANDBOX_TAG_LIMITS = 40,      // struct csandbox_limits
    CSANDBOX_TAG_ENFORCED = 41,    // u64, bits of enum csandbox_limit
    CSANDBOX_TAG_USAGE = 42,       // struct csandbox_usage
    CSANDBOX_TAG_QUOTA_BYTES = 43, // u64, hard limit that is enforced; 0 = none
    CSANDBOX_TAG_QUOTA_FILES = 44, // u64, the same
};

enum csandbox_signal_scope {
    CSANDBOX_SCOPE_AGENT = 0,      // the agent process
    CSANDBOX_SCOPE_GROUP = 1,      // its process group
    CSANDBOX_SCOPE_ALL = 2,        // every process of the session but init and file helpers
};

// Limits of a session that its control group enforces. A set of them is a number with these bits.
enum csandbox_limit {
    CSANDBOX_LIMIT_MEMORY = 0,
    CSANDBOX_LIMIT_MEMORY_HIGH = 1,
    CSANDBOX_LIMIT_SWAP = 2,
    CSANDBOX_LIMIT_PIDS = 3,
    CSANDBOX_LIMIT_CPU = 4,
    CSANDBOX_LIMIT_CPU_WEIGHT = 5,
    CSANDBOX_LIMIT_IO_WEIGHT = 6,
    CSANDBOX_LIMIT_CPU_TIME = 7,   // enforced by the supervisor, where it can be told how much was used
};
#define CSANDBOX_LIMITS 8u
#define CSANDBOX_LIMITS_VERSION 1u
#define CSANDBOX_UNLIMITED UINT64_MAX
#define CSANDBOX_CPU_PERIOD 100000u // microseconds

// What the processes of a session's agent may use together. Init, and helpers that copy files, are not
// among them. CSANDBOX_UNLIMITED: no such limit; for the weights: the kernel's own, 100.
struct csandbox_limits {
    uint32_t version;              // CSANDBOX_LIMITS_VERSION
    uint32_t required;             // without these the session is not started
    uint64_t memory;               // bytes; beyond it the kernel ends every process of the agent
    uint64_t memory_high;          // bytes; beyond it they are held up and their memory is taken back
    uint64_t swap;                 // bytes
    uint64_t pids;                 // processes and threads
    uint64_t cpu_quota;            // microseconds of processor time in each CSANDBOX_CPU_PERIOD
    uint64_t cpu_weight;           // 1 ... 10000, against other sessions
    uint64_t io_weight;            // 1 ... 10000, against other sessions
};

// What they have used. A number whose bit in `known` is not set means nothing.
enum csandbox_usage_kind {
    CSANDBOX_USAGE_CPU = 1,
    CSANDBOX_USAGE_MEMORY = 2,
    CSANDBOX_USAGE_MEMORY_PEAK = 4,
    CSANDBOX_USAGE_OOM_KILLS = 8,
    CSANDBOX_USAGE_PIDS = 16,
    CSANDBOX_USAGE_PIDS_REFUSED = 32,
    CSANDBOX_USAGE_POPULATED = 64,
};
struct csandbox_usage {
    uint32_t version;              // CSANDBOX_LIMITS_VERSION
    uint32_t known;                // bits of enum csandbox_usage_kind
    uint64_t cpu_us;               // since the sandbox was started
    uint64_t memory;               // bytes, now
    uint64_t memory_peak;          // bytes
    uint64_t oom_kills;            // processes ended for want of memory
    uint64_t pids;                 // now
    uint64_t pids_refused;         // forks that failed because of the limit
    uint64_t populated;            // 1: a process of the agent's lives
};

// The log of a session: everything that the supervisor must see exactly once, in order. Records are never
// split across frames. Offsets count record headers too and go on over agents and reconnections.
struct csandbox_record {
    uint32_t length;    // payload bytes
    uint16_t type;      // enum csandbox_record_type
    uint16_t zero;
    uint64_t generation;
};

enum csandbox_record_type {
    CSANDBOX_RECORD_STARTED = 1,   // {PID} of the agent in the session's pid namespace; exec has succeeded
    CSANDBOX_RECORD_START_FAILED = 2, // {STAGE, ERRNO, DETAIL}
    CSANDBOX_RECORD_STDOUT = 3,    // bytes as the agent wrote them
    CSANDBOX_RECORD_STDERR = 4,
    CSANDBOX_RECORD_EXITED = 5,    // struct csandbox_exit
    CSANDBOX_RECORD_STDOUT_EOF = 6,// every writer of the agent's stdout is gone
    CSANDBOX_RECORD_STDERR_EOF = 7,
};

struct csandbox_exit {
    int32_t status;         // exit status, or -1 when a signal ended it
    int32_t signal;         // 0, or the signal
    uint64_t user_us;       // processor time, microseconds
    uint64_t system_us;
    uint64_t max_rss_kib;
};

// Entry points of the superserve-launcher program: keeper, launcher and init are modes of one static binary.
int csandbox_launcher_main(int argc, char *_Nonnull const *_Nonnull argv);

// The short name of a measure that protects sessions (docs/security.md); NULL beyond the last one.
const char *_Nullable csandbox_measure_name(unsigned index);
// Whether no session starts without it; the others depend on what the kernel has.
bool csandbox_measure_is_required(unsigned index);
// Whether a session may go without it (LOOSEN): it is a second wall.
bool csandbox_measure_may_loosen(unsigned index);

// Starts `path` as a detached daemon (own session, no descriptor but 0, 1, 2 and `ready_fd`), with the given
// argv and environment. Returns the pid or -errno. Uses posix_spawn only. `ready_fd` keeps its number.
pid_t csandbox_start_daemon(const char *_Nonnull path, char *_Nullable const *_Nonnull argv,
                            char *_Nullable const *_Nonnull envp, int ready_fd, int log_fd);

// Drops every capability (bounding and ambient sets too), sets no_new_privs and makes the process
// non-dumpable; changes to uid/gid first when `uid` is not (uid_t)-1. 0 or -errno; -EBUSY when the process
// has more than one thread, because all this is a matter of single threads.
int csandbox_drop_privileges(uid_t uid, gid_t gid);

// Tells the service manager `lines` of VARIABLE=VALUE on the socket that $NOTIFY_SOCKET names (sd_notify(3)).
// 0 or -errno; -ENOENT without such a socket.
int csandbox_service_notify(const char *_Nonnull lines);

// Connects a SEQPACKET socket to `path`; close-on-exec, non-blocking. Descriptor or -errno.
int csandbox_connect(const char *_Nonnull path);

// Sends one packet, with a descriptor when `passed_fd` >= 0. Bytes sent or -errno (-EAGAIN: try later).
ssize_t csandbox_send(int fd, const void *_Nonnull bytes, size_t length, int passed_fd);

// Receives one packet into `bytes`; *passed_fd is -1 or a received descriptor (close-on-exec; any more than
// one are closed). Bytes, 0 at end of file, or -errno. A packet longer than `capacity` is -EMSGSIZE.
ssize_t csandbox_receive(int fd, void *_Nonnull bytes, size_t capacity, int *_Nonnull passed_fd);

// SO_PEERCRED of a connected Unix socket. 0 or -errno.
int csandbox_peer(int fd, pid_t *_Nonnull pid, uid_t *_Nonnull uid, gid_t *_Nonnull gid);

// Field 22 of /proc/<pid>/stat. 0 or -errno.
int csandbox_start_time(pid_t pid, uint64_t *_Nonnull ticks);

// CLOCK_BOOTTIME in nanoseconds.
uint64_t csandbox_boottime_ns(void);
