// File transfers: a helper of init takes the agent's rights on files, so that a path means what it
// means to the agent, under an id of its own, so that the agent cannot hold it up.
#include "init.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define STREAM_FD 0
#define REPORT_FD 1
#define PATH_LENGTH_MAX 4096

// What a helper says at its end; shorter than PIPE_BUF, so it comes in one piece.
struct outcome {
    int32_t error;
    char detail[256];
};

static struct csandbox_helper *free_helper(struct csandbox_init *init) {
    for (int i = 0; i < CSANDBOX_HELPERS_MAX; i++)
        if (init->helpers[i].pid == 0) return &init->helpers[i];
    return NULL;
}

// Only the stream and the report pipe stay; nothing of init's that the agent could borrow.
static int place_descriptors(int stream, int report) {
    const int high_stream = fcntl(stream, F_DUPFD_CLOEXEC, 3);
    const int high_report = fcntl(report, F_DUPFD_CLOEXEC, 3);
    if (high_stream < 0 || high_report < 0 || dup2(high_stream, STREAM_FD) < 0 ||
        dup2(high_report, REPORT_FD) < 0)
        return -errno;
    return syscall(SYS_close_range, REPORT_FD + 1, ~0U, 0) == 0 ? 0 : -errno;
}

static _Noreturn void helper_child(struct csandbox_program filter, bool get, const char *path,
                                   int stream, int report) {
    struct csandbox_failure failure = {.stage = "files"};
    struct outcome outcome;
    memset(&outcome, 0, sizeof outcome);
    if (setsid() < 0 || place_descriptors(stream, report) != 0) _exit(1);
    int result = csandbox_become_helper(&failure);
    csandbox_reset_signals(); // SIGPIPE too: a client that went away ends the helper
    if (result == 0) result = csandbox_load_filter(filter, &failure);
    if (result == 0 && chdir("/workspace") != 0)
        result = csandbox_fail(&failure, "files", errno, "/workspace");
    if (result == 0)
        result = get ? csandbox_files_get(path, STREAM_FD, &failure)
                     : csandbox_files_put(path, STREAM_FD, &failure);
    if (result != 0) {
        outcome.error = failure.error;
        (void)snprintf(outcome.detail, sizeof outcome.detail, "%s", failure.detail);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    _exit(write(REPORT_FD, &outcome, sizeof outcome) == (ssize_t)sizeof outcome ? 0 : 1);
}

static int read_path(const struct csandbox_request *request, char path[PATH_LENGTH_MAX],
                     struct csandbox_failure *failure) {
    struct csandbox_view value;
    if (csandbox_find_field(request->payload, CSANDBOX_TAG_PATH, &value) != 1)
        return csandbox_fail(failure, "files", EPROTO, "no path");
    if (value.length == 0 || value.length >= PATH_LENGTH_MAX)
        return csandbox_fail(failure, "files", value.length == 0 ? ENOENT : ENAMETOOLONG,
                             "a path has 1 to %d bytes", PATH_LENGTH_MAX - 1);
    if (memchr(value.bytes, 0, value.length) != NULL)
        return csandbox_fail(failure, "files", EINVAL, "a zero byte in the path");
    memcpy(path, value.bytes, value.length);
    path[value.length] = '\0';
    return 0;
}

static int start_helper(struct csandbox_init *init, const struct csandbox_request *request,
                        struct csandbox_helper *helper, int *client,
                        struct csandbox_failure *failure) {
    char path[PATH_LENGTH_MAX];
    const bool get = request->header.type == CSANDBOX_INIT_FILES_GET;
    const int result = read_path(request, path, failure);
    if (result != 0) return result;
    int stream[2] = {-1, -1}, report[2] = {-1, -1};
    if (pipe2(stream, O_CLOEXEC) != 0) return csandbox_fail(failure, "files", errno, "pipe");
    CSANDBOX_AUTO_FD int mine = stream[get ? 1 : 0];
    *client = stream[get ? 0 : 1];
    if (pipe2(report, O_CLOEXEC | O_NONBLOCK) != 0)
        return csandbox_fail(failure, "files", errno, "pipe");
    CSANDBOX_AUTO_FD int read_end = report[0];
    CSANDBOX_AUTO_FD int write_end = report[1];
    const pid_t pid = fork();
    if (pid < 0) return csandbox_fail(failure, "files", errno, "fork");
    if (pid == 0) helper_child(init->agent_filter, get, path, mine, write_end);
    *helper = (struct csandbox_helper){
        .pid = pid,
        .request = request->header.request,
        .link = init->link.serial,
        .report = csandbox_steal_fd(&read_end),
    };
    return 0;
}

void csandbox_files_start(struct csandbox_init *init, const struct csandbox_request *request) {
    struct csandbox_failure failure;
    CSANDBOX_AUTO_FD int client = -1;
    struct csandbox_helper *helper = free_helper(init);
    int result;
    if (helper == NULL)
        result = csandbox_fail(&failure, "files", EBUSY, "%d transfers are under way already",
                               CSANDBOX_HELPERS_MAX);
    else
        result = start_helper(init, request, helper, &client, &failure);
    if (result != 0) csandbox_reply_failed(init, request->header.request, &failure);
    else csandbox_reply_ok(init, request->header.request, csandbox_steal_fd(&client));
}

static void read_outcome(int fd, struct outcome *outcome) {
    ssize_t length;
    do length = read(fd, outcome, sizeof *outcome);
    while (length < 0 && errno == EINTR);
    outcome->detail[sizeof outcome->detail - 1] = '\0';
    if (length == (ssize_t)sizeof *outcome) return;
    outcome->error = ECANCELED;
    (void)snprintf(outcome->detail, sizeof outcome->detail, "the transfer was interrupted");
}

bool csandbox_files_reaped(struct csandbox_init *init, pid_t pid, int status) {
    struct csandbox_helper *helper = NULL;
    for (int i = 0; i < CSANDBOX_HELPERS_MAX; i++)
        if (init->helpers[i].pid == pid) helper = &init->helpers[i];
    if (helper == NULL) return false;
    struct outcome outcome = {0};
    read_outcome(helper->report, &outcome);
    if (outcome.error == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
        outcome.error = ECANCELED;
    csandbox_close_fd(&helper->report);
    helper->pid = 0;
    // whoever asked is gone
    if (init->link.fd < 0 || helper->link != init->link.serial) return true;
    struct csandbox_writer *w = &init->frame;
    csandbox_frame_begin(w, CSANDBOX_INIT_FILES_DONE, helper->request, 0);
    csandbox_frame_u64(w, CSANDBOX_TAG_STATUS, outcome.error == 0 ? 0 : 1);
    if (outcome.error != 0) {
        csandbox_frame_u64(w, CSANDBOX_TAG_ERRNO, (uint64_t)outcome.error);
        csandbox_frame_text(w, CSANDBOX_TAG_DETAIL, outcome.detail);
    }
    csandbox_reply(init, -1);
    return true;
}
