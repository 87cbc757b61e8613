// The launcher: prepares once what all sessions share, then serves requests from one loop.
#include "serve.h"
#include "weaken.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define EVENTS_PER_TURN 64

int csandbox_server_watch(struct csandbox_server *server, int fd, uint32_t events,
                          enum csandbox_event_kind kind, uint32_t index) {
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)kind << 32 | index};
    return epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void csandbox_server_forget(struct csandbox_server *server, int *fd) {
    if (*fd < 0) return;
    (void)epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, *fd, NULL);
    csandbox_close_fd(fd);
    *fd = -1;
}

static void reap_children(struct csandbox_server *server) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        // A sandbox may turn out to have started just before it ended: spawn first, then live.
        if (csandbox_job_reaped(server, pid, status) ||
            csandbox_spawn_reaped(server, pid, status) || csandbox_live_reaped(server, pid, status))
            continue;
        csandbox_session_sweep_soon(server); // a child that was killed before it became anything
    }
}

static void take_signals(struct csandbox_server *server) {
    struct signalfd_siginfo signals[16];
    while (read(server->signal_fd, signals, sizeof signals) > 0) continue;
    reap_children(server);
}

static void take_notice(struct csandbox_server *server) {
    struct csandbox_notice notice;
    const ssize_t length = recv(CSANDBOX_FD_LAUNCHER_KEEPER, &notice, sizeof notice, MSG_DONTWAIT);
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (length <= 0) _exit(0); // the keeper is gone; its sessions go on
    if (length != (ssize_t)sizeof notice) return;
    if (notice.kind == CSANDBOX_NOTICE_REAPED) csandbox_session_sweep_soon(server);
    if (notice.kind == CSANDBOX_NOTICE_KILL_FAILED)
        csandbox_kill_refused(server, notice.pid, notice.report.error);
}

// Milliseconds until the next time limit, -1 when there is none.
static int next_timeout(const struct csandbox_server *server) {
    uint64_t due = server->sweep_ns != 0 ? server->sweep_ns : UINT64_MAX;
    for (unsigned i = 0; i < CSANDBOX_SPAWNS_MAX; i++) {
        const struct csandbox_starting *starting = &server->starting[i];
        if (starting->pid != 0 && starting->deadline_ns < due) due = starting->deadline_ns;
    }
    for (unsigned i = 0; i < CSANDBOX_KILLS_MAX; i++)
        if (server->kills[i].pidfd >= 0 && server->kills[i].deadline_ns < due)
            due = server->kills[i].deadline_ns;
    if (server->kill_due_ns != 0 && server->kill_due_ns < due) due = server->kill_due_ns;
    if (server->accept_again_ns != 0 && server->accept_again_ns < due)
        due = server->accept_again_ns;
    if (due == UINT64_MAX) return -1;
    const uint64_t now = csandbox_boottime_ns();
    return now >= due ? 0 : (int)((due - now) / 1000000 + 1);
}

static void dispatch(struct csandbox_server *server, const struct epoll_event *event) {
    const uint32_t index = (uint32_t)event->data.u64;
    switch ((enum csandbox_event_kind)(event->data.u64 >> 32)) {
    case CSANDBOX_EVENT_LISTEN: csandbox_link_accept_all(server); break;
    case CSANDBOX_EVENT_KEEPER: take_notice(server); break;
    case CSANDBOX_EVENT_SIGNAL: take_signals(server); break;
    case CSANDBOX_EVENT_CONNECTION: csandbox_link_event(server, index, event->events); break;
    case CSANDBOX_EVENT_SPAWN: csandbox_spawn_event(server, index); break;
    case CSANDBOX_EVENT_KILL: csandbox_kill_event(server, index); break;
    }
}

static _Noreturn void loop(struct csandbox_server *server) {
    for (;;) {
        struct epoll_event events[EVENTS_PER_TURN];
        const int count =
            epoll_wait(server->epoll_fd, events, EVENTS_PER_TURN, next_timeout(server));
        if (count < 0 && errno != EINTR) _exit(1);
        for (int i = 0; i < count; i++) dispatch(server, &events[i]);
        const uint64_t now = csandbox_boottime_ns();
        csandbox_spawn_expire(server, now);
        csandbox_kill_expire(server, now);
        csandbox_link_accept_again(server, now);
        if (server->sweep_ns != 0 && now >= server->sweep_ns) csandbox_session_sweep(server);
        csandbox_request_pump(server);
    }
}

