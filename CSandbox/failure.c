// How a failed step is described, and how a spawned sandbox tells its launcher.
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int csandbox_fail(struct csandbox_failure *failure, const char *stage, int error,
                  const char *format, ...) {
    va_list arguments;
    failure->stage = stage;
    failure->error = error > 0 ? error : EIO; // a failure must never read as success
    va_start(arguments, format);
    (void)vsnprintf(failure->detail, sizeof failure->detail, format, arguments);
    va_end(arguments);
    return -failure->error;
}

// Only copies, so that the child of clone3 may use it.
static void copy_text(char *to, size_t capacity, const char *from) {
    size_t length = strnlen(from, capacity - 1);
    memcpy(to, from, length);
    to[length] = '\0';
}

static bool send_report(int fd, const struct csandbox_report *report) {
    size_t done = 0;
    while (done < sizeof *report) {
        const ssize_t sent =
            send(fd, (const char *)report + done, sizeof *report - done, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return false; // the launcher is gone: nobody to tell
        done += (size_t)sent;
    }
    return true;
}

bool csandbox_report_send(int fd, const struct csandbox_failure *failure) {
    struct csandbox_report report;
    memset(&report, 0, sizeof report);
    if (failure != NULL) {
        report.error = failure->error > 0 ? failure->error : EIO;
        copy_text(report.stage, sizeof report.stage, failure->stage);
        copy_text(report.detail, sizeof report.detail, failure->detail);
    }
    return send_report(fd, &report);
}

bool csandbox_report_ready(int fd, const struct csandbox_protection *protection) {
    struct csandbox_report report;
    memset(&report, 0, sizeof report);
    report.protection = *protection;
    return send_report(fd, &report);
}
