// What the parts of a session's init share. One process, one thread, one poll loop, bounded memory.
#pragma once

#include "internal.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/uio.h>

#define CSANDBOX_AGENT_ID 1000 // uid and gid of agents in every session
#define CSANDBOX_NOBODY_ID 65534
#define CSANDBOX_HELPER_ID 1   // of processes that work for an agent and are out of its reach

// Bounds of init, in one place.
#define CSANDBOX_PENDING_MAX 4      // connections that have not said hello yet
#define CSANDBOX_REPLIES_MAX 64     // answers that wait for a supervisor that does not read
#define CSANDBOX_REPLY_SIZE 512     // bytes of one such answer
// 17 pairs: the agent's own, and those that 16 gone agents left open
#define CSANDBOX_OUTPUTS_MAX 34
#define CSANDBOX_HELPERS_MAX 4      // file transfers at once
#define CSANDBOX_READ_MAX 32768     // bytes of output in one record
#define CSANDBOX_READ_MIN 4096      // room that is worth a read
#define CSANDBOX_FRAMES_PER_TURN 32 // packets taken before others get their turn
#define CSANDBOX_GUESTS_PER_TURN 8  // connections, and name queries, taken before others
// For the proxy, for names, and the policy's ports
#define CSANDBOX_LISTENERS_MAX (CSANDBOX_PORTS_MAX + 2)
#define CSANDBOX_CHECK_SECONDS 10   // how often the session directory is looked at
// Room of the ring that output may not take, and of that the part that end-of-file records may not
// take either: what has to be said of an agent's start and end always fits.
#define CSANDBOX_RING_RESERVE 4096
#define CSANDBOX_RING_START_ROOM 1024

// --- privileges.c --------------------------------------------------------------------------------

struct csandbox_program {
    const struct sock_filter *_Nullable instructions;
    uint32_t count;
};
// An empty session keyring instead of that of whoever started the supervisor (session-keyring(7)).
// 0, also where the kernel has no keys, or -errno.
int csandbox_join_new_keyring(void);
int csandbox_reduce_init(struct csandbox_failure *_Nonnull failure);
int csandbox_become_agent(struct csandbox_failure *_Nonnull failure);
// No rights at all, and files as the agent has them, but an id of its own: the agent can neither
// stop, nor end, nor slow it down.
int csandbox_become_helper(struct csandbox_failure *_Nonnull failure);
// For a child that signals every process of the agent, and only those. Its effective id is the
// agent's; the real and the saved one keep signals off, and the capabilities that it holds without
// use keep the agent from changing its priority. 0 or -errno.
int csandbox_become_sender(void);
int csandbox_load_filter(struct csandbox_program program,
                         struct csandbox_failure *_Nonnull failure);

// --- landlock.c ----------------------------------------------------------------------------------

// Adds to *measures what is in force from here on; *version is that of the kernel's interface, 0
// when it has none. What the kernel has must work, but for what is `loosened`: 0 or a failure.
int csandbox_enter_landlock(uint64_t loosened, uint64_t *_Nonnull measures, uint64_t *_Nonnull version,
                            struct csandbox_failure *_Nonnull failure);

// --- init_ring.c ---------------------------------------------------------------------------------

// Bytes with absolute offsets start ..< end, kept in pages that exist only once they are used.
struct csandbox_ring {
    uint8_t *_Nullable base;
    size_t size;
    uint64_t start;
    uint64_t end;
    bool touched; // pages may be in use
};
int csandbox_ring_open(struct csandbox_ring *_Nonnull ring, size_t size);
size_t csandbox_ring_room(const struct csandbox_ring *_Nonnull ring);
// The (at most two) places of `length` bytes from `offset` on. Number of parts.
int csandbox_ring_parts(const struct csandbox_ring *_Nonnull ring, uint64_t offset, size_t length,
                        struct iovec parts[_Nonnull 2]);
void csandbox_ring_put(struct csandbox_ring *_Nonnull ring, const void *_Nonnull bytes,
                       size_t length);
void csandbox_ring_copy(const struct csandbox_ring *_Nonnull ring, uint64_t offset,
                        void *_Nonnull bytes, size_t length);
// Gives the pages of an empty ring back.
void csandbox_ring_relax(struct csandbox_ring *_Nonnull ring);

// The log: whole records in a ring.
void csandbox_log_put(struct csandbox_ring *_Nonnull log, uint16_t type, uint64_t generation,
                      const void *_Nullable payload, size_t length);
// Bytes of whole records from `offset` on, at most `limit`.
size_t csandbox_log_whole(const struct csandbox_ring *_Nonnull log, uint64_t offset, size_t limit);
// Forgets whole records before `offset`.
void csandbox_log_acknowledge(struct csandbox_ring *_Nonnull log, uint64_t offset);