// No core dump, no debugger, no new privileges; ends with its keeper.
static int harden(struct csandbox_failure *failure) {
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
        (!WEAKENED_BUILD && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) ||
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ||
        prctl(PR_SET_NAME, "superserve-launcher", 0, 0, 0) < 0)
        return csandbox_fail(failure, "launcher", errno, "prctl");
    char byte;
    if (recv(CSANDBOX_FD_LAUNCHER_KEEPER, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) _exit(0);
    for (int fd = CSANDBOX_FD_LAUNCHER_LISTEN; fd < CSANDBOX_FD_LAUNCHER_END; fd++)
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 && fd != CSANDBOX_FD_LAUNCHER_CGROUP)
            return csandbox_fail(failure, "descriptors", errno, "descriptor %d", fd);
    umask(077);
    return 0;
}

static int open_places(struct csandbox_server *server, struct csandbox_failure *failure) {
    struct stat status;
    server->sessions_fd = openat(CSANDBOX_FD_LAUNCHER_STATE, "sessions",
                                 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (server->sessions_fd < 0 || fstat(server->sessions_fd, &status) < 0)
        return csandbox_fail(failure, "directories", errno, "open %.180s/sessions",
                             server->state_path);
    if (status.st_uid != geteuid())
        return csandbox_fail(failure, "directories", EPERM,
                             "%.160s/sessions does not belong to the service", server->state_path);
    server->sockets_fd =
        openat(CSANDBOX_FD_LAUNCHER_RUNTIME, "s", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (server->sockets_fd < 0 || fstat(server->sockets_fd, &status) < 0)
        return csandbox_fail(failure, "directories", errno, "open %.180s/s", server->runtime_path);
    // Whoever could enter it could talk to a session's init, and knows no nonce only by luck.
    if (status.st_uid != geteuid() || (status.st_mode & 077) != 0)
        return csandbox_fail(failure, "directories", EPERM,
                             "%.160s/s must belong to the service, mode 0700",
                             server->runtime_path);
    return 0;
}

static int open_events(struct csandbox_server *server, struct csandbox_failure *failure) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
        return csandbox_fail(failure, "signals", errno, "sigprocmask");
    server->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (server->signal_fd < 0 || server->epoll_fd < 0)
        return csandbox_fail(failure, "launcher", errno, "events");
    server->listening = true;
    int result =
        csandbox_server_watch(server, server->signal_fd, EPOLLIN, CSANDBOX_EVENT_SIGNAL, 0);
    if (result == 0)
        result = csandbox_server_watch(server, CSANDBOX_FD_LAUNCHER_KEEPER, EPOLLIN,
                                       CSANDBOX_EVENT_KEEPER, 0);
    if (result == 0)
        result = csandbox_server_watch(server, CSANDBOX_FD_LAUNCHER_LISTEN, EPOLLIN,
                                       CSANDBOX_EVENT_LISTEN, 0);
    return result < 0 ? csandbox_fail(failure, "launcher", -result, "epoll_ctl") : 0;
}

static int prepare(struct csandbox_server *server, struct csandbox_failure *failure) {
    for (unsigned i = 0; i < CSANDBOX_CONNECTIONS_MAX; i++) server->connections[i].fd = -1;
    for (unsigned i = 0; i < CSANDBOX_SPAWNS_MAX; i++)
        server->starting[i].report_fd = server->starting[i].pidfd = -1;
    for (unsigned i = 0; i < CSANDBOX_KILLS_MAX; i++) server->kills[i].pidfd = -1;
    server->cgroup_fd =
        fcntl(CSANDBOX_FD_LAUNCHER_CGROUP, F_GETFD) >= 0 ? CSANDBOX_FD_LAUNCHER_CGROUP : -1;
    if (harden(failure) < 0 || csandbox_identity_blocks(&server->blocks, failure) < 0 ||
        open_places(server, failure) < 0 ||
        csandbox_filter_compile(CSANDBOX_FILTER_INIT, &server->init_filter, failure) < 0 ||
        csandbox_filter_compile(CSANDBOX_FILTER_AGENT, &server->agent_filter, failure) < 0 ||
        csandbox_template_build(&server->own_ns_fd, &server->template_ns_fd, failure) < 0)
        return -failure->error;
    csandbox_group_restore(server->cgroup_fd);
    csandbox_session_sweep(server);
    return open_events(server, failure);
}

int csandbox_launcher_serve(int argc, char *const *argv) {
    static struct csandbox_server server;
    struct csandbox_failure failure;
    if (argc != 5) return 2;
    server.state_path = argv[2];
    server.runtime_path = argv[3];
    server.cgroup_note = argv[4];
    if (prepare(&server, &failure) < 0) {
        csandbox_notice_fail(CSANDBOX_FD_LAUNCHER_KEEPER, &failure);
        return 1;
    }
    const struct csandbox_notice ready = {.kind = CSANDBOX_NOTICE_READY};
    if (csandbox_notice_send(CSANDBOX_FD_LAUNCHER_KEEPER, &ready) < 0) return 1;
    loop(&server);
}
