// Sessions whose init is this launcher's child, and the end of inits, its own and those of earlier
// launchers.
#include "serve.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>

static struct csandbox_server *sweeping; // whose sessions csandbox_group_sweep must not touch

struct csandbox_live *csandbox_live_find(struct csandbox_server *server, const char *session) {
    for (size_t i = 0; i < server->live_count; i++)
        if (strcmp(server->live[i].session, session) == 0) return &server->live[i];
    return NULL;
}

static struct csandbox_live *find_pid(struct csandbox_server *server, pid_t pid) {
    for (size_t i = 0; i < server->live_count; i++)
        if (server->live[i].pid == pid) return &server->live[i];
    return NULL;
}

int csandbox_session_idle(struct csandbox_server *server, const char *session,
                          const uint64_t *block, struct csandbox_failure *failure) {
    for (size_t i = 0; i < server->live_count; i++) {
        const struct csandbox_live *live = &server->live[i];
        if (strcmp(live->session, session) == 0)
            return csandbox_fail(failure, "session", EBUSY, "its init %d still runs: kill it first",
                                 live->pid);
        if (block != NULL && live->block == *block)
            return csandbox_fail(failure, "session", EBUSY, "id block %llu is in use by session %s",
                                 (unsigned long long)*block, live->session);
    }
    for (size_t i = 0; i < CSANDBOX_SPAWNS_MAX; i++) {
        const struct csandbox_starting *starting = &server->starting[i];
        if (starting->pid == 0) continue;
        if (strcmp(starting->session, session) == 0)
            return csandbox_fail(failure, "session", EBUSY, "it is being started");
        if (block != NULL && starting->block == *block)
            return csandbox_fail(failure, "session", EBUSY, "id block %llu is in use by session %s",
                                 (unsigned long long)*block, starting->session);
    }
    return 0;
}

int csandbox_live_reserve(struct csandbox_server *server) {
    size_t needed = server->live_count + 1;
    for (size_t i = 0; i < CSANDBOX_SPAWNS_MAX; i++) needed += server->starting[i].pid != 0;
    if (needed <= server->live_capacity) return 0;
    const size_t capacity = server->live_capacity == 0 ? 64 : server->live_capacity * 2;
    struct csandbox_live *live = realloc(server->live, capacity * sizeof *live);
    if (live == NULL) return -ENOMEM;
    server->live = live;
    server->live_capacity = capacity;
    return 0;
}

void csandbox_live_add(struct csandbox_server *server, const struct csandbox_starting *started) {
    struct csandbox_live *live = &server->live[server->live_count++]; // reserved before the clone
    *live = (struct csandbox_live){
        .pid = started->pid, .start_time = started->start_time, .block = started->block};
    memcpy(live->session, started->session, sizeof live->session);
}

bool csandbox_live_reaped(struct csandbox_server *server, pid_t pid, int status) {
    struct csandbox_live *found = find_pid(server, pid);
    if (found == NULL) return false;
    const struct csandbox_live live = *found;
    *found = server->live[--server->live_count];
    csandbox_session_clear(server, live.session);
    const int64_t wide = status;
    csandbox_frame_begin(&server->writer, CSANDBOX_LAUNCHER_EXITED, 0, 0);
    csandbox_frame_text(&server->writer, CSANDBOX_TAG_SESSION, live.session);
    csandbox_frame_u64(&server->writer, CSANDBOX_TAG_PID, (uint64_t)pid);
    csandbox_frame_field(&server->writer, CSANDBOX_TAG_STATUS, &wide, sizeof wide);
    csandbox_answer_all(server);
    for (struct csandbox_waiter *waiter = live.waiters; waiter != NULL;) {
        struct csandbox_waiter *next = waiter->next;
        csandbox_answer_ok(server, waiter->asker);
        free(waiter);
        waiter = next;
    }
    return true;
}

static bool is_busy(const char *session) {
    struct csandbox_failure ignored;
    return csandbox_session_idle(sweeping, session, NULL, &ignored) < 0;
}

