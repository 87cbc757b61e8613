// Work on session trees, each in a forked helper: a slow disk or a huge tree never holds up the
// loop.
#include "quota.h"
#include "serve.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

// Smaller than PIPE_BUF: one write, whole or not at all.
struct result {
    struct csandbox_report report;
    uint64_t bytes, files;
    struct csandbox_quota quota;
};
_Static_assert(sizeof(struct result) <= 4096, "a result is written in one piece");

static bool is_quick(uint16_t type) { return type == CSANDBOX_LAUNCHER_PREPARE; }

static struct csandbox_job *free_slot(struct csandbox_server *server, uint16_t type) {
    const unsigned first = is_quick(type) ? 0 : CSANDBOX_QUICK_JOBS_MAX;
    const unsigned end = is_quick(type) ? CSANDBOX_QUICK_JOBS_MAX : CSANDBOX_JOBS_MAX;
    for (unsigned i = first; i < end; i++)
        if (server->jobs[i].pid == 0) return &server->jobs[i];
    return NULL;
}

bool csandbox_job_has_slot(const struct csandbox_server *server, uint16_t type) {
    const unsigned first = is_quick(type) ? 0 : CSANDBOX_QUICK_JOBS_MAX;
    const unsigned end = is_quick(type) ? CSANDBOX_QUICK_JOBS_MAX : CSANDBOX_JOBS_MAX;
    for (unsigned i = first; i < end; i++)
        if (server->jobs[i].pid == 0) return true;
    return false;
}

const struct csandbox_job *csandbox_job_changing(const struct csandbox_server *server,
                                                 const char *session) {
    for (unsigned i = 0; i < CSANDBOX_JOBS_MAX; i++) {
        const struct csandbox_job *job = &server->jobs[i];
        if (job->pid != 0 && job->type != CSANDBOX_LAUNCHER_MEASURE &&
            strcmp(job->session, session) == 0)
            return job;
    }
    return NULL;
}

static _Noreturn void work(int sessions_fd, int result_fd, uint16_t type, const char *session,
                           uint64_t block) {
    struct result result = {.bytes = 0};
    struct csandbox_failure failure = {.stage = "helper", .error = EIO};
    int code = 0;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) _exit(1);
    // Connections must end when the launcher closes them, so the helper keeps none of its
    // descriptors.
    const int high_sessions = fcntl(sessions_fd, F_DUPFD_CLOEXEC, 64),
              high_result = fcntl(result_fd, F_DUPFD_CLOEXEC, 64);
    if (high_sessions < 0 || high_result < 0 || dup2(high_sessions, 3) < 0 ||
        dup2(high_result, 4) < 0 || close_range(5, ~0u, 0) < 0)
        _exit(1);
    switch (type) {
    case CSANDBOX_LAUNCHER_PREPARE:
        code = csandbox_tree_prepare(3, session, block, &failure);
        if (code == 0) csandbox_quota_own(3, session, block, &result.quota);
        break;
    case CSANDBOX_LAUNCHER_DESTROY: code = csandbox_tree_destroy(3, session, &failure); break;
    default:
        code = csandbox_tree_measure(3, session, &result.bytes, &result.files, &failure);
        break;
    }
    if (code < 0) {
        result.report.error = failure.error;
        (void)snprintf(result.report.stage, sizeof result.report.stage, "%s", failure.stage);
        (void)snprintf(result.report.detail, sizeof result.report.detail, "%s", failure.detail);
    }
    _exit(write(4, &result, sizeof result) == (ssize_t)sizeof result ? 0 : 1);
}

