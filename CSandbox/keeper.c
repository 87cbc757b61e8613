// The keeper: the one process that is never replaced. It holds the listening socket, starts the
// launcher again when it dies, adopts the inits that a dead launcher leaves, and ends everything
// when it is told to.
#include "launcher.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define RESTART_MS 100
#define RESTART_MS_MAX 5000

struct loop {
    struct csandbox_keeper *keeper;
    bool announced; // the ready descriptor has been answered
    bool serving;   // the launcher of the moment has said that it is ready
    bool stop;
    uint64_t started_ms; // when it was started
    unsigned delay_ms;   // at least this long between two starts
};

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

// One line for whoever waits on the ready descriptor, and for the log.
static void announce_failure(int ready_fd, const struct csandbox_failure *failure) {
    char line[512], stage[64];
    (void)snprintf(stage, sizeof stage, "%s", failure->stage);
    for (char *c = stage; *c != '\0'; c++)
        if (*c == ' ') *c = '-'; // the stage is one word of the line
    (void)snprintf(line, sizeof line, "error %s %d %s\n", stage, failure->error, failure->detail);
    for (char *c = line; c[0] != '\0' && c[1] != '\0'; c++)
        if (*c == '\n') *c = ' ';
    dprintf(2, "superserve-launcher: %s", line);
    if (ready_fd >= 0) dprintf(ready_fd, "%s", line);
    char status[sizeof line + 32];
    (void)snprintf(status, sizeof status, "STATUS=%sERRNO=%d\n", line, failure->error);
    (void)csandbox_service_notify(status);
}

static void start_launcher(struct loop *loop) {
    struct csandbox_keeper *keeper = loop->keeper;
    int ends[2];
    loop->serving = false;
    loop->started_ms = now_ms();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        dprintf(2, "superserve-launcher: socketpair: %s\n", strerror(errno));
        return;
    }
    const pid_t pid = fork();
    if (pid == 0) {
        struct csandbox_failure failure = {.stage = "launcher", .error = EIO};
        close(ends[0]);
        (void)csandbox_enter_launcher(keeper, ends[1], &failure);
        csandbox_notice_fail(ends[1], &failure);
        _exit(1);
    }
    close(ends[1]);
    if (pid < 0) {
        dprintf(2, "superserve-launcher: fork: %s\n", strerror(errno));
        close(ends[0]);
        return;
    }
    keeper->launcher = pid;
    keeper->channel_fd = ends[0];
}

// With no more rights than the supervisor's own: whoever can ask for this could do it itself.
static void kill_for_launcher(struct csandbox_keeper *keeper, pid_t pid, uint64_t start_time) {
    uint64_t ticks;
    CSANDBOX_AUTO_FD int pidfd = pid > 0 ? pidfd_open(pid, 0) : -1;
    if (pidfd < 0 || csandbox_start_time(pid, &ticks) < 0 || ticks != start_time) return;
    if (csandbox_keeper_become_service(keeper) < 0) return;
    const int error = pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0 ? errno : 0;
    csandbox_keeper_become_self(keeper);
    if (error == 0 || error == ESRCH) return; // its end shows by its pidfd
    struct csandbox_notice answer = {.kind = CSANDBOX_NOTICE_KILL_FAILED, .pid = pid};
    answer.report.error = error;
    (void)csandbox_notice_send(keeper->channel_fd, &answer);
}

// What became of reading one notice.
enum taken {
    TAKEN_FATAL = -1, // the first launcher cannot start
    TAKEN_NONE = 0,   // there is none, or no channel any more
    TAKEN_ONE = 1,
};

static void announce_ready(struct loop *loop) {
    loop->serving = true;
    loop->delay_ms = RESTART_MS;
    // Also after a failure of which the service manager shows the text.
    (void)csandbox_service_notify("READY=1\nSTATUS=Sandboxes can be made\n");
    if (loop->announced) return;
    loop->announced = true;
    if (loop->keeper->ready_fd < 0) return;
    dprintf(loop->keeper->ready_fd, "ready\n");
    close(loop->keeper->ready_fd);
    loop->keeper->ready_fd = -1;
}

