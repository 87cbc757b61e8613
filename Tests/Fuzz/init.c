// Fuzzes what a supervisor's packets do to a session's init: every request, in any order, with a
// log and an input that are in use, and connections and name queries that wait. Nothing is forked,
// signalled or executed.
//
// Input: packets, each with 1 byte for the type, 1 for the kind of offset, 2 for the length of the
// payload, 4 for the offset, then the payload.
#include "init.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define LOG_SIZE (256u << 10)
#define RECORD_SIZE 700

static struct csandbox_init init;
static int peer = -1;

// Of a session with a network: what init has, and who asks there. A Unix socket stands for the
// listeners, whose kind makes no difference to init.
static int listener = -1, names = -1, asker = -1;
static struct sockaddr_in names_address;
static struct sockaddr_un listener_address;

// Linked in the place of the real calls.
pid_t __wrap_fork(void);
pid_t __wrap_fork(void) {
    errno = EAGAIN;
    return -1;
}
int __wrap_kill(pid_t pid, int number);
int __wrap_kill(pid_t pid, int number) {
    (void)pid;
    (void)number;
    errno = ESRCH;
    return -1;
}

static void require(bool condition) {
    if (!condition) abort();
}

static void connect_link(void) {
    int ends[2];
    if (init.link.fd >= 0) return;
    if (peer >= 0) close(peer);
    require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    init.link.fd = ends[0];
    init.link.serial++;
    init.link.blocked = false;
    init.link.log_sent = init.log.start;
    csandbox_network_reset(&init.network);
    peer = ends[1];
}

static void drain(void) {
    static uint8_t bytes[CSANDBOX_FRAME_MAX];
    while (recv(peer, bytes, sizeof bytes, 0) > 0) continue;
    init.link.blocked = false;
}

static void open_network(void) {
    socklen_t size = sizeof names_address, length = sizeof listener_address;
    const struct sockaddr_in own = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    names = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    asker = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    require(bind(names, (const struct sockaddr *)&own, sizeof own) == 0);
    require(bind(asker, (const struct sockaddr *)&own, sizeof own) == 0);
    require(getsockname(names, (struct sockaddr *)&names_address, &size) == 0);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const sa_family_t any = AF_UNIX; // the kernel chooses a name (unix(7))
    require(bind(listener, (const struct sockaddr *)&any, sizeof any) == 0);
    require(getsockname(listener, (struct sockaddr *)&listener_address, &length) == 0);
    require(listen(listener, 4) == 0);
}

// A datagram and a connection arrive, as often as there is room for them.
static void arrive(uint32_t seed) {
    static const uint8_t datagram[CSANDBOX_DATAGRAM_MAX + 64];
    struct pollfd slots[2] = {{.revents = POLLIN}, {.revents = POLLIN}};
    socklen_t length = sizeof(sa_family_t) + 6; // the name that the kernel chose has five digits
    const int client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    (void)sendto(asker, datagram, seed % sizeof datagram, 0,
                 (const struct sockaddr *)&names_address, sizeof names_address);
    (void)connect(client, (const struct sockaddr *)&listener_address, length);
    close(client);
    init.network.unwatched = seed % 2 == 0;
    csandbox_network_serve(&init, slots);
}

static void empty(int fd) {
    uint8_t byte;
    while (recv(fd, &byte, 1, 0) >= 0) continue;
}

static void start_over(void) {
    struct csandbox_ring log = init.log, input = init.input.ring;
    csandbox_link_close(&init);
    csandbox_close_fd(&init.input.fd);
    memset(&init, 0, sizeof init);
    if (log.base == NULL) require(csandbox_ring_open(&log, LOG_SIZE) == 0);
    if (input.base == NULL) require(csandbox_ring_open(&input, CSANDBOX_INPUT_WINDOW) == 0);
    log.start = log.end = input.start = input.end = 0;
    init.log = log;
    init.input.ring = input;
    init.input.close_at = UINT64_MAX;
    init.link.fd = init.input.fd = init.agent.report = init.listen_fd = init.group_fd = -1;
    for (int i = 0; i < CSANDBOX_PENDING_MAX; i++) init.link.pending[i] = -1;
    for (int i = 0; i < CSANDBOX_OUTPUTS_MAX; i++) init.outputs[i].fd = -1;
    if (names < 0) open_network();
    empty(names);
    empty(asker);
    init.network.listener_count = 1;
    init.network.listeners[0] = listener;
    init.network.names_fd = names;
}

