// The launcher's state, shared among launcher.c and launcher_*.c. One thread, one loop; what may
// take long is done by children, and their ends come as SIGCHLD.
#pragma once

#include "launcher.h"

// What an epoll event is about: kind in the upper half of its data, index in the lower.
enum csandbox_event_kind {
    CSANDBOX_EVENT_LISTEN = 1,
    CSANDBOX_EVENT_KEEPER,
    CSANDBOX_EVENT_SIGNAL,
    CSANDBOX_EVENT_CONNECTION,
    CSANDBOX_EVENT_SPAWN,
    CSANDBOX_EVENT_KILL,
};

// An answer that its connection could not take yet.
struct csandbox_unsent {
    struct csandbox_unsent *_Nullable next;
    size_t length;
    uint8_t bytes[];
};

struct csandbox_connection {
    int fd;      // -1: free
    uint64_t id; // never reused: an answer for a connection that is gone goes nowhere
    struct csandbox_unsent *_Nullable first;
    struct csandbox_unsent *_Nullable last;
    size_t unsent;
};

// Who waits for an answer.
struct csandbox_asker {
    uint64_t connection;
    uint32_t request;
};

// A request that waits for a free slot, as it came.
struct csandbox_pending {
    struct csandbox_pending *_Nullable next;
    uint64_t connection;
    size_t length;
    uint8_t bytes[];
};

struct csandbox_queue {
    struct csandbox_pending *_Nullable first;
    struct csandbox_pending *_Nullable last;
};

// A sandbox between clone3 and the report of its init.
struct csandbox_starting {
    pid_t pid; // 0: free
    int pidfd; // names the process also after it has been reaped
    uint64_t start_time;
    uint64_t block;
    char session[CSANDBOX_SESSION_LENGTH + 1];
    struct csandbox_asker asker;
    uint64_t enforced;
    char note[CSANDBOX_GROUP_NOTE]; // why not every limit is enforced
    int report_fd;
    size_t received;
    struct csandbox_report report;
    uint64_t deadline_ns; // until it is ready, or killed, until it has ended
    bool failed;
    bool answered; // it does not end, and its asker has heard of it; the slot waits
    struct csandbox_failure failure;
    char stage[64];
};

struct csandbox_waiter {
    struct csandbox_waiter *_Nullable next;
    struct csandbox_asker asker;
};

// An init that runs and is this launcher's child.
struct csandbox_live {
    pid_t pid;
    uint64_t start_time;
    uint64_t block;
    char session[CSANDBOX_SESSION_LENGTH + 1];
    struct csandbox_waiter *_Nullable waiters; // KILL requests
    uint64_t kill_due_ns;                      // when they are told that it does not end; 0: none
};

// PREPARE, DESTROY or MEASURE in a helper.
struct csandbox_job {
    pid_t pid; // 0: free
    uint16_t type;
    char session[CSANDBOX_SESSION_LENGTH + 1];
    struct csandbox_asker asker;
    int result_fd;
};

// KILL of an init that some earlier launcher started.
struct csandbox_kill {
    int pidfd; // -1: free
    pid_t pid;
    struct csandbox_asker asker;
    uint64_t deadline_ns;
};

#define CSANDBOX_JOBS_MAX (CSANDBOX_QUICK_JOBS_MAX + CSANDBOX_LONG_JOBS_MAX)

struct csandbox_server {
    int epoll_fd, signal_fd;
    int sessions_fd, sockets_fd;
    int own_ns_fd, template_ns_fd;
    int cgroup_fd;
    const char *_Nonnull cgroup_note; // why limits cannot be enforced; may be empty
    uint64_t sweep_ns; // when groups without processes are looked for; 0: nothing to look for
    unsigned sweep_delay_ms;
    const char *_Nonnull state_path;
    const char *_Nonnull runtime_path;
    uint64_t blocks;
    bool listening; // the listening socket is watched
    uint64_t accept_again_ns; // when to watch it again after accept failed; 0: not failed
    uint64_t next_connection;
    struct csandbox_connection connections[CSANDBOX_CONNECTIONS_MAX];
    struct csandbox_starting starting[CSANDBOX_SPAWNS_MAX];
    struct csandbox_job jobs[CSANDBOX_JOBS_MAX];
    struct csandbox_kill kills[CSANDBOX_KILLS_MAX];
    struct csandbox_live *_Nullable live;
    size_t live_count, live_capacity;
    uint64_t kill_due_ns; // the earliest of `live`; 0: none
    struct csandbox_queue spawn_queue, quick_queue, long_queue;
    unsigned queued;
    size_t queued_bytes;
    struct csandbox_filter init_filter, agent_filter;
    struct csandbox_writer writer; // the answer being written
};

