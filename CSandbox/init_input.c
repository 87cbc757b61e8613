// The agent's standard input: bytes with absolute offsets, each written exactly once.
#include "init.h"

#include <string.h>

// Bytes that no agent will read count as accepted: the supervisor must not wait for them.
static void forget(struct csandbox_input *input) { input->ring.start = input->ring.end; }

static void close_stdin(struct csandbox_input *input) {
    csandbox_close_fd(&input->fd);
    input->fd = -1;
    input->close_at = UINT64_MAX;
    forget(input);
}

void csandbox_input_take(struct csandbox_init *init, uint64_t offset, struct csandbox_view bytes) {
    struct csandbox_input *input = &init->input;
    struct csandbox_ring *ring = &input->ring;
    struct csandbox_failure failure;
    if (offset > ring->end) {
        (void)csandbox_fail(&failure, "input", ERANGE, "a gap: expected offset %llu, got %llu",
                            (unsigned long long)ring->end, (unsigned long long)offset);
        csandbox_reply_failed(init, 0, &failure);
        return;
    }
    // More than the window beyond what is written: not a peer that keeps the rules.
    if (bytes.length > ring->start + ring->size - offset) {
        csandbox_link_close(init);
        return;
    }
    const uint64_t known = ring->end - offset; // bytes that came before, on an earlier connection
    if (bytes.length <= known) return;
    csandbox_ring_put(ring, bytes.bytes + known, bytes.length - (size_t)known);
    if (input->fd < 0) forget(input);
    else csandbox_input_write(init);
}

void csandbox_input_close_at(struct csandbox_init *init, uint64_t offset) {
    if (init->input.fd < 0) return;
    init->input.close_at = offset;
    csandbox_input_write(init);
}

// Writes what the pipe takes, now that the agent runs.
void csandbox_input_write(struct csandbox_init *init) {
    struct csandbox_input *input = &init->input;
    struct csandbox_ring *ring = &input->ring;
    if (input->fd < 0 || init->agent.state != CSANDBOX_AGENT_RUNNING) return;
    const uint64_t end = input->close_at < ring->end ? input->close_at : ring->end;
    while (ring->start < end) {
        struct iovec parts[2];
        const int count = csandbox_ring_parts(ring, ring->start, (size_t)(end - ring->start),
                                              parts);
        const ssize_t written = writev(input->fd, parts, count);
        if (written > 0) {
            ring->start += (uint64_t)written;
        } else if (written < 0 && errno == EAGAIN) {
            return;
        } else if (written == 0 || errno != EINTR) {
            close_stdin(input); // EPIPE: the agent closed its end
            return;
        }
    }
    if (ring->start >= input->close_at) close_stdin(input);
}

void csandbox_input_discard(struct csandbox_init *init) { close_stdin(&init->input); }
