// Init's control socket: who is served, what waits to be sent, in which order.
#include "init.h"

#include <string.h>
#include <sys/socket.h>
#include <time.h>

uint64_t csandbox_monotonic_seconds(void) {
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec;
}

static void drop_replies(struct csandbox_link *link) {
    for (; link->reply_count > 0; link->reply_count--) {
        csandbox_close_fd(&link->replies[link->first_reply].passed_fd);
        link->first_reply = (link->first_reply + 1) % CSANDBOX_REPLIES_MAX;
    }
}

void csandbox_link_close(struct csandbox_init *init) {
    if (init->link.fd < 0) return;
    csandbox_close_fd(&init->link.fd);
    init->link.fd = -1;
    drop_replies(&init->link);
    init->lonely_since = csandbox_monotonic_seconds();
}

// Seen from inside, the supervisor's process has no number: a peer that has one belongs to the
// session.
static bool is_outsider(int fd) {
    pid_t pid = -1;
    uid_t uid = 0;
    gid_t gid = 0;
    return csandbox_peer(fd, &pid, &uid, &gid) == 0 && pid == 0;
}

void csandbox_link_accept(struct csandbox_init *init) {
    int *pending = init->link.pending;
    for (;;) {
        int fd = accept4(init->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
        if (fd < 0) return;
        if (!is_outsider(fd)) {
            close(fd);
            continue;
        }
        // The oldest that never said hello makes room.
        if (pending[CSANDBOX_PENDING_MAX - 1] >= 0) {
            close(pending[0]);
            memmove(pending, pending + 1, (CSANDBOX_PENDING_MAX - 1) * sizeof *pending);
            pending[CSANDBOX_PENDING_MAX - 1] = -1;
        }
        for (int i = 0; i < CSANDBOX_PENDING_MAX; i++)
            if (pending[i] < 0) {
                pending[i] = fd;
                break;
            }
    }
}

static void forget_pending(struct csandbox_init *init, int index) {
    int *pending = init->link.pending;
    memmove(pending + index, pending + index + 1,
            (size_t)(CSANDBOX_PENDING_MAX - 1 - index) * sizeof *pending);
    pending[CSANDBOX_PENDING_MAX - 1] = -1;
}

static bool equal_nonce(const uint8_t *a, const uint8_t *b) {
    uint8_t difference = 0;
    for (size_t i = 0; i < CSANDBOX_NONCE_SIZE; i++) difference |= a[i] ^ b[i];
    return difference == 0;
}

static void reply_state(struct csandbox_init *init, uint32_t request) {
    struct csandbox_writer *w = &init->frame;
    csandbox_frame_begin(w, CSANDBOX_INIT_STATE, request, 0);
    csandbox_frame_field(w, CSANDBOX_TAG_NONCE, init->nonce, sizeof init->nonce);
    csandbox_frame_u64(w, CSANDBOX_TAG_GENERATION, init->agent.generation);
    // Until the EXITED record is in the log: what is said here and the log are one story.
    csandbox_frame_u64(w, CSANDBOX_TAG_RUNNING, init->agent.state != CSANDBOX_AGENT_NONE);
    csandbox_frame_u64(w, CSANDBOX_TAG_LOG_START, init->log.start);
    csandbox_frame_u64(w, CSANDBOX_TAG_LOG_END, init->log.end);
    csandbox_frame_u64(w, CSANDBOX_TAG_INPUT_ACCEPTED, init->input.ring.start);
    csandbox_frame_u64(w, CSANDBOX_TAG_MEASURES, init->protection.measures);
    csandbox_frame_u64(w, CSANDBOX_TAG_LANDLOCK, init->protection.landlock);
    csandbox_reply(init, -1);
}

// The first packet of a connection. A correct one makes it the served connection.
void csandbox_link_hello(struct csandbox_init *init, int index) {
    int fd = init->link.pending[index], passed_fd = -1;
    struct csandbox_header header;
    struct csandbox_view payload, nonce;
    const ssize_t length = csandbox_receive(fd, init->received, sizeof init->received, &passed_fd);
    csandbox_close_fd(&passed_fd);
    if (length == -EAGAIN) return;
    forget_pending(init, index);
    if (length <= 0 ||
        csandbox_parse_frame(init->received, (size_t)length, &header, &payload) != 0 ||
        header.type != CSANDBOX_INIT_HELLO ||
        csandbox_find_field(payload, CSANDBOX_TAG_NONCE, &nonce) != 1 ||
        nonce.length != CSANDBOX_NONCE_SIZE || !equal_nonce(nonce.bytes, init->nonce)) {
        close(fd);
        return;
    }
    csandbox_link_close(init);
    init->link.fd = fd;
    init->link.serial++;
    init->link.blocked = false;
    init->link.log_sent = init->log.start;
    init->input.reported = init->input.ring.start;
    csandbox_network_reset(&init->network);
    reply_state(init, header.request);
}

void csandbox_link_receive(struct csandbox_init *init) {
    const uint64_t serial = init->link.serial;
    for (int i = 0; i < CSANDBOX_FRAMES_PER_TURN; i++) {
        struct csandbox_request request;
        int passed_fd = -1;
        const ssize_t length =
            csandbox_receive(init->link.fd, init->received, sizeof init->received, &passed_fd);
        csandbox_close_fd(&passed_fd); // nothing that is sent to init carries one
        if (length == -EAGAIN) return;
        if (length <= 0 || csandbox_parse_frame(init->received, (size_t)length, &request.header,
                                                &request.payload) != 0) {
            csandbox_link_close(init);
            return;
        }
        csandbox_handle_request(init, &request);
        if (init->link.fd < 0 || init->link.serial != serial || init->leave) return;
    }
}

void csandbox_reply(struct csandbox_init *init, int passed_fd) {
    struct csandbox_link *link = &init->link;
    struct csandbox_writer *w = &init->frame;
    if (link->fd < 0 || w->overflow || w->length > CSANDBOX_REPLY_SIZE ||
        link->reply_count == CSANDBOX_REPLIES_MAX) {
        csandbox_close_fd(&passed_fd);
        csandbox_link_close(init); // it asks without end and reads nothing
        return;
    }
    struct csandbox_reply *reply =
        &link->replies[(link->first_reply + link->reply_count) % CSANDBOX_REPLIES_MAX];
    const uint32_t payload = (uint32_t)(w->length - sizeof(struct csandbox_header));
    memcpy(w->bytes + offsetof(struct csandbox_header, length), &payload, sizeof payload);
    memcpy(reply->bytes, w->bytes, w->length);
    reply->length = w->length;
    reply->passed_fd = passed_fd;
    link->reply_count++;
}

void csandbox_reply_ok(struct csandbox_init *init, uint32_t request, int passed_fd) {
    csandbox_frame_begin(&init->frame, CSANDBOX_OK, request, 0);
    csandbox_reply(init, passed_fd);
}

void csandbox_reply_failed(struct csandbox_init *init, uint32_t request,
                           const struct csandbox_failure *failure) {
    csandbox_frame_failure(&init->frame, request, failure);
    csandbox_reply(init, -1);
}

// True when the packet is on its way; otherwise the link is blocked or closed.
static bool took(struct csandbox_init *init, ssize_t sent) {
    if (sent >= 0) return true;
    if (sent == -EAGAIN || sent == -ENOBUFS || sent == -ENOMEM)
        init->link.blocked = true;
    else
        csandbox_link_close(init);
    return false;
}

bool csandbox_link_send(struct csandbox_init *init) {
    return took(init, csandbox_frame_send(&init->frame, init->link.fd, -1));
}

static bool flush_replies(struct csandbox_init *init) {
    struct csandbox_link *link = &init->link;
    while (link->reply_count > 0) {
        struct csandbox_reply *reply = &link->replies[link->first_reply];
        if (!took(init, csandbox_send(link->fd, reply->bytes, reply->length, reply->passed_fd)))
            return false;
        csandbox_close_fd(&reply->passed_fd);
        link->first_reply = (link->first_reply + 1) % CSANDBOX_REPLIES_MAX;
        link->reply_count--;
    }
    return true;
}

static bool flush_accepted(struct csandbox_init *init) {
    const uint64_t accepted = init->input.ring.start;
    if (init->input.reported == accepted) return true;
    csandbox_frame_begin(&init->frame, CSANDBOX_INIT_INPUT_ACCEPTED, 0, accepted);
    if (!csandbox_link_send(init)) return false;
    init->input.reported = accepted;
    return true;
}

// Whole records, as many as a packet holds, straight from the ring.
static bool flush_log(struct csandbox_init *init) {
    struct csandbox_link *link = &init->link;
    if (link->log_sent < init->log.start) link->log_sent = init->log.start;
    while (link->log_sent < init->log.end) {
        struct csandbox_header header = {
            .magic = CSANDBOX_WIRE_MAGIC,
            .version = CSANDBOX_WIRE_VERSION,
            .type = CSANDBOX_INIT_LOG,
            .offset = link->log_sent,
        };
        const size_t length =
            csandbox_log_whole(&init->log, link->log_sent, CSANDBOX_FRAME_MAX - sizeof header);
        header.length = (uint32_t)length;
        struct iovec parts[3] = {{.iov_base = &header, .iov_len = sizeof header}};
        const int count = csandbox_ring_parts(&init->log, link->log_sent, length, parts + 1);
        const struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count + 1};
        ssize_t sent;
        do sent = sendmsg(link->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        while (sent < 0 && errno == EINTR);
        if (!took(init, sent >= 0 ? sent : -errno)) return false;
        link->log_sent += length;
    }
    return true;
}

void csandbox_link_flush(struct csandbox_init *init) {
    if (init->link.fd < 0 || init->link.blocked) return;
    (void)(flush_replies(init) && flush_accepted(init) && csandbox_network_flush(init) &&
           flush_log(init));
}