// What must hold after every packet.
static void check(void) {
    const struct csandbox_ring *rings[] = {&init.log, &init.input.ring};
    for (size_t i = 0; i < 2; i++) {
        require(rings[i]->start <= rings[i]->end);
        require(rings[i]->end - rings[i]->start <= rings[i]->size);
    }
    // The log begins with a record, and what is there is whole records.
    uint64_t at = init.log.start;
    while (at < init.log.end) {
        const size_t length = csandbox_log_whole(&init.log, at, CSANDBOX_FRAME_MAX);
        require(length > 0);
        at += length;
    }
    require(at == init.log.end);
    require(init.network.handed <= init.network.admitted);
    require(init.network.query_count <= CSANDBOX_QUERIES_MAX);
}

static void send_over(const uint8_t *packet, size_t length) {
    require(send(peer, packet, length, MSG_NOSIGNAL) >= 0);
    csandbox_link_receive(&init);
}

// Without the buffer in between, so that reading one byte too many is noticed.
static void hand_over(const uint8_t *packet, size_t length) {
    struct csandbox_request request;
    uint8_t *copy = malloc(length);
    require(copy != NULL);
    memcpy(copy, packet, length);
    if (csandbox_parse_frame(copy, length, &request.header, &request.payload) == 0)
        csandbox_handle_request(&init, &request);
    free(copy);
}

static void put_record(uint64_t seed) {
    static const uint8_t payload[RECORD_SIZE];
    const size_t length = (size_t)(seed % RECORD_SIZE);
    const size_t needed = CSANDBOX_RING_RESERVE + sizeof(struct csandbox_record) + length;
    if (csandbox_ring_room(&init.log) > needed)
        csandbox_log_put(&init.log, CSANDBOX_RECORD_STDOUT, seed, payload, length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t packet[CSANDBOX_FRAME_MAX];
    start_over();
    while (size >= 8) {
        uint16_t length;
        uint32_t offset;
        memcpy(&length, data + 2, sizeof length);
        memcpy(&offset, data + 4, sizeof offset);
        const uint8_t type = data[0], kind = data[1];
        data += 8;
        size -= 8;
        if (length > size) length = (uint16_t)size;
        if (length > CSANDBOX_CHUNK_MAX) length = CSANDBOX_CHUNK_MAX;
        const struct csandbox_header header = {
            .magic = CSANDBOX_WIRE_MAGIC,
            .version = CSANDBOX_WIRE_VERSION,
            .type = (uint16_t)(CSANDBOX_INIT_HELLO + type % 12),
            .length = length + (kind == 255), // once in a while wrong
            .request = kind,
            .offset = kind & 8 && init.network.query_count > 0
                          ? init.network.queries[offset % init.network.query_count]
                      : kind & 1 ? ~(uint64_t)offset
                      : kind & 2 ? init.log.start + offset % 2048
                                 : offset,
        };
        memcpy(packet, &header, sizeof header);
        memcpy(packet + sizeof header, data, length);
        data += length;
        size -= length;
        connect_link();
        put_record(offset);
        if (kind & 4)
            hand_over(packet, sizeof header + length);
        else
            send_over(packet, sizeof header + length);
        csandbox_agent_finish(&init);
        arrive(offset);
        csandbox_link_flush(&init);
        check();
        if (init.link.fd >= 0) drain();
    }
    return 0;
}
