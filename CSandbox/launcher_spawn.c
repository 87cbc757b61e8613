// SPAWN: from the request to the answer. The loop never waits for a sandbox: its report, its end
// and its time limit arrive as events.
#include "measures.h"
#include "serve.h"
#include "weaken.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

bool csandbox_spawn_has_slot(const struct csandbox_server *server) {
    unsigned stuck = 0;
    for (unsigned i = 0; i < CSANDBOX_SPAWNS_MAX; i++) {
        if (server->starting[i].pid == 0) return true;
        stuck += server->starting[i].answered;
    }
    return stuck == CSANDBOX_SPAWNS_MAX; // to wait would be in vain: the request is refused
}

struct request {
    char session[CSANDBOX_SESSION_LENGTH + 1];
    uint64_t block;
    struct csandbox_boot boot; // nonce, linger, loosened, network
    bool limited;
    struct csandbox_limits limits;
};

static int check_loosened(struct csandbox_view payload, uint64_t *loosened,
                          struct csandbox_failure *failure) {
    struct csandbox_view name;
    size_t cursor = 0;
    uint16_t tag;
    *loosened = 0;
    while (csandbox_next_field(payload, &cursor, &tag, &name) == 1) {
        if (tag != CSANDBOX_TAG_LOOSEN) continue;
        const int index = csandbox_measure_find(name.bytes, name.length);
        if (index < 0 || !csandbox_measure_may_loosen((unsigned)index))
            return csandbox_fail(failure, "loosen", EPERM, "no session goes without \"%.*s\"",
                                 (int)(name.length < 64 ? name.length : 64),
                                 (const char *)name.bytes);
        *loosened |= csandbox_measure_bit((enum csandbox_measure)index);
    }
    return 0;
}

static bool has_port(const struct csandbox_network_wish *network, uint64_t port) {
    for (uint32_t i = 0; i < network->port_count; i++)
        if (network->ports[i] == port) return true;
    return port == CSANDBOX_PROXY_PORT || port == CSANDBOX_NAMES_PORT;
}

static int check_network(struct csandbox_view payload, struct csandbox_network_wish *network,
                         struct csandbox_failure *failure) {
    struct csandbox_view value;
    size_t cursor = 0;
    uint16_t tag;
    uint64_t enabled = 0, port = 0;
    if (csandbox_find_u64(payload, CSANDBOX_TAG_NETWORK, &enabled) < 0 || enabled > 1)
        return csandbox_fail(failure, "network", EINVAL, "NETWORK must be 0 or 1");
    network->enabled = (uint32_t)enabled;
    while (csandbox_next_field(payload, &cursor, &tag, &value) == 1) {
        if (tag != CSANDBOX_TAG_PORT) continue;
        if (enabled == 0)
            return csandbox_fail(failure, "network", EINVAL, "PORT without NETWORK");
        if (value.length == sizeof port) memcpy(&port, value.bytes, sizeof port);
        if (value.length != sizeof port || port == 0 || port > UINT16_MAX)
            return csandbox_fail(failure, "network", EINVAL, "PORT must be 1 to 65535");
        if (has_port(network, port))
            return csandbox_fail(failure, "network", EINVAL, "port %llu is taken already",
                                 (unsigned long long)port);
        if (network->port_count == CSANDBOX_PORTS_MAX)
            return csandbox_fail(failure, "network", E2BIG, "more than %u ports",
                                 CSANDBOX_PORTS_MAX);
        network->ports[network->port_count++] = (uint16_t)port;
    }
    return 0;
}

static int check(struct csandbox_server *server, struct csandbox_view payload,
                 struct request *request, struct csandbox_failure *failure) {
    struct csandbox_view nonce;
    if (csandbox_request_session(payload, request->session, failure) < 0 ||
        csandbox_request_block(server, payload, &request->block, failure) < 0)
        return -failure->error;
    if (csandbox_find_field(payload, CSANDBOX_TAG_NONCE, &nonce) != 1 ||
        nonce.length != CSANDBOX_NONCE_SIZE)
        return csandbox_fail(failure, "request", EINVAL, "NONCE must have %u bytes",
                             CSANDBOX_NONCE_SIZE);
    memcpy(request->boot.nonce, nonce.bytes, CSANDBOX_NONCE_SIZE);
    if (csandbox_find_u64(payload, CSANDBOX_TAG_LINGER, &request->boot.linger) < 0)
        return csandbox_fail(failure, "request", EINVAL, "LINGER must be a number");
    if (check_loosened(payload, &request->boot.loosened, failure) < 0 ||
        check_network(payload, &request->boot.network, failure) < 0)
        return -failure->error;
    const int limited = csandbox_limits_read(payload, &request->limits, failure);
    if (limited < 0) return limited;
    request->limited = limited > 0;
    if (csandbox_session_idle(server, request->session, &request->block, failure) < 0)
        return -failure->error;
    if (csandbox_job_changing(server, request->session) != NULL)
        return csandbox_fail(failure, "session", EBUSY,
                             "another request is changing this session's tree");
    if (csandbox_live_reserve(server) < 0)
        return csandbox_fail(failure, "session", ENOMEM, "memory");
    return 0;
}

