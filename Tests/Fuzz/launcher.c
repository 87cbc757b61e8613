// Fuzzes what a supervisor's packets do to the launcher: the framing, the queues, the fields of
// each request and the paths of mounts. What would act on the machine is replaced here.
//
// Input: packets, each with 1 byte for the type, 1 zero byte, 2 for the length of the payload, then
// the payload.
#include "serve.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static struct csandbox_server server;
static int peer = -1;

static void require(bool condition) {
    if (!condition) abort();
}

// --- in the place of launcher.c, launcher_spawn.c, launcher_jobs.c and launcher_sessions.c ------

int csandbox_server_watch(struct csandbox_server *s, int fd, uint32_t events,
                          enum csandbox_event_kind kind, uint32_t index) {
    (void)s, (void)fd, (void)events, (void)kind, (void)index;
    return 0;
}

void csandbox_server_forget(struct csandbox_server *s, int *fd) {
    (void)s;
    csandbox_close_fd(fd);
    *fd = -1;
}

// Slots come and go with every packet.
static unsigned turn;

bool csandbox_spawn_has_slot(const struct csandbox_server *s) {
    (void)s;
    return turn % 3 == 0;
}

bool csandbox_job_has_slot(const struct csandbox_server *s, uint16_t type) {
    (void)s;
    return (turn + type) % 3 == 0;
}

static void read_everything(struct csandbox_view payload) {
    struct csandbox_failure failure;
    char session[CSANDBOX_SESSION_LENGTH + 1];
    uint64_t number = 0;
    if (csandbox_request_session(payload, session, &failure) == 0)
        require(strlen(session) == CSANDBOX_SESSION_LENGTH && strchr(session, '/') == NULL);
    if (csandbox_request_block(&server, payload, &number, &failure) == 0)
        require(number < server.blocks);
    for (uint16_t tag = 0; tag < 44; tag++) (void)csandbox_find_u64(payload, tag, &number);
    struct csandbox_limits limits;
    if (csandbox_limits_read(payload, &limits, &failure) == 1)
        require(limits.version == CSANDBOX_LIMITS_VERSION && limits.pids > 0 && limits.memory > 0);
}

// Workspace and home are not there, so the other trees are opened by themselves.
int csandbox_fuzz_extra(struct csandbox_view value, struct csandbox_failure *_Nonnull failure);

void csandbox_spawn_begin(struct csandbox_server *s, struct csandbox_asker asker,
                          struct csandbox_view payload) {
    struct csandbox_failure failure;
    size_t cursor = 0;
    uint16_t tag;
    struct csandbox_view value;
    read_everything(payload);
    while (csandbox_next_field(payload, &cursor, &tag, &value) == 1)
        if (tag == CSANDBOX_TAG_MOUNT && csandbox_fuzz_extra(value, &failure) < 0)
            require(failure.error > 0 && failure.detail[0] != '\0');
    csandbox_answer_ok(s, asker);
}

void csandbox_job_begin(struct csandbox_server *s, uint16_t type, struct csandbox_asker asker,
                        struct csandbox_view payload) {
    (void)type;
    read_everything(payload);
    csandbox_answer_ok(s, asker);
}

void csandbox_kill_begin(struct csandbox_server *s, struct csandbox_asker asker,
                         struct csandbox_view payload) {
    read_everything(payload);
    csandbox_answer_ok(s, asker);
}

bool csandbox_session_valid(const char *text, size_t length) {
    if (length != CSANDBOX_SESSION_LENGTH) return false;
    for (size_t i = 0; i < length; i++)
        if (strchr("0123456789abcdef", text[i]) == NULL || text[i] == '\0') return false;
    return true;
}

int __wrap_csandbox_notice_send(int fd, const struct csandbox_notice *notice);
int __wrap_csandbox_notice_send(int fd, const struct csandbox_notice *notice) {
    (void)fd, (void)notice;
    return 0;
}

// --- the input -----------------------------------------------------------------------------------

static void connect_one(void) {
    int ends[2];
    if (server.connections[0].fd >= 0) return;
    if (peer >= 0) close(peer);
    require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    server.connections[0] =
        (struct csandbox_connection){.fd = ends[0], .id = ++server.next_connection};
    server.listening = true;
    peer = ends[1];
}

static void drain(void) {
    static uint8_t bytes[CSANDBOX_FRAME_MAX];
    while (recv(peer, bytes, sizeof bytes, 0) > 0) continue;
}

static void start_over(void) {
    static bool begun;
    if (!begun) {
        for (unsigned i = 0; i < CSANDBOX_CONNECTIONS_MAX; i++) server.connections[i].fd = -1;
        server.sessions_fd = server.cgroup_fd = -1;
        server.cgroup_note = "";
        server.state_path = "/var/lib/superserve";
        server.runtime_path = "/run/superserve";
        server.blocks = 1000;
        begun = true;
    }
    // What waited in the last round is let go of.
    for (; server.queued > 0; turn++) csandbox_request_pump(&server);
    turn = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t packet[CSANDBOX_FRAME_MAX];
    start_over();
    while (size >= 4) {
        uint16_t length;
        memcpy(&length, data + 2, sizeof length);
        const uint8_t type = data[0];
        data += 4;
        size -= 4;
        if (length > size) length = (uint16_t)size;
        if (length > CSANDBOX_CHUNK_MAX) length = CSANDBOX_CHUNK_MAX;
        const struct csandbox_header header = {
            .magic = CSANDBOX_WIRE_MAGIC,
            .version = CSANDBOX_WIRE_VERSION,
            .type = type % 10,
            .length = length + (type == 255),
            .request = type,
        };
        memcpy(packet, &header, sizeof header);
        memcpy(packet + sizeof header, data, length);
        data += length;
        size -= length;
        connect_one();
        require(send(peer, packet, sizeof header + length, MSG_NOSIGNAL) >= 0);
        csandbox_link_event(&server, 0, EPOLLIN);
        turn++;
        csandbox_request_pump(&server);
        require(server.queued <= CSANDBOX_QUEUE_MAX);
        require(server.queued_bytes <= CSANDBOX_QUEUE_BYTES_MAX);
        if (server.connections[0].fd >= 0) drain();
    }
    return 0;
}