// launcher.c
int csandbox_server_watch(struct csandbox_server *_Nonnull server, int fd, uint32_t events,
                          enum csandbox_event_kind kind, uint32_t index);
// No more events of it, then closes it. To close alone is not enough: a child that hangs between
// clone3 and exec holds a copy, with which the descriptor stays in the epoll set (epoll(7)).
void csandbox_server_forget(struct csandbox_server *_Nonnull server, int *_Nonnull fd);

// launcher_link.c: connections of supervisors
void csandbox_link_accept_all(struct csandbox_server *_Nonnull server);
void csandbox_link_accept_again(struct csandbox_server *_Nonnull server, uint64_t now_ns);
void csandbox_link_event(struct csandbox_server *_Nonnull server, uint32_t index, uint32_t events);
// Sends `server->writer`; to nobody when the connection is gone.
void csandbox_answer(struct csandbox_server *_Nonnull server, uint64_t connection);
void csandbox_answer_ok(struct csandbox_server *_Nonnull server, struct csandbox_asker asker);
void csandbox_answer_failed(struct csandbox_server *_Nonnull server, struct csandbox_asker asker,
                            const struct csandbox_failure *_Nonnull failure);
void csandbox_answer_all(
    struct csandbox_server *_Nonnull server); // `server->writer` to every connection

// launcher_requests.c
void csandbox_request(struct csandbox_server *_Nonnull server, uint64_t connection,
                      const uint8_t *_Nonnull bytes, size_t length);
int csandbox_request_session(struct csandbox_view payload,
                             char session[_Nonnull CSANDBOX_SESSION_LENGTH + 1],
                             struct csandbox_failure *_Nonnull failure);
int csandbox_request_block(const struct csandbox_server *_Nonnull server,
                           struct csandbox_view payload, uint64_t *_Nonnull block,
                           struct csandbox_failure *_Nonnull failure);
// Starts what waits, as far as there are slots.
void csandbox_request_pump(struct csandbox_server *_Nonnull server);

// launcher_spawn.c
bool csandbox_spawn_has_slot(const struct csandbox_server *_Nonnull server);
void csandbox_spawn_begin(struct csandbox_server *_Nonnull server, struct csandbox_asker asker,
                          struct csandbox_view payload);
void csandbox_spawn_event(struct csandbox_server *_Nonnull server, uint32_t index);
void csandbox_spawn_expire(struct csandbox_server *_Nonnull server, uint64_t now_ns);
// True when `pid` was a sandbox being started.
bool csandbox_spawn_reaped(struct csandbox_server *_Nonnull server, pid_t pid, int status);

// launcher_sessions.c
struct csandbox_live *_Nullable csandbox_live_find(struct csandbox_server *_Nonnull server,
                                                   const char *_Nonnull session);
int csandbox_live_reserve(struct csandbox_server *_Nonnull server); // room for one more
void csandbox_live_add(struct csandbox_server *_Nonnull server,
                       const struct csandbox_starting *_Nonnull started);
bool csandbox_live_reaped(struct csandbox_server *_Nonnull server, pid_t pid, int status);
// 0, or -EBUSY with the reason, when the session or its block is in use.
int csandbox_session_idle(struct csandbox_server *_Nonnull server, const char *_Nonnull session,
                          const uint64_t *_Nullable block,
                          struct csandbox_failure *_Nonnull failure);
void csandbox_kill_begin(struct csandbox_server *_Nonnull server, struct csandbox_asker asker,
                         struct csandbox_view payload);
void csandbox_kill_event(struct csandbox_server *_Nonnull server, uint32_t index);
// The keeper could not kill `pid` either.
void csandbox_kill_refused(struct csandbox_server *_Nonnull server, pid_t pid, int error);
void csandbox_kill_expire(struct csandbox_server *_Nonnull server, uint64_t now_ns);
// Control groups whose sessions this launcher does not know are removed soon, all in one go.
void csandbox_session_sweep_soon(struct csandbox_server *_Nonnull server);
void csandbox_session_sweep(struct csandbox_server *_Nonnull server);
// Removes the socket and the group of a session that has ended, the group later if it must be.
void csandbox_session_clear(struct csandbox_server *_Nonnull server, const char *_Nonnull session);

// launcher_jobs.c
bool csandbox_job_has_slot(const struct csandbox_server *_Nonnull server, uint16_t type);
void csandbox_job_begin(struct csandbox_server *_Nonnull server, uint16_t type,
                        struct csandbox_asker asker, struct csandbox_view payload);
bool csandbox_job_reaped(struct csandbox_server *_Nonnull server, pid_t pid, int status);
// The job that changes the session's tree, if one runs.
const struct csandbox_job *_Nullable csandbox_job_changing(
    const struct csandbox_server *_Nonnull server, const char *_Nonnull session);
