// Between fork and exec of an agent: everything is taken away, then the program runs.
#include "init.h"
#include "weaken.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define REPORT_FD 3
#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"
// A field costs at least its header, so no frame holds more of them; each gets a terminating zero.
#define FIELDS_MAX (CSANDBOX_FRAME_MAX / sizeof(struct csandbox_field))
#define OOM_STEP 100 // so that the kernel picks agents before their init

// Only the child writes here; in init these pages do not exist.
static char text[CSANDBOX_FRAME_MAX + FIELDS_MAX];
static char *arguments[FIELDS_MAX + 1];
static char *environment[FIELDS_MAX + 1];
static char candidate[4096 + 256];

static void report(int error, const char *stage, const char *detail) {
    struct csandbox_start_report message;
    memset(&message, 0, sizeof message);
    message.error = error;
    (void)snprintf(message.stage, sizeof message.stage, "%s", stage);
    (void)snprintf(message.detail, sizeof message.detail, "%s", detail);
    ssize_t written;
    do written = write(REPORT_FD, &message, sizeof message);
    while (written < 0 && errno == EINTR);
}

static _Noreturn void fail(int error, const char *stage, const char *detail) {
    report(error > 0 ? error : EIO, stage, detail);
    _exit(127);
}

// With raw calls: glibc keeps two numbers to itself, and posix_spawn makes the keeper ignore them.
void csandbox_reset_signals(void) {
    // the kernel's sigaction: SIG_DFL, no flags, no restorer, empty mask
    const uint64_t usual[4] = {0};
    const uint64_t none = 0;
    for (int number = 1; number < NSIG; number++)
        (void)syscall(SYS_rt_sigaction, number, usual, NULL, sizeof none);
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
}

// The fields were checked by init. Missing CWD: the workspace.
static const char *unpack(const struct csandbox_request *request) {
    size_t cursor = 0, used = 0, argument_count = 0, environment_count = 0;
    uint16_t tag = 0;
    struct csandbox_view value;
    const char *directory = "/workspace";
    while (csandbox_next_field(request->payload, &cursor, &tag, &value) == 1) {
        char *const copy = text + used;
        if (tag == CSANDBOX_TAG_ARG) arguments[argument_count++] = copy;
        else if (tag == CSANDBOX_TAG_ENV) environment[environment_count++] = copy;
        else if (tag == CSANDBOX_TAG_CWD) directory = copy;
        else continue;
        memcpy(copy, value.bytes, value.length);
        used += value.length + 1; // the array is zero
    }
    return directory;
}

// 0, 1, 2 and the report pipe; everything else is closed, close-on-exec or not.
static void place_descriptors(const int pipes[4]) {
    int from[4];
    for (int i = 0; i < 4; i++) { // out of the way of the places
        from[i] = fcntl(pipes[i], F_DUPFD_CLOEXEC, REPORT_FD + 1);
        if (from[i] < 0) _exit(127); // told as "killed before the program ran"
    }
    if (dup2(from[0], 0) < 0 || dup2(from[1], 1) < 0 || dup2(from[2], 2) < 0 ||
        dup3(from[3], REPORT_FD, O_CLOEXEC) < 0)
        _exit(127);
    if (WEAKENED("close on exec"))
        for (int fd = REPORT_FD + 1; fd < 1024; fd++) (void)fcntl(fd, F_SETFD, 0);
    if (!WEAKENED("close range") && syscall(SYS_close_range, REPORT_FD + 1, ~0U, 0) != 0)
        fail(errno, "close_range", "");
}

// Raising needs no privilege. While still uid 0: afterwards the file belongs to somebody else.
static void raise_oom_score(void) {
    char score[16];
    CSANDBOX_AUTO_FD int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (fd < 0) fail(errno, "oom score", "/proc/self/oom_score_adj");
    const ssize_t length = read(fd, score, sizeof score - 1);
    if (length <= 0) fail(errno, "oom score", "read");
    score[length] = '\0';
    long value = strtol(score, NULL, 10) + OOM_STEP;
    if (value > 1000) value = 1000;
    const int size = snprintf(score, sizeof score, "%ld", value);
    if (pwrite(fd, score, (size_t)size, 0) != size) fail(errno, "oom score", "write");
}

// With the agent's rights, and never to a place that has no path (CVE-2024-21626).
static void enter(const char *directory) {
    char where[4096];
    if (chdir(directory) != 0) fail(errno, "working directory", directory);
    if (syscall(SYS_getcwd, where, sizeof where) < 0) fail(errno, "working directory", directory);
    if (where[0] != '/') fail(ENOENT, "working directory", directory);
}

// "No such file" is also what a script gets whose interpreter is missing.
static _Noreturn void fail_exec(int error, const char *path) {
    char detail[256];
    const bool interpreter = error == ENOENT && access(path, F_OK) == 0;
    (void)snprintf(detail, sizeof detail, "%.200s%s", path,
                   interpreter ? ": its interpreter does not exist" : "");
    fail(error, "exec", detail);
}

static const char *search_path(void) {
    for (char **entry = environment; *entry != NULL; entry++)
        if (strncmp(*entry, "PATH=", 5) == 0) return *entry + 5;
    return DEFAULT_PATH;
}

// As execvp does it, but without a shell for files that are no programs, and with an exact answer.
static _Noreturn void run(void) {
    const char *name = arguments[0];
    int error = ENOENT;
    if (name[0] == '\0') fail(ENOENT, "exec", "the program's name is empty");
    if (strchr(name, '/') != NULL) {
        execve(name, arguments, environment);
        fail_exec(errno, name);
    }
    for (const char *part = search_path(); part != NULL;) {
        const char *end = strchrnul(part, ':');
        const int length = (int)(end - part);
        const int size = snprintf(candidate, sizeof candidate, "%.*s/%s", length == 0 ? 1 : length,
                                  length == 0 ? "." : part, name);
        part = *end == ':' ? end + 1 : NULL;
        if (size < 0 || (size_t)size >= sizeof candidate) continue;
        execve(candidate, arguments, environment);
        if (errno == EACCES) error = EACCES; // a later directory may still have it
        else if (errno != ENOENT && errno != ENOTDIR) fail_exec(errno, candidate);
        else if (errno == ENOENT && access(candidate, F_OK) == 0) fail_exec(ENOENT, candidate);
    }
    fail_exec(error, name);
}

_Noreturn void csandbox_agent_child(const struct csandbox_request *request,
                                    struct csandbox_program filter, const int pipes[4],
                                    int group) {
    struct csandbox_failure failure;
    // First of all: whatever is used from here on is the agent's.
    const int refused = group >= 0 && write(group, "0", 1) != 1 ? errno : 0;
    if (setsid() < 0) _exit(127);
    place_descriptors(pipes);
    if (refused != 0) fail(refused, "control group", "enter the agent's group");
    const char *directory = unpack(request);
    raise_oom_score();
    if (csandbox_become_agent(&failure) != 0) fail(failure.error, failure.stage, failure.detail);
    umask(022);
    enter(directory);
    csandbox_reset_signals();
    if (csandbox_load_filter(filter, &failure) != 0)
        fail(failure.error, failure.stage, failure.detail);
    report(0, "", "");
    run();
}