static int check(struct csandbox_server *server, uint16_t type, struct csandbox_view payload,
                 char *session, uint64_t *block, struct csandbox_failure *failure) {
    if (csandbox_request_session(payload, session, failure) < 0) return -failure->error;
    if (type == CSANDBOX_LAUNCHER_MEASURE) return 0;
    if (csandbox_job_changing(server, session) != NULL)
        return csandbox_fail(failure, "session", EBUSY,
                             "another request is changing this session's tree");
    if (type == CSANDBOX_LAUNCHER_PREPARE)
        return csandbox_request_block(server, payload, block, failure);
    if (csandbox_session_idle(server, session, NULL, failure) < 0) return -failure->error;
    // An init that this launcher did not start shows by its socket.
    if (csandbox_socket_alive(server->sockets_fd, session))
        return csandbox_fail(failure, "session", EBUSY, "its init still listens: kill it first");
    return 0;
}

static int fork_helper(struct csandbox_server *server, struct csandbox_job *job, uint64_t block,
                       struct csandbox_failure *failure) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return csandbox_fail(failure, "helper", errno, "pipe");
    const pid_t pid = fork();
    if (pid == 0) work(server->sessions_fd, ends[1], job->type, job->session, block);
    const int error = errno;
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return csandbox_fail(failure, "helper", error, "fork");
    }
    job->pid = pid;
    job->result_fd = ends[0];
    return 0;
}

void csandbox_job_begin(struct csandbox_server *server, uint16_t type, struct csandbox_asker asker,
                        struct csandbox_view payload) {
    struct csandbox_failure failure;
    uint64_t block = 0;
    struct csandbox_job *job = free_slot(server, type);
    char session[CSANDBOX_SESSION_LENGTH + 1];
    if (job == NULL || check(server, type, payload, session, &block, &failure) < 0) {
        if (job == NULL) (void)csandbox_fail(&failure, "helper", EAGAIN, "too many at once");
        csandbox_answer_failed(server, asker, &failure);
        return;
    }
    *job = (struct csandbox_job){.type = type, .asker = asker, .result_fd = -1};
    memcpy(job->session, session, sizeof job->session);
    if (fork_helper(server, job, block, &failure) < 0)
        csandbox_answer_failed(server, asker, &failure);
}

bool csandbox_job_reaped(struct csandbox_server *server, pid_t pid, int status) {
    struct csandbox_job *job = NULL;
    for (unsigned i = 0; i < CSANDBOX_JOBS_MAX && job == NULL; i++)
        if (server->jobs[i].pid == pid) job = &server->jobs[i];
    if (job == NULL) return false;
    struct result result;
    struct csandbox_failure failure;
    char stage[64];
    const ssize_t length = read(job->result_fd, &result, sizeof result);
    close(job->result_fd);
    const struct csandbox_job done = *job;
    *job = (struct csandbox_job){.result_fd = -1};
    if (length != (ssize_t)sizeof result) {
        (void)csandbox_fail(&failure, "helper", EIO, "it ended with %s %d",
                            WIFSIGNALED(status) ? "signal" : "status",
                            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        csandbox_answer_failed(server, done.asker, &failure);
    } else if (result.report.error != 0) {
        csandbox_failure_from_report(&failure, stage, &result.report);
        csandbox_answer_failed(server, done.asker, &failure);
    } else {
        if (done.type == CSANDBOX_LAUNCHER_DESTROY) csandbox_session_clear(server, done.session);
        csandbox_frame_begin(&server->writer, CSANDBOX_OK, done.asker.request, 0);
        if (done.type == CSANDBOX_LAUNCHER_MEASURE) {
            csandbox_frame_u64(&server->writer, CSANDBOX_TAG_BYTES, result.bytes);
            csandbox_frame_u64(&server->writer, CSANDBOX_TAG_FILES, result.files);
        } else if (done.type == CSANDBOX_LAUNCHER_PREPARE) {
            csandbox_frame_u64(&server->writer, CSANDBOX_TAG_QUOTA_BYTES, result.quota.bytes);
            csandbox_frame_u64(&server->writer, CSANDBOX_TAG_QUOTA_FILES, result.quota.files);
        }
        csandbox_answer(server, done.asker.connection);
    }
    return true;
}