// --- the parts of init ---------------------------------------------------------------------------

enum csandbox_agent_state {
    CSANDBOX_AGENT_NONE,     // none yet, or its EXITED record is written
    CSANDBOX_AGENT_STARTING, // forked, exec not known to have succeeded
    CSANDBOX_AGENT_RUNNING,
    // reaped; output that it left in its pipes comes before the EXITED record
    CSANDBOX_AGENT_ENDED,
};

struct csandbox_agent {
    enum csandbox_agent_state state;
    uint64_t generation; // of the newest start
    pid_t pid;
    int report;     // read end: what the child says until exec
    bool executing; // it has said that exec comes next
    struct csandbox_exit exit;
};

struct csandbox_input {
    struct csandbox_ring ring; // start: written or discarded; end: taken
    int fd;                    // write end of the agent's stdin, or -1
    uint64_t close_at;         // INPUT_EOF offset, or UINT64_MAX
    uint64_t reported;         // last INPUT_ACCEPTED sent
};

struct csandbox_output {
    int fd; // -1: free
    uint16_t type;
    uint64_t generation;
    uint64_t owed; // bytes that were in the pipe when the agent ended and are not read yet
};

struct csandbox_helper {
    pid_t pid; // 0: free
    uint32_t request;
    uint64_t link; // serial of the connection that asked
    int report;    // read end
};

struct csandbox_reply {
    size_t length;
    int passed_fd;
    uint8_t bytes[CSANDBOX_REPLY_SIZE];
};

struct csandbox_link {
    int fd; // the served connection, or -1
    uint64_t serial;
    uint64_t log_sent; // log offset up to which it has been sent
    bool blocked;      // the socket took no more
    int pending[CSANDBOX_PENDING_MAX];
    unsigned first_reply, reply_count;
    struct csandbox_reply replies[CSANDBOX_REPLIES_MAX];
};

// What leaves the session: connections, each handed to the supervisor, and name queries.
struct csandbox_network {
    unsigned listener_count; // 0: nothing leaves this session
    int listeners[CSANDBOX_LISTENERS_MAX];
    int names_fd;       // UDP
    unsigned first;     // the listener whose turn it is
    uint64_t again_at;  // CLOCK_MONOTONIC seconds; until then nothing is taken. 0: not held up
    uint64_t admitted;  // connections that the supervisor takes, in all since its HELLO
    uint64_t handed;    // connections that it got
    bool names_waiting; // datagrams lie in the socket
    bool unwatched;     // the link was blocked when poll was asked
    uint16_t serial;    // of the newest query
    unsigned query_count;
    uint64_t queries[CSANDBOX_QUERIES_MAX]; // offsets of those that have no answer yet
};

struct csandbox_init {
    uint8_t nonce[CSANDBOX_NONCE_SIZE];
    uint64_t linger; // seconds; 0: never
    struct csandbox_protection protection;
    struct csandbox_program agent_filter;
    int listen_fd;
    int group_fd; // cgroup.procs of the agent's group, or -1
    int signal_fd;
    int workspace_fd;
    uint64_t lonely_since; // CLOCK_MONOTONIC seconds; when the last supervisor left
    bool leave;
    struct csandbox_ring log;
    struct csandbox_link link;
    struct csandbox_agent agent;
    struct csandbox_input input;
    struct csandbox_output outputs[CSANDBOX_OUTPUTS_MAX];
    struct csandbox_helper helpers[CSANDBOX_HELPERS_MAX];
    struct csandbox_network network;
    struct csandbox_writer frame;             // under construction
    uint8_t received[CSANDBOX_FRAME_MAX + 1]; // one packet; one more to see that it is too long
};

struct csandbox_request {
    struct csandbox_header header;
    struct csandbox_view payload;
};

// init_link.c
uint64_t csandbox_monotonic_seconds(void); // CLOCK_MONOTONIC
void csandbox_link_accept(struct csandbox_init *_Nonnull init);
void csandbox_link_hello(struct csandbox_init *_Nonnull init, int index);
void csandbox_link_receive(struct csandbox_init *_Nonnull init);
void csandbox_link_flush(struct csandbox_init *_Nonnull init);
void csandbox_link_close(struct csandbox_init *_Nonnull init);
// Sends `init->frame` at once. False: not sent, the link is blocked or closed.
bool csandbox_link_send(struct csandbox_init *_Nonnull init);
// Queues `init->frame`. The descriptor is closed once it is sent or cannot be.
void csandbox_reply(struct csandbox_init *_Nonnull init, int passed_fd);
void csandbox_reply_ok(struct csandbox_init *_Nonnull init, uint32_t request, int passed_fd);
void csandbox_reply_failed(struct csandbox_init *_Nonnull init, uint32_t request,
                           const struct csandbox_failure *_Nonnull failure);