static void sweep_after(struct csandbox_server *server, unsigned delay_ms) {
    server->sweep_delay_ms = delay_ms;
    server->sweep_ns = csandbox_boottime_ns() + delay_ms * 1000000ull;
}

void csandbox_session_sweep_soon(struct csandbox_server *server) {
    if (server->cgroup_fd < 0) return;
    if (server->sweep_ns == 0) sweep_after(server, CSANDBOX_SWEEP_MS);
    server->sweep_delay_ms = CSANDBOX_SWEEP_MS; // more tries for what has ended now
}

void csandbox_session_sweep(struct csandbox_server *server) {
    server->sweep_ns = 0;
    sweeping = server;
    if (csandbox_group_sweep(server->cgroup_fd, is_busy)) return;
    // Some may be those of sessions that an earlier launcher started, and stay: this has an end.
    if (server->sweep_delay_ms < CSANDBOX_SWEEP_MS_MAX)
        sweep_after(server, server->sweep_delay_ms * 2);
}

void csandbox_session_clear(struct csandbox_server *server, const char *session) {
    csandbox_socket_remove(server->sockets_fd, session);
    if (!csandbox_group_remove(server->cgroup_fd, session)) csandbox_session_sweep_soon(server);
}

static void kill_own(struct csandbox_server *server, struct csandbox_live *live,
                     struct csandbox_asker asker) {
    struct csandbox_waiter *waiter = malloc(sizeof *waiter);
    if (waiter == NULL) {
        struct csandbox_failure failure;
        (void)csandbox_fail(&failure, "kill", ENOMEM, "memory");
        csandbox_answer_failed(server, asker, &failure);
        return;
    }
    *waiter = (struct csandbox_waiter){live->waiters, asker};
    live->waiters = waiter;
    if (live->kill_due_ns == 0)
        live->kill_due_ns = csandbox_boottime_ns() + CSANDBOX_KILL_SECONDS * 1000000000ull;
    if (server->kill_due_ns == 0 || live->kill_due_ns < server->kill_due_ns)
        server->kill_due_ns = live->kill_due_ns;
    (void)kill(live->pid, SIGKILL); // not reaped yet, so this is no other process
    csandbox_group_kill(server->cgroup_fd, live->session);
}

// It stays what it is, a session in use: its end is told when it comes.
static void tell_waiters(struct csandbox_server *server, struct csandbox_live *live) {
    struct csandbox_failure failure;
    (void)csandbox_fail(&failure, "kill", ETIMEDOUT, "process %d has not ended in time", live->pid);
    struct csandbox_waiter *waiter = live->waiters;
    live->waiters = NULL;
    live->kill_due_ns = 0;
    while (waiter != NULL) {
        struct csandbox_waiter *next = waiter->next;
        csandbox_answer_failed(server, waiter->asker, &failure);
        free(waiter);
        waiter = next;
    }
}

static void expire_own(struct csandbox_server *server, uint64_t now_ns) {
    if (server->kill_due_ns == 0 || now_ns < server->kill_due_ns) return;
    server->kill_due_ns = 0;
    for (size_t i = 0; i < server->live_count; i++) {
        struct csandbox_live *live = &server->live[i];
        if (live->kill_due_ns == 0) continue;
        if (now_ns >= live->kill_due_ns)
            tell_waiters(server, live);
        else if (server->kill_due_ns == 0 || live->kill_due_ns < server->kill_due_ns)
            server->kill_due_ns = live->kill_due_ns;
    }
}

