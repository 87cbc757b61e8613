// Packets between keeper and launcher.
#include "launcher.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int csandbox_notice_send(int fd, const struct csandbox_notice *notice) {
    const ssize_t sent = send(fd, notice, sizeof *notice, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent == (ssize_t)sizeof *notice ? 0 : -errno;
}

void csandbox_notice_fail(int fd, const struct csandbox_failure *failure) {
    struct csandbox_notice notice = {.kind = CSANDBOX_NOTICE_FAILED};
    notice.report.error = failure->error;
    (void)snprintf(notice.report.stage, sizeof notice.report.stage, "%s", failure->stage);
    (void)snprintf(notice.report.detail, sizeof notice.report.detail, "%s", failure->detail);
    (void)csandbox_notice_send(fd, &notice);
}

void csandbox_failure_from_report(struct csandbox_failure *failure, char stage[64],
                                  const struct csandbox_report *report) {
    (void)snprintf(stage, 64, "%.*s", (int)sizeof report->stage - 1, report->stage);
    failure->stage = stage;
    failure->error = report->error > 0 ? report->error : EIO;
    (void)snprintf(failure->detail, sizeof failure->detail, "%.*s", (int)sizeof report->detail - 1,
                   report->detail);
}