// init_network.c
// While init still has all rights of its network namespace.
int csandbox_network_open(struct csandbox_network *_Nonnull network,
                          const struct csandbox_network_wish *_Nonnull wish,
                          struct csandbox_failure *_Nonnull failure);
// A supervisor has said hello: nothing of the one before holds.
void csandbox_network_reset(struct csandbox_network *_Nonnull network);
// Fills CSANDBOX_LISTENERS_MAX + 1 places at most; how many.
unsigned csandbox_network_fill(struct csandbox_init *_Nonnull init,
                               struct pollfd *_Nonnull slots);
void csandbox_network_serve(struct csandbox_init *_Nonnull init,
                            const struct pollfd *_Nonnull slots);
// Sends queries that wait in the socket, as far as the link takes them. False: it takes no more.
bool csandbox_network_flush(struct csandbox_init *_Nonnull init);
// When what holds it up is tried again, in CLOCK_MONOTONIC seconds; UINT64_MAX: nothing does.
uint64_t csandbox_network_resume(struct csandbox_network *_Nonnull network, uint64_t now);
void csandbox_network_admit(struct csandbox_network *_Nonnull network, uint64_t connections);
void csandbox_network_answer(struct csandbox_network *_Nonnull network, uint64_t query,
                             struct csandbox_view datagram);

// init_requests.c
void csandbox_handle_request(struct csandbox_init *_Nonnull init,
                             const struct csandbox_request *_Nonnull request);

// init_agent.c
void csandbox_agent_start(struct csandbox_init *_Nonnull init,
                          const struct csandbox_request *_Nonnull request);
void csandbox_agent_read_report(struct csandbox_init *_Nonnull init);
void csandbox_agent_reaped(struct csandbox_init *_Nonnull init, int status,
                           const struct rusage *_Nonnull usage);
// Writes the EXITED record once everything that goes before it is written.
void csandbox_agent_finish(struct csandbox_init *_Nonnull init);

// init_exec.c: the child's side of a start; never returns. `pipes`: input, output, errors, report.
_Noreturn void csandbox_agent_child(const struct csandbox_request *_Nonnull request,
                                    struct csandbox_program filter, const int pipes[_Nonnull 4],
                                    int group);
// What the child writes to its report pipe: one with error 0 immediately before exec, others are
// failures.
struct csandbox_start_report {
    int32_t error;
    char stage[32];
    char detail[256];
};
// For children of init: default dispositions, nothing blocked.
void csandbox_reset_signals(void);

// init_input.c
void csandbox_input_take(struct csandbox_init *_Nonnull init, uint64_t offset,
                         struct csandbox_view bytes);
void csandbox_input_close_at(struct csandbox_init *_Nonnull init, uint64_t offset);
void csandbox_input_write(struct csandbox_init *_Nonnull init);
void csandbox_input_discard(struct csandbox_init *_Nonnull init); // the agent is gone

// init_output.c
struct csandbox_output *_Nullable csandbox_output_add(struct csandbox_init *_Nonnull init, int fd,
                                                      uint16_t type);
bool csandbox_output_readable(const struct csandbox_init *_Nonnull init,
                              const struct csandbox_output *_Nonnull output);
void csandbox_output_read(struct csandbox_init *_Nonnull init,
                          struct csandbox_output *_Nonnull output);
// of a failed start
void csandbox_output_drop(struct csandbox_init *_Nonnull init, uint64_t generation);
// at the agent's end
void csandbox_output_measure(struct csandbox_init *_Nonnull init);
bool csandbox_output_drained(const struct csandbox_init *_Nonnull init);

// init_signals.c
int csandbox_signal_send(struct csandbox_init *_Nonnull init,
                         const struct csandbox_request *_Nonnull request,
                         struct csandbox_failure *_Nonnull failure);

// init_files.c
void csandbox_files_start(struct csandbox_init *_Nonnull init,
                          const struct csandbox_request *_Nonnull request);
bool csandbox_files_reaped(struct csandbox_init *_Nonnull init, pid_t pid, int status);

// --- files_get.c, files_put.c: in a helper that has become the agent -----------------------------

int csandbox_files_get(const char *_Nonnull path, int fd,
                       struct csandbox_failure *_Nonnull failure);
int csandbox_files_put(const char *_Nonnull path, int fd,
                       struct csandbox_failure *_Nonnull failure);
