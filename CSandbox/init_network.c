// The only way out of a session: init listens inside and hands each connection to the supervisor,
// which decides what becomes of it. Name queries go the same way, as datagrams.
//
// A socket belongs to the network namespace that it was made in, whoever holds it (socket(7)): what
// the supervisor gets is an end of a connection inside of the session, and nothing of init's.
#include "init.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

// Connections that wait while nobody takes them; beyond, clients try again by themselves.
#define BACKLOG 128
#define PAUSE_SECONDS 1

static struct sockaddr_in place(uint32_t address, uint16_t port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)};
}

// One address of the range with its prefix: on the loopback device that makes the whole prefix
// local, so that a connection to any address of it arrives at a listener of all addresses.
static int add_synthetic_addresses(struct csandbox_failure *failure) {
    struct ifreq request = {.ifr_name = "lo:1"};
    const struct sockaddr_in address = place(CSANDBOX_SYNTHETIC_NETWORK | 1, 0);
    const struct sockaddr_in mask = place(CSANDBOX_SYNTHETIC_MASK, 0);
    CSANDBOX_AUTO_FD int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    memcpy(&request.ifr_addr, &address, sizeof address);
    if (fd < 0 || ioctl(fd, SIOCSIFADDR, &request) < 0)
        return csandbox_fail(failure, "network", errno, "give lo the synthetic addresses");
    memcpy(&request.ifr_netmask, &mask, sizeof mask);
    if (ioctl(fd, SIOCSIFNETMASK, &request) < 0)
        return csandbox_fail(failure, "network", errno, "the mask of the synthetic addresses");
    return 0;
}

// Neither SO_REUSEADDR nor SO_REUSEPORT: with them others could bind beside init. Without, every
// bind that overlaps a listener's address and port is refused.
static int bind_socket(int type, uint32_t address, uint16_t port,
                       struct csandbox_failure *failure) {
    const struct sockaddr_in name = place(address, port);
    CSANDBOX_AUTO_FD int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&name, sizeof name) < 0 ||
        (type == SOCK_STREAM && listen(fd, BACKLOG) < 0))
        return csandbox_fail(failure, "network", errno, "listen on port %u", port);
    return csandbox_steal_fd(&fd);
}

static int add_listener(struct csandbox_network *network, uint32_t address, uint16_t port,
                        struct csandbox_failure *failure) {
    const int fd = bind_socket(SOCK_STREAM, address, port, failure);
    if (fd < 0) return fd;
    network->listeners[network->listener_count++] = fd;
    return 0;
}

int csandbox_network_open(struct csandbox_network *network,
                          const struct csandbox_network_wish *wish,
                          struct csandbox_failure *failure) {
    network->names_fd = -1;
    if (wish->enabled == 0) return 0;
    if (add_synthetic_addresses(failure) < 0 ||
        add_listener(network, INADDR_LOOPBACK, CSANDBOX_PROXY_PORT, failure) < 0 ||
        add_listener(network, INADDR_LOOPBACK, CSANDBOX_NAMES_PORT, failure) < 0)
        return -failure->error;
    for (uint32_t i = 0; i < wish->port_count; i++)
        if (add_listener(network, INADDR_ANY, wish->ports[i], failure) < 0) return -failure->error;
    network->names_fd = bind_socket(SOCK_DGRAM, INADDR_LOOPBACK, CSANDBOX_NAMES_PORT, failure);
    return network->names_fd < 0 ? network->names_fd : 0;
}

void csandbox_network_reset(struct csandbox_network *network) {
    network->admitted = network->handed = 0;
    network->query_count = 0;
}

// --- the loop ------------------------------------------------------------------------------------

static bool takes_anything(const struct csandbox_init *init) {
    return init->link.fd >= 0 && !init->link.blocked && init->network.again_at == 0;
}

// Half of the queue is left to what the supervisor asks: a full one ends its connection.
static bool takes_connections(const struct csandbox_init *init) {
    return takes_anything(init) && init->network.handed < init->network.admitted &&
           init->link.reply_count < CSANDBOX_REPLIES_MAX / 2;
}

static bool takes_queries(const struct csandbox_init *init) {
    return takes_anything(init) && init->network.query_count < CSANDBOX_QUERIES_MAX;
}

// No descriptor or no memory is left: what waits keeps waiting, and so does the loop.
static void pause_all(struct csandbox_network *network) {
    network->again_at = csandbox_monotonic_seconds() + PAUSE_SECONDS;
}

uint64_t csandbox_network_resume(struct csandbox_network *network, uint64_t now) {
    if (now >= network->again_at) network->again_at = 0;
    return network->again_at != 0 ? network->again_at : UINT64_MAX;
}

unsigned csandbox_network_fill(struct csandbox_init *init, struct pollfd *slots) {
    struct csandbox_network *network = &init->network;
    if (network->listener_count == 0) return 0;
    network->unwatched = init->link.blocked;
    for (unsigned i = 0; i < network->listener_count; i++)
        slots[i] = (struct pollfd){
            .fd = takes_connections(init) ? network->listeners[i] : -1, .events = POLLIN};
    slots[network->listener_count] = (struct pollfd){
        .fd = takes_queries(init) ? network->names_fd : -1, .events = POLLIN};
    return network->listener_count + 1;
}

