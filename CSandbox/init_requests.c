// What the supervisor asks of init, one packet each.
#include "init.h"

static void signal_processes(struct csandbox_init *init, const struct csandbox_request *request) {
    struct csandbox_failure failure;
    if (csandbox_signal_send(init, request, &failure) == 0)
        csandbox_reply_ok(init, request->header.request, -1);
    else
        csandbox_reply_failed(init, request->header.request, &failure);
}

void csandbox_handle_request(struct csandbox_init *init, const struct csandbox_request *request) {
    struct csandbox_failure failure;
    switch (request->header.type) {
    case CSANDBOX_INIT_START:
        csandbox_agent_start(init, request);
        return;
    case CSANDBOX_INIT_INPUT:
        csandbox_input_take(init, request->header.offset, request->payload);
        return;
    case CSANDBOX_INIT_INPUT_EOF:
        csandbox_input_close_at(init, request->header.offset);
        return;
    case CSANDBOX_INIT_ACK:
        csandbox_log_acknowledge(&init->log, request->header.offset);
        return;
    case CSANDBOX_INIT_SIGNAL:
        signal_processes(init, request);
        return;
    case CSANDBOX_INIT_FILES_GET:
    case CSANDBOX_INIT_FILES_PUT:
        csandbox_files_start(init, request);
        return;
    case CSANDBOX_INIT_ADMIT:
        csandbox_network_admit(&init->network, request->header.offset);
        return;
    case CSANDBOX_INIT_ANSWER:
        csandbox_network_answer(&init->network, request->header.offset, request->payload);
        return;
    case CSANDBOX_INIT_SHUTDOWN:
        init->leave = true;
        csandbox_reply_ok(init, request->header.request, -1);
        return;
    default:
        (void)csandbox_fail(&failure, "request", ENOSYS, "init knows no request %u",
                            request->header.type);
        csandbox_reply_failed(init, request->header.request, &failure);
    }
}
