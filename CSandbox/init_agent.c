// The life of an agent process as init sees it: none, starting, running, ended, none.
#include "init.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

// ARG and ENV without NUL, at least one ARG, each ENV a NAME=value.
static int check_fields(const struct csandbox_request *request, struct csandbox_failure *failure) {
    size_t cursor = 0, arguments = 0;
    uint16_t tag = 0;
    struct csandbox_view value;
    int more;
    while ((more = csandbox_next_field(request->payload, &cursor, &tag, &value)) == 1) {
        if (tag != CSANDBOX_TAG_ARG && tag != CSANDBOX_TAG_ENV && tag != CSANDBOX_TAG_CWD) continue;
        if (value.length > 0 && memchr(value.bytes, 0, value.length) != NULL)
            return csandbox_fail(failure, "start", EINVAL,
                                 "a zero byte in an argument or variable");
        if (tag == CSANDBOX_TAG_ARG) arguments++;
        if (tag != CSANDBOX_TAG_ENV) continue;
        const uint8_t *equals = value.length > 0 ? memchr(value.bytes, '=', value.length) : NULL;
        if (equals == NULL || equals == value.bytes)
            return csandbox_fail(failure, "start", EINVAL,
                                 "an environment entry is not NAME=value");
    }
    if (more != 0) return csandbox_fail(failure, "start", EPROTO, "malformed fields");
    if (arguments == 0) return csandbox_fail(failure, "start", EINVAL, "no program is named");
    if (csandbox_find_field(request->payload, CSANDBOX_TAG_CWD, &value) == 1 &&
        (value.length == 0 || value.bytes[0] != '/' || value.length >= 4096))
        return csandbox_fail(failure, "start", EINVAL, "the working directory is no absolute path");
    return 0;
}

static int check_start(struct csandbox_init *init, const struct csandbox_request *request,
                       uint64_t *generation, struct csandbox_failure *failure) {
    const struct csandbox_agent *agent = &init->agent;
    if (csandbox_find_u64(request->payload, CSANDBOX_TAG_GENERATION, generation) != 1 ||
        *generation == 0)
        return csandbox_fail(failure, "start", EPROTO, "no generation");
    if (*generation == agent->generation) return 0; // a repetition
    if (*generation < agent->generation)
        return csandbox_fail(failure, "start", ESTALE, "generation %llu has been started already",
                             (unsigned long long)agent->generation);
    if (agent->state != CSANDBOX_AGENT_NONE)
        return csandbox_fail(failure, "start", EBUSY, "generation %llu still runs",
                             (unsigned long long)agent->generation);
    if (csandbox_ring_room(&init->log) < CSANDBOX_RING_START_ROOM)
        return csandbox_fail(failure, "start", ENOBUFS, "the log is full: acknowledge it first");
    return check_fields(request, failure);
}

struct start_pipes {
    int in[2], out[2], err[2], report[2];
};

static void close_pipes(struct start_pipes *pipes) {
    int *all[] = {pipes->in, pipes->out, pipes->err, pipes->report};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        csandbox_close_fd(&all[i][0]);
        csandbox_close_fd(&all[i][1]);
    }
}