// 1: waits for the end; 0: it is over; or a failure.
static int kill_foreign(struct csandbox_server *server, struct csandbox_asker asker, pid_t pid,
                        uint64_t start_time, struct csandbox_failure *failure) {
    uint32_t index = 0;
    while (index < CSANDBOX_KILLS_MAX && server->kills[index].pidfd >= 0) index++;
    if (index == CSANDBOX_KILLS_MAX)
        return csandbox_fail(failure, "kill", EAGAIN, "too many at once");
    CSANDBOX_AUTO_FD int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0 && errno == ESRCH) return 0;
    if (pidfd < 0) return csandbox_fail(failure, "kill", errno, "pidfd_open %d", pid);
    uint64_t ticks;
    const int known = csandbox_start_time(pid, &ticks);
    if (known == -ENOENT || known == -ESRCH || (known == 0 && ticks != start_time)) return 0;
    if (known < 0) return csandbox_fail(failure, "kill", -known, "read /proc/%d/stat", pid);
    if (pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0) {
        if (errno == ESRCH) return 0;
        if (errno != EPERM) return csandbox_fail(failure, "kill", errno, "signal %d", pid);
        // It lives in the user namespace of an earlier launcher, whose owner the keeper can act
        // for.
        const struct csandbox_notice notice = {
            .kind = CSANDBOX_NOTICE_KILL, .pid = pid, .start_time = start_time};
        const int sent = csandbox_notice_send(CSANDBOX_FD_LAUNCHER_KEEPER, &notice);
        if (sent < 0) return csandbox_fail(failure, "kill", -sent, "ask the keeper");
    }
    if (csandbox_server_watch(server, pidfd, EPOLLIN, CSANDBOX_EVENT_KILL, index) < 0)
        return csandbox_fail(failure, "kill", errno, "epoll_ctl");
    server->kills[index] = (struct csandbox_kill){
        .pidfd = csandbox_steal_fd(&pidfd),
        .pid = pid,
        .asker = asker,
        .deadline_ns = csandbox_boottime_ns() + CSANDBOX_KILL_SECONDS * 1000000000ull,
    };
    return 1;
}

void csandbox_kill_begin(struct csandbox_server *server, struct csandbox_asker asker,
                         struct csandbox_view payload) {
    uint64_t pid, start_time;
    struct csandbox_failure failure;
    if (csandbox_find_u64(payload, CSANDBOX_TAG_PID, &pid) != 1 || pid == 0 || pid > INT32_MAX ||
        csandbox_find_u64(payload, CSANDBOX_TAG_START_TIME, &start_time) != 1) {
        (void)csandbox_fail(&failure, "request", EINVAL, "PID and START_TIME are needed");
        csandbox_answer_failed(server, asker, &failure);
        return;
    }
    struct csandbox_live *live = find_pid(server, (pid_t)pid);
    if (live != NULL && live->start_time == start_time) {
        kill_own(server, live, asker);
        return;
    }
    const int result = kill_foreign(server, asker, (pid_t)pid, start_time, &failure);
    if (result == 0)
        csandbox_answer_ok(server, asker);
    else if (result < 0)
        csandbox_answer_failed(server, asker, &failure);
}

void csandbox_kill_event(struct csandbox_server *server, uint32_t index) {
    struct csandbox_kill *ended = &server->kills[index];
    if (ended->pidfd < 0) return;
    const struct csandbox_asker asker = ended->asker;
    csandbox_server_forget(server, &ended->pidfd);
    csandbox_answer_ok(server, asker);
}

static void kill_failed(struct csandbox_server *server, struct csandbox_kill *failed, int error,
                        const char *why) {
    struct csandbox_failure failure;
    (void)csandbox_fail(&failure, "kill", error, "process %d %s", failed->pid, why);
    const struct csandbox_asker asker = failed->asker;
    csandbox_server_forget(server, &failed->pidfd);
    csandbox_answer_failed(server, asker, &failure);
}

void csandbox_kill_refused(struct csandbox_server *server, pid_t pid, int error) {
    for (uint32_t i = 0; i < CSANDBOX_KILLS_MAX; i++)
        if (server->kills[i].pidfd >= 0 && server->kills[i].pid == pid)
            kill_failed(server, &server->kills[i], error, "is not the service's to kill");
}

void csandbox_kill_expire(struct csandbox_server *server, uint64_t now_ns) {
    expire_own(server, now_ns);
    for (uint32_t i = 0; i < CSANDBOX_KILLS_MAX; i++)
        if (server->kills[i].pidfd >= 0 && now_ns >= server->kills[i].deadline_ns)
            kill_failed(server, &server->kills[i], ETIMEDOUT, "has not ended in time");
}