static enum taken take_notice(struct loop *loop) {
    struct csandbox_keeper *keeper = loop->keeper;
    struct csandbox_notice notice;
    const ssize_t length = recv(keeper->channel_fd, &notice, sizeof notice, MSG_DONTWAIT);
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) return TAKEN_NONE;
    if (length != (ssize_t)sizeof notice) { // it is gone; SIGCHLD follows
        csandbox_close_fd(&keeper->channel_fd);
        keeper->channel_fd = -1;
        return TAKEN_NONE;
    }
    if (notice.kind == CSANDBOX_NOTICE_READY) {
        announce_ready(loop);
    } else if (notice.kind == CSANDBOX_NOTICE_FAILED) {
        struct csandbox_failure failure;
        char stage[64];
        csandbox_failure_from_report(&failure, stage, &notice.report);
        announce_failure(keeper->ready_fd, &failure);
        if (!loop->announced) return TAKEN_FATAL;
    } else if (notice.kind == CSANDBOX_NOTICE_KILL) {
        kill_for_launcher(keeper, notice.pid, notice.start_time);
    } else if (notice.kind == CSANDBOX_NOTICE_STOP) {
        loop->stop = true;
    }
    return TAKEN_ONE;
}

static void announce_unready(struct loop *loop, const char *detail) {
    struct csandbox_failure failure;
    (void)csandbox_fail(&failure, "launcher", ECHILD, "%s", detail);
    announce_failure(loop->keeper->ready_fd, &failure);
}

// False when the first launcher ended before it served.
static bool launcher_ended(struct loop *loop, int status) {
    struct csandbox_keeper *keeper = loop->keeper;
    enum taken taken =
        TAKEN_ONE; // what it said last; then the channel, whoever else may hold its other end
    while (taken == TAKEN_ONE && keeper->channel_fd >= 0) taken = take_notice(loop);
    if (taken == TAKEN_FATAL) return false;
    csandbox_close_fd(&keeper->channel_fd);
    keeper->channel_fd = -1;
    keeper->launcher = 0;
    if (loop->stop) return true;
    dprintf(2, "superserve-launcher: the launcher ended with %s %d\n",
            WIFSIGNALED(status) ? "signal" : "status",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    if (!loop->announced) {
        announce_unready(loop, "the launcher ended before it was ready");
        return false;
    }
    if (!loop->serving && loop->delay_ms < RESTART_MS_MAX) loop->delay_ms *= 2;
    return true;
}

static bool reap(struct loop *loop) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == loop->keeper->launcher) {
            if (!launcher_ended(loop, status)) return false;
        } else if (loop->keeper->channel_fd >= 0) {
            const struct csandbox_notice notice = {.kind = CSANDBOX_NOTICE_REAPED, .pid = pid};
            (void)csandbox_notice_send(loop->keeper->channel_fd, &notice);
        }
    }
    return true;
}

static bool take_signals(struct loop *loop) {
    struct signalfd_siginfo signal;
    bool child = false;
    while (read(loop->keeper->signal_fd, &signal, sizeof signal) == (ssize_t)sizeof signal) {
        if (signal.ssi_signo == SIGCHLD) child = true;
        if (signal.ssi_signo == SIGTERM || signal.ssi_signo == SIGINT) loop->stop = true;
    }
    return !child || reap(loop);
}

// Parent of `pid` by /proc/<pid>/stat; the name in it may hold anything, so look behind its last
// parenthesis.
static pid_t parent_of(const char *pid) {
    char path[64], text[512];
    (void)snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    CSANDBOX_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    const ssize_t length = read(fd, text, sizeof text - 1);
    if (length <= 0) return -1;
    text[length] = '\0';
    const char *end = strrchr(text, ')');
    int parent;
    return end != NULL && sscanf(end + 1, " %*c %d", &parent) == 1 ? parent : -1;
}