// Everything from the request to the running child; after a failure nothing is left.
static int start(struct csandbox_server *server, const struct request *request,
                 struct csandbox_view payload, struct csandbox_group *group,
                 struct csandbox_spawned *spawned, struct csandbox_failure *failure) {
    static struct csandbox_plan plan;
    const struct csandbox_places places = {server->state_path, server->runtime_path,
                                           server->sessions_fd};
    __attribute__((cleanup(csandbox_trees_close))) struct csandbox_trees trees;
    if (csandbox_weaken_read(server, failure) < 0) return -failure->error;
    if (csandbox_trees_open(&trees, &places, request->session, request->block, payload, failure) <
            0 ||
        csandbox_plan_build(&plan, &trees, failure) < 0)
        return -failure->error;
    CSANDBOX_AUTO_FD int boot_fd = csandbox_boot_file(&request->boot, &server->init_filter,
                                                      &server->agent_filter, failure);
    if (boot_fd < 0) return -failure->error;
    CSANDBOX_AUTO_FD int listen_fd =
        csandbox_socket_bind(server->sockets_fd, request->session, failure);
    if (listen_fd < 0) return -failure->error;
    if (csandbox_group_make(server->cgroup_fd, request->session,
                            request->limited ? &request->limits : NULL, server->cgroup_note, group,
                            failure) < 0) {
        csandbox_socket_remove(server->sockets_fd, request->session);
        return -failure->error;
    }
    const struct csandbox_spawn_inputs inputs = {
        .plan = &plan,
        .own_ns_fd = server->own_ns_fd,
        .template_ns_fd = server->template_ns_fd,
        .group = group,
        .program_fd = CSANDBOX_FD_LAUNCHER_PROGRAM,
        .listen_fd = listen_fd,
        .boot_fd = boot_fd,
        .block = request->block,
    };
    if (csandbox_spawn(&inputs, spawned, failure) == 0) return 0;
    csandbox_session_clear(server, request->session); // a child that was killed leaves it later
    return -failure->error;
}

// The first failure is the one to tell; the answer follows when the child has been reaped.
static void fail(struct csandbox_server *server, struct csandbox_starting *starting, int error,
                 const char *stage, const char *detail) {
    if (!starting->failed) (void)csandbox_fail(&starting->failure, stage, error, "%s", detail);
    starting->failed = true;
    starting->deadline_ns = csandbox_boottime_ns() + CSANDBOX_END_SECONDS * 1000000000ull;
    csandbox_server_forget(server, &starting->report_fd);
    (void)pidfd_send_signal(starting->pidfd, SIGKILL, NULL, 0);
    csandbox_group_kill(server->cgroup_fd, starting->session);
}

static void release(struct csandbox_server *server, struct csandbox_starting *starting) {
    csandbox_server_forget(server, &starting->report_fd);
    csandbox_close_fd(&starting->pidfd);
    *starting = (struct csandbox_starting){.report_fd = -1, .pidfd = -1};
}

void csandbox_spawn_begin(struct csandbox_server *server, struct csandbox_asker asker,
                          struct csandbox_view payload) {
    struct csandbox_failure failure;
    struct request request = {.block = 0};
    uint32_t index = 0;
    while (index < CSANDBOX_SPAWNS_MAX && server->starting[index].pid != 0) index++;
    struct csandbox_spawned spawned = {.pidfd = -1, .report_fd = -1};
    struct csandbox_group group = {.init_fd = -1, .init_procs_fd = -1, .agent_procs_fd = -1};
    int result = -EAGAIN;
    if (index == CSANDBOX_SPAWNS_MAX)
        (void)csandbox_fail(&failure, "process", EAGAIN, "too many at once");
    else if ((result = check(server, payload, &request, &failure)) == 0)
        result = start(server, &request, payload, &group, &spawned, &failure);
    csandbox_group_close(&group);
    if (result < 0) {
        csandbox_answer_failed(server, asker, &failure);
        return;
    }
    struct csandbox_starting *starting = &server->starting[index];
    *starting = (struct csandbox_starting){
        .pid = spawned.pid,
        .pidfd = spawned.pidfd,
        .block = request.block,
        .asker = asker,
        .enforced = group.enforced,
        .report_fd = spawned.report_fd,
        .deadline_ns = csandbox_boottime_ns() + CSANDBOX_SPAWN_SECONDS * 1000000000ull,
    };
    memcpy(starting->session, request.session, sizeof starting->session);
    memcpy(starting->note, group.note, sizeof starting->note);
    result = csandbox_start_time(spawned.pid, &starting->start_time);
    if (result == 0)
        result = csandbox_server_watch(server, starting->report_fd, EPOLLIN, CSANDBOX_EVENT_SPAWN,
                                       index);
    if (result < 0) fail(server, starting, -result, "process", "watch the child");
}