// Init's ends never block; the agent's are plain pipes.
static int open_pipes(struct start_pipes *pipes) {
    *pipes = (struct start_pipes){{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
    if (pipe2(pipes->in, O_CLOEXEC) != 0 || pipe2(pipes->out, O_CLOEXEC) != 0 ||
        pipe2(pipes->err, O_CLOEXEC) != 0 || pipe2(pipes->report, O_CLOEXEC) != 0)
        return -errno;
    const int mine[] = {pipes->in[1], pipes->out[0], pipes->err[0], pipes->report[0]};
    for (size_t i = 0; i < sizeof mine / sizeof *mine; i++)
        if (fcntl(mine[i], F_SETFL, O_NONBLOCK) != 0) return -errno;
    // The pipes belong to init's uid: without this /dev/stdin and /dev/stderr could not be opened. Only
    // who holds a descriptor of a pipe can reach it at all.
    const int agents[] = {pipes->in[0], pipes->out[1], pipes->err[1]};
    for (size_t i = 0; i < sizeof agents / sizeof *agents; i++)
        if (fchmod(agents[i], 0666) != 0) return -errno;
    return 0;
}

static void log_start_failed(struct csandbox_init *init, const char *stage, int error,
                             const char *detail) {
    struct csandbox_writer *w = &init->frame;
    csandbox_frame_begin(w, 0, 0, 0);
    csandbox_frame_text(w, CSANDBOX_TAG_STAGE, stage);
    csandbox_frame_u64(w, CSANDBOX_TAG_ERRNO, (uint64_t)error);
    csandbox_frame_text(w, CSANDBOX_TAG_DETAIL, detail);
    csandbox_log_put(&init->log, CSANDBOX_RECORD_START_FAILED, init->agent.generation,
                     w->bytes + sizeof(struct csandbox_header),
                     w->length - sizeof(struct csandbox_header));
}

static void log_started(struct csandbox_init *init) {
    struct csandbox_writer *w = &init->frame;
    csandbox_frame_begin(w, 0, 0, 0);
    csandbox_frame_u64(w, CSANDBOX_TAG_PID, (uint64_t)init->agent.pid);
    csandbox_log_put(&init->log, CSANDBOX_RECORD_STARTED, init->agent.generation,
                     w->bytes + sizeof(struct csandbox_header),
                     w->length - sizeof(struct csandbox_header));
}

static void start_failed(struct csandbox_init *init, const char *stage, int error,
                         const char *detail) {
    struct csandbox_agent *agent = &init->agent;
    log_start_failed(init, stage, error, detail);
    csandbox_close_fd(&agent->report);
    agent->report = -1;
    agent->state = CSANDBOX_AGENT_NONE;
    csandbox_output_drop(init, agent->generation);
    csandbox_input_discard(init);
}

static void fork_agent(struct csandbox_init *init, const struct csandbox_request *request,
                       struct start_pipes *pipes) {
    struct csandbox_agent *agent = &init->agent;
    const pid_t pid = fork();
    if (pid < 0) {
        start_failed(init, "fork", errno, "");
        return;
    }
    if (pid == 0) {
        const int ends[4] = {pipes->in[0], pipes->out[1], pipes->err[1], pipes->report[1]};
        csandbox_agent_child(request, init->agent_filter, ends, init->group_fd);
    }
    agent->pid = pid;
    agent->state = CSANDBOX_AGENT_STARTING;
    agent->report = csandbox_steal_fd(&pipes->report[0]);
    init->input.fd = csandbox_steal_fd(&pipes->in[1]);
    init->input.close_at = UINT64_MAX;
    csandbox_output_add(init, csandbox_steal_fd(&pipes->out[0]), CSANDBOX_RECORD_STDOUT);
    csandbox_output_add(init, csandbox_steal_fd(&pipes->err[0]), CSANDBOX_RECORD_STDERR);
}

// From here on the outcome is told by the log alone, so that it is told exactly once.
void csandbox_agent_start(struct csandbox_init *init, const struct csandbox_request *request) {
    __attribute__((cleanup(close_pipes))) struct start_pipes pipes = {
        {-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
    struct csandbox_failure failure;
    uint64_t generation = 0;
    if (check_start(init, request, &generation, &failure) != 0) {
        csandbox_reply_failed(init, request->header.request, &failure);
        return;
    }
    if (generation != init->agent.generation) {
        init->agent.generation = generation;
        init->agent.pid = 0; // the one before must not be signalled in the name of this one
        init->agent.executing = false;
        const int result = open_pipes(&pipes);
        if (result != 0) start_failed(init, "pipes", -result, "");
        else fork_agent(init, request, &pipes);
    }
    csandbox_reply_ok(init, request->header.request, -1);
}

static bool read_one(int fd, struct csandbox_start_report *report, ssize_t *length) {
    do *length = read(fd, report, sizeof *report);
    while (*length < 0 && errno == EINTR);
    return *length == (ssize_t)sizeof *report;
}

// The child says "now" immediately before exec, whose success closes the pipe. Each write is one
// piece (smaller than PIPE_BUF). Without the "now" the child was killed on its way.
void csandbox_agent_read_report(struct csandbox_init *init) {
    struct csandbox_agent *agent = &init->agent;
    struct csandbox_start_report report;
    ssize_t length;
    if (agent->state != CSANDBOX_AGENT_STARTING) return;
    while (read_one(agent->report, &report, &length)) {
        if (report.error == 0) {
            agent->executing = true;
            continue;
        }
        report.stage[sizeof report.stage - 1] = '\0';
        report.detail[sizeof report.detail - 1] = '\0';
        start_failed(init, report.stage, report.error, report.detail);
        return;
    }
    if (length < 0 && errno == EAGAIN) return;
    if (!agent->executing) {
        start_failed(init, "exec", ECANCELED, "killed before the program ran");
        return;
    }
    csandbox_close_fd(&agent->report);
    agent->report = -1;
    agent->state = CSANDBOX_AGENT_RUNNING;
    log_started(init);
    csandbox_input_write(init);
}

static uint64_t microseconds(struct timeval time) {
    return (uint64_t)time.tv_sec * 1000000u + (uint64_t)time.tv_usec;
}

void csandbox_agent_reaped(struct csandbox_init *init, int status, const struct rusage *usage) {
    struct csandbox_agent *agent = &init->agent;
    csandbox_agent_read_report(init);
    if (agent->state != CSANDBOX_AGENT_RUNNING) return;
    agent->state = CSANDBOX_AGENT_ENDED;
    agent->exit = (struct csandbox_exit){
        .status = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
        .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
        .user_us = microseconds(usage->ru_utime),
        .system_us = microseconds(usage->ru_stime),
        .max_rss_kib = (uint64_t)usage->ru_maxrss,
    };
    csandbox_input_discard(init);
    csandbox_output_measure(init);
}

void csandbox_agent_finish(struct csandbox_init *init) {
    struct csandbox_agent *agent = &init->agent;
    if (agent->state != CSANDBOX_AGENT_ENDED || !csandbox_output_drained(init) ||
        csandbox_ring_room(&init->log) < CSANDBOX_RING_START_ROOM)
        return;
    csandbox_log_put(&init->log, CSANDBOX_RECORD_EXITED, agent->generation, &agent->exit,
                     sizeof agent->exit);
    agent->state = CSANDBOX_AGENT_NONE;
}