static void hand_over(struct csandbox_init *init, int listener) {
    const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        // A connection that is gone already has been taken off the queue; anything else would come
        // again at once.
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) pause_all(&init->network);
        return;
    }
    init->network.handed++;
    csandbox_frame_begin(&init->frame, CSANDBOX_INIT_CONNECTION, 0, 0);
    csandbox_reply(init, fd);
}

// One connection of each listener, in turns, so that a busy port does not keep another one waiting.
void csandbox_network_serve(struct csandbox_init *init, const struct pollfd *slots) {
    struct csandbox_network *network = &init->network;
    struct pollfd fresh[CSANDBOX_LISTENERS_MAX + 1];
    const unsigned count = network->listener_count, first = network->first;
    unsigned taken = 0;
    if (count == 0) return;
    // The link takes something again: before the log fills it up, which it may do every time.
    if (network->unwatched && takes_anything(init)) {
        if (poll(fresh, csandbox_network_fill(init, fresh), 0) < 0) return;
        slots = fresh;
    }
    for (unsigned i = 0; i < count && taken < CSANDBOX_GUESTS_PER_TURN; i++) {
        const unsigned index = (first + i) % count;
        if (slots[index].revents == 0 || !takes_connections(init)) continue;
        hand_over(init, network->listeners[index]);
        network->first = (index + 1) % count;
        taken++;
    }
    if (slots[count].revents != 0) network->names_waiting = true;
}

void csandbox_network_admit(struct csandbox_network *network, uint64_t connections) {
    if (connections > network->admitted) network->admitted = connections;
}

// --- names ---------------------------------------------------------------------------------------

// Where the answer goes, and a number: one socket may ask twice before it has an answer.
static uint64_t query_offset(uint16_t serial, const struct sockaddr_in *sender) {
    return (uint64_t)serial << 48 | (uint64_t)ntohl(sender->sin_addr.s_addr) << 16 |
           ntohs(sender->sin_port);
}

static bool is_own_address(const struct sockaddr_in *sender) {
    const uint32_t address = ntohl(sender->sin_addr.s_addr);
    return sender->sin_family == AF_INET && sender->sin_port != 0 &&
           (address >> 24 == IN_LOOPBACKNET ||
            (address & CSANDBOX_SYNTHETIC_MASK) == CSANDBOX_SYNTHETIC_NETWORK);
}

// The datagram stays in the socket until it is on its way: a link that takes no more loses nothing.
static bool send_query(struct csandbox_init *init) {
    struct csandbox_network *network = &init->network;
    uint8_t bytes[CSANDBOX_DATAGRAM_MAX];
    struct sockaddr_in sender = {.sin_family = AF_UNSPEC};
    socklen_t size = sizeof sender;
    const ssize_t length = recvfrom(network->names_fd, bytes, sizeof bytes, MSG_PEEK | MSG_TRUNC,
                                    (struct sockaddr *)&sender, &size);
    if (length < 0) {
        network->names_waiting = false; // poll tells when there is more
        if (errno != EAGAIN && errno != EINTR) pause_all(network);
        return true;
    }
    if (length > 0 && (size_t)length <= sizeof bytes && is_own_address(&sender)) {
        const uint64_t offset = query_offset(++network->serial, &sender);
        csandbox_frame_begin(&init->frame, CSANDBOX_INIT_QUERY, 0, offset);
        csandbox_frame_bytes(&init->frame, bytes, (size_t)length);
        if (!csandbox_link_send(init)) return false;
        network->queries[network->query_count++] = offset;
    }
    (void)recv(network->names_fd, bytes, 1, 0); // the rest of a datagram goes with it
    return true;
}

bool csandbox_network_flush(struct csandbox_init *init) {
    for (unsigned i = 0; i < CSANDBOX_GUESTS_PER_TURN; i++) {
        if (!init->network.names_waiting || !takes_queries(init)) return true;
        if (!send_query(init)) return false;
    }
    return true;
}

// Only to who asked, and once: the offset is looked up, not believed.
void csandbox_network_answer(struct csandbox_network *network, uint64_t query,
                             struct csandbox_view datagram) {
    unsigned index = 0;
    while (index < network->query_count && network->queries[index] != query) index++;
    if (index == network->query_count) return;
    network->queries[index] = network->queries[--network->query_count];
    if (datagram.length == 0 || datagram.length > CSANDBOX_DATAGRAM_MAX) return;
    const struct sockaddr_in to = place((uint32_t)(query >> 16), (uint16_t)query);
    // What does not go out is lost, as datagrams may be.
    (void)sendto(network->names_fd, datagram.bytes, datagram.length, MSG_DONTWAIT | MSG_NOSIGNAL,
                 (const struct sockaddr *)&to, sizeof to);
}