static void succeed(struct csandbox_server *server, struct csandbox_starting *starting) {
    csandbox_live_add(server, starting);
    csandbox_frame_begin(&server->writer, CSANDBOX_OK, starting->asker.request, 0);
    csandbox_frame_u64(&server->writer, CSANDBOX_TAG_PID, (uint64_t)starting->pid);
    csandbox_frame_u64(&server->writer, CSANDBOX_TAG_START_TIME, starting->start_time);
    const struct csandbox_protection *protection = &starting->report.protection;
    csandbox_frame_u64(&server->writer, CSANDBOX_TAG_MEASURES, protection->measures);
    csandbox_frame_u64(&server->writer, CSANDBOX_TAG_LANDLOCK, protection->landlock);
    csandbox_frame_u64(&server->writer, CSANDBOX_TAG_ENFORCED, starting->enforced);
    if (starting->note[0] != '\0')
        csandbox_frame_text(&server->writer, CSANDBOX_TAG_DETAIL, starting->note);
    const uint64_t connection = starting->asker.connection;
    release(server, starting);
    csandbox_answer(server, connection);
}

// Reads what has come of the report.
static void read_report(struct csandbox_server *server, struct csandbox_starting *starting) {
    uint8_t *to = (uint8_t *)&starting->report + starting->received;
    const size_t left = sizeof starting->report - starting->received;
    const ssize_t length = recv(starting->report_fd, to, left, MSG_DONTWAIT);
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (length <= 0) {
        fail(server, starting, EPIPE, "init", "the sandbox ended before it was ready");
        return;
    }
    starting->received += (size_t)length;
    if (starting->received < sizeof starting->report) return;
    if (starting->report.error == 0) {
        succeed(server, starting);
        return;
    }
    struct csandbox_failure failure;
    csandbox_failure_from_report(&failure, starting->stage, &starting->report);
    fail(server, starting, failure.error, starting->stage, failure.detail);
}

void csandbox_spawn_event(struct csandbox_server *server, uint32_t index) {
    struct csandbox_starting *starting = &server->starting[index];
    if (starting->pid != 0 && starting->report_fd >= 0) read_report(server, starting);
}

// Killed and still there: it waits in the kernel, for a disk perhaps. Its session and its ids stay
// in use until it is gone.
static void give_up(struct csandbox_server *server, struct csandbox_starting *starting) {
    const size_t used = strlen(starting->failure.detail);
    (void)snprintf(starting->failure.detail + used, sizeof starting->failure.detail - used,
                   "; its process %d does not end", starting->pid);
    starting->answered = true;
    starting->deadline_ns = UINT64_MAX;
    csandbox_answer_failed(server, starting->asker, &starting->failure);
}

void csandbox_spawn_expire(struct csandbox_server *server, uint64_t now_ns) {
    for (unsigned i = 0; i < CSANDBOX_SPAWNS_MAX; i++) {
        struct csandbox_starting *starting = &server->starting[i];
        if (starting->pid == 0 || now_ns < starting->deadline_ns) continue;
        if (!starting->failed) {
            char detail[96];
            (void)snprintf(detail, sizeof detail,
                           "the sandbox was not ready within %d seconds and was ended",
                           CSANDBOX_SPAWN_SECONDS);
            fail(server, starting, ETIMEDOUT, "timeout", detail);
        } else {
            give_up(server, starting);
        }
    }
}

bool csandbox_spawn_reaped(struct csandbox_server *server, pid_t pid, int status) {
    struct csandbox_starting *starting = NULL;
    for (unsigned i = 0; i < CSANDBOX_SPAWNS_MAX && starting == NULL; i++)
        if (server->starting[i].pid == pid) starting = &server->starting[i];
    if (starting == NULL) return false;
    // It may have reported just before it ended, even success: then it has lived, and its end is
    // that of a session.
    if (starting->report_fd >= 0) read_report(server, starting);
    if (starting->pid != pid) return false;
    if (!starting->failed)
        fail(server, starting, EPIPE, "init", "the sandbox ended before it was ready");
    if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL) {
        const size_t used = strlen(starting->failure.detail);
        (void)snprintf(starting->failure.detail + used, sizeof starting->failure.detail - used,
                       " (signal %d)", WTERMSIG(status));
    }
    const struct csandbox_starting ended = *starting;
    release(server, starting);
    csandbox_session_clear(server, ended.session);
    struct csandbox_failure failure = ended.failure;
    if (failure.stage == starting->stage)
        failure.stage = ended.stage; // its text moved with the copy
    if (!ended.answered) csandbox_answer_failed(server, ended.asker, &failure);
    return true;
}
