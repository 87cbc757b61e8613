// What agents write: read into the log as far as it has room, until every writer is gone.
#include "init.h"

#include <fcntl.h>
#include <sys/ioctl.h>

static bool is_stdout(const struct csandbox_output *output) {
    return output->type == CSANDBOX_RECORD_STDOUT;
}

static void log_end(struct csandbox_init *init, struct csandbox_output *output) {
    const uint16_t type =
        is_stdout(output) ? CSANDBOX_RECORD_STDOUT_EOF : CSANDBOX_RECORD_STDERR_EOF;
    csandbox_log_put(&init->log, type, output->generation, NULL, 0);
    csandbox_close_fd(&output->fd);
    output->fd = -1;
    output->owed = 0;
}

// All places taken: what the oldest agent's left-over processes still say is no longer heard.
static void close_oldest(struct csandbox_init *init) {
    uint64_t oldest = UINT64_MAX;
    for (int i = 0; i < CSANDBOX_OUTPUTS_MAX; i++)
        if (init->outputs[i].fd >= 0 && init->outputs[i].generation < oldest)
            oldest = init->outputs[i].generation;
    for (int i = 0; i < CSANDBOX_OUTPUTS_MAX; i++)
        if (init->outputs[i].fd >= 0 && init->outputs[i].generation == oldest)
            log_end(init, &init->outputs[i]);
}

static struct csandbox_output *free_place(struct csandbox_init *init) {
    for (int i = 0; i < CSANDBOX_OUTPUTS_MAX; i++)
        if (init->outputs[i].fd < 0) return &init->outputs[i];
    return NULL;
}

struct csandbox_output *csandbox_output_add(struct csandbox_init *init, int fd, uint16_t type) {
    struct csandbox_output *output = free_place(init);
    if (output == NULL) {
        close_oldest(init);
        output = free_place(init);
    }
    if (output == NULL) return NULL;
    *output = (struct csandbox_output){
        .fd = fd, .type = type, .generation = init->agent.generation};
    return output;
}

// Not before the record of the start, not into the reserve.
bool csandbox_output_readable(const struct csandbox_init *init,
                              const struct csandbox_output *output) {
    if (output->fd < 0) return false;
    if (init->agent.state == CSANDBOX_AGENT_STARTING &&
        output->generation == init->agent.generation)
        return false;
    return csandbox_ring_room(&init->log) >=
           CSANDBOX_RING_RESERVE + sizeof(struct csandbox_record) + CSANDBOX_READ_MIN;
}

// One record, read into its place behind a header that is written afterwards.
void csandbox_output_read(struct csandbox_init *init, struct csandbox_output *output) {
    struct csandbox_ring *log = &init->log;
    struct csandbox_record record = {.type = output->type, .generation = output->generation};
    size_t length = csandbox_ring_room(log) - CSANDBOX_RING_RESERVE - sizeof record;
    if (length > CSANDBOX_READ_MAX) length = CSANDBOX_READ_MAX;
    struct iovec parts[2];
    const int count = csandbox_ring_parts(log, log->end + sizeof record, length, parts);
    const ssize_t got = readv(output->fd, parts, count);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        log_end(init, output);
        return;
    }
    record.length = (uint32_t)got;
    csandbox_ring_put(log, &record, sizeof record);
    log->end += (uint64_t)got;
    output->owed -= output->owed < (uint64_t)got ? output->owed : (uint64_t)got;
}

void csandbox_output_drop(struct csandbox_init *init, uint64_t generation) {
    for (int i = 0; i < CSANDBOX_OUTPUTS_MAX; i++) {
        struct csandbox_output *output = &init->outputs[i];
        if (output->fd < 0 || output->generation != generation) continue;
        csandbox_close_fd(&output->fd);
        output->fd = -1;
        output->owed = 0;
    }
}

void csandbox_output_measure(struct csandbox_init *init) {
    for (int i = 0; i < CSANDBOX_OUTPUTS_MAX; i++) {
        struct csandbox_output *output = &init->outputs[i];
        int waiting = 0;
        if (output->fd < 0 || output->generation != init->agent.generation) continue;
        if (ioctl(output->fd, FIONREAD, &waiting) == 0 && waiting > 0)
            output->owed = (uint64_t)waiting;
    }
}

bool csandbox_output_drained(const struct csandbox_init *init) {
    for (int i = 0; i < CSANDBOX_OUTPUTS_MAX; i++)
        if (init->outputs[i].fd >= 0 && init->outputs[i].owed > 0) return false;
    return true;
}