// A process that has not been waited for keeps its pid, so this hits children only.
static void kill_children(void) {
    DIR *processes = opendir("/proc");
    if (processes == NULL) return;
    const pid_t self = getpid();
    struct dirent *entry;
    while ((entry = readdir(processes)) != NULL)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && parent_of(entry->d_name) == self)
            (void)kill((pid_t)atoi(entry->d_name), SIGKILL);
    closedir(processes);
}

// Ends the launcher first: its inits become this process's children then, and are ended as such.
static void end_everything(struct csandbox_keeper *keeper, bool ends_all) {
    if (keeper->launcher > 0) {
        (void)kill(keeper->launcher, SIGKILL);
        (void)waitpid(keeper->launcher, NULL, 0);
    }
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    const struct timespec patience = {.tv_nsec = 500000000};
    bool look = true;
    for (;;) {
        if (look) kill_children();
        pid_t pid;
        bool reaped = false;
        while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) reaped = true;
        if (pid < 0 && errno == ECHILD) break;
        // Look again when nothing moves for a while: a helper may have left a child of its own.
        look = sigtimedwait(&child, NULL, &patience) < 0 && errno == EAGAIN && !reaped;
    }
    if (csandbox_keeper_become_service(keeper) < 0) return;
    (void)unlinkat(keeper->runtime_fd, "launcher.sock", 0);
    CSANDBOX_AUTO_FD int sockets =
        openat(keeper->runtime_fd, "s", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (sockets >= 0) csandbox_socket_sweep(sockets);
    csandbox_keeper_become_self(keeper);
    csandbox_cgroup_leave(keeper, ends_all);
    csandbox_claim_release(keeper);
}

static int serve(struct loop *loop) {
    struct csandbox_keeper *keeper = loop->keeper;
    while (!loop->stop) {
        int timeout = -1;
        if (keeper->launcher <= 0) {
            const uint64_t due = loop->started_ms == 0 ? 0 : loop->started_ms + loop->delay_ms;
            const uint64_t now = now_ms();
            if (now >= due) {
                start_launcher(loop);
                if (keeper->launcher <= 0 && !loop->announced) {
                    announce_unready(loop, "no process for the launcher");
                    return 1;
                }
                continue;
            }
            timeout = (int)(due - now);
        }
        struct pollfd events[2] = {
            {.fd = keeper->signal_fd, .events = POLLIN},
            {.fd = keeper->channel_fd, .events = POLLIN},
        };
        if (poll(events, 2, timeout) < 0 && errno != EINTR) return 1;
        if (keeper->channel_fd >= 0 && events[1].revents != 0 && take_notice(loop) == TAKEN_FATAL)
            return 1;
        if (!take_signals(loop)) return 1;
    }
    return 0;
}

static int block_signals(struct csandbox_keeper *keeper, struct csandbox_failure *failure) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGPIPE); // a reader of the ready descriptor that left is no reason to die
    sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
        return csandbox_fail(failure, "signals", errno, "sigprocmask");
    keeper->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (keeper->signal_fd < 0) return csandbox_fail(failure, "signals", errno, "signalfd");
    return 0;
}

int csandbox_keeper_main(int argc, char *const *argv) {
    static struct csandbox_keeper keeper = {
        .ready_fd = -1,
        .state_fd = -1,
        .runtime_fd = -1,
        .lock_fd = -1,
        .listen_fd = -1,
        .program_fd = -1,
        .cgroup_fd = -1,
        .signal_fd = -1,
        .channel_fd = -1,
        .claim_fds = {-1, -1},
    };
    struct csandbox_failure failure;
    if (csandbox_keeper_parse(&keeper, argc, argv, &failure) < 0 ||
        csandbox_keeper_setup(&keeper, &failure) < 0 || block_signals(&keeper, &failure) < 0) {
        announce_failure(keeper.ready_fd, &failure);
        return 1;
    }
    struct loop loop = {.keeper = &keeper, .delay_ms = RESTART_MS};
    const int status = serve(&loop);
    if (loop.stop) {
        (void)csandbox_service_notify("STOPPING=1\nSTATUS=Ending every session's processes\n");
        csandbox_keeper_record_stop(&keeper);
    }
    end_everything(&keeper, loop.stop);
    return status;
}
