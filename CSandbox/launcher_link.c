// Connections of supervisors: accepted from the service's own user only, read packet by packet, and
// answered without ever waiting for a reader.
#include "serve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

// So many packets of one connection before the others have their turn.
#define PACKETS_PER_TURN 32

#define ACCEPT_PAUSE_NS UINT64_C(100000000)

static void watch_listener(struct csandbox_server *server, bool on) {
    struct epoll_event event = {.events = EPOLLIN,
                                .data.u64 = (uint64_t)CSANDBOX_EVENT_LISTEN << 32};
    if (server->listening == on) return;
    server->listening = on;
    (void)epoll_ctl(server->epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL,
                    CSANDBOX_FD_LAUNCHER_LISTEN, &event);
}

static void drop(struct csandbox_server *server, struct csandbox_connection *connection) {
    // The other end sees it even while a child has a copy.
    (void)shutdown(connection->fd, SHUT_RDWR);
    csandbox_server_forget(server, &connection->fd);
    while (connection->first != NULL) {
        struct csandbox_unsent *next = connection->first->next;
        free(connection->first);
        connection->first = next;
    }
    *connection = (struct csandbox_connection){.fd = -1};
    watch_listener(server, true);
}

static bool admit(int fd) {
    pid_t pid;
    uid_t uid;
    gid_t gid;
    // The service is id 0 of this user namespace; everybody else is unmapped.
    if (csandbox_peer(fd, &pid, &uid, &gid) < 0 || uid != geteuid()) return false;
    return true;
}

void csandbox_link_accept_again(struct csandbox_server *server, uint64_t now_ns) {
    if (server->accept_again_ns == 0 || now_ns < server->accept_again_ns) return;
    server->accept_again_ns = 0;
    watch_listener(server, true);
}

void csandbox_link_accept_all(struct csandbox_server *server) {
    for (;;) {
        struct csandbox_connection *free_slot = NULL;
        uint32_t index = 0;
        for (uint32_t i = 0; i < CSANDBOX_CONNECTIONS_MAX && free_slot == NULL; i++)
            if (server->connections[i].fd < 0) free_slot = &server->connections[index = i];
        if (free_slot == NULL) break; // the rest wait in the listen queue
        const int fd =
            accept4(CSANDBOX_FD_LAUNCHER_LISTEN, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
        if (fd < 0) {
            // ENFILE, ENOMEM and the like pass; until then the loop must not spin.
            dprintf(2, "superserve-launcher: accept: %s\n", strerror(errno));
            server->accept_again_ns = csandbox_boottime_ns() + ACCEPT_PAUSE_NS;
            break;
        }
        if (!admit(fd) ||
            csandbox_server_watch(server, fd, EPOLLIN, CSANDBOX_EVENT_CONNECTION, index) < 0) {
            close(fd);
            continue;
        }
        *free_slot = (struct csandbox_connection){.fd = fd, .id = ++server->next_connection};
    }
    watch_listener(server, false);
}

static void set_events(struct csandbox_server *server, struct csandbox_connection *connection,
                       uint32_t events) {
    const uint32_t index = (uint32_t)(connection - server->connections);
    struct epoll_event event = {.events = events,
                                .data.u64 = (uint64_t)CSANDBOX_EVENT_CONNECTION << 32 | index};
    (void)epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, connection->fd, &event);
}

static void keep_unsent(struct csandbox_server *server, struct csandbox_connection *connection) {
    const struct csandbox_writer *writer = &server->writer;
    struct csandbox_unsent *unsent = NULL;
    if (connection->unsent + writer->length <= CSANDBOX_OUTPUT_MAX)
        unsent = malloc(sizeof *unsent + writer->length);
    if (unsent == NULL) { // it does not read; it may come again and ask anew
        drop(server, connection);
        return;
    }
    unsent->next = NULL;
    unsent->length = writer->length;
    memcpy(unsent->bytes, writer->bytes, writer->length);
    if (connection->last != NULL)
        connection->last->next = unsent;
    else
        connection->first = unsent;
    connection->last = unsent;
    connection->unsent += unsent->length;
    set_events(server, connection, EPOLLIN | EPOLLOUT);
}

static void send_to(struct csandbox_server *server, struct csandbox_connection *connection) {
    struct csandbox_writer *writer = &server->writer;
    if (writer->overflow) {
        dprintf(2, "superserve-launcher: an answer was too long\n");
        drop(server, connection);
        return;
    }
    // Fixes the length in the header too, which keep_unsent relies on; a socket that is full
    // refuses whole packets.
    const uint32_t length = (uint32_t)(writer->length - sizeof(struct csandbox_header));
    memcpy(writer->bytes + offsetof(struct csandbox_header, length), &length, sizeof length);
    const ssize_t sent =
        connection->first != NULL ? -EAGAIN : csandbox_frame_send(writer, connection->fd, -1);
    if (sent == -EAGAIN)
        keep_unsent(server, connection);
    else if (sent < 0)
        drop(server, connection);
}

void csandbox_answer(struct csandbox_server *server, uint64_t id) {
    for (uint32_t i = 0; i < CSANDBOX_CONNECTIONS_MAX; i++)
        if (server->connections[i].fd >= 0 && server->connections[i].id == id) {
            send_to(server, &server->connections[i]);
            return;
        }
}

void csandbox_answer_all(struct csandbox_server *server) {
    for (uint32_t i = 0; i < CSANDBOX_CONNECTIONS_MAX; i++)
        if (server->connections[i].fd >= 0) send_to(server, &server->connections[i]);
}

void csandbox_answer_ok(struct csandbox_server *server, struct csandbox_asker asker) {
    csandbox_frame_begin(&server->writer, CSANDBOX_OK, asker.request, 0);
    csandbox_answer(server, asker.connection);
}

void csandbox_answer_failed(struct csandbox_server *server, struct csandbox_asker asker,
                            const struct csandbox_failure *failure) {
    csandbox_frame_failure(&server->writer, asker.request, failure);
    csandbox_answer(server, asker.connection);
}

// False when the connection is gone.
static bool flush(struct csandbox_server *server, struct csandbox_connection *connection) {
    while (connection->first != NULL) {
        struct csandbox_unsent *unsent = connection->first;
        const ssize_t sent = csandbox_send(connection->fd, unsent->bytes, unsent->length, -1);
        if (sent == -EAGAIN) return true;
        if (sent < 0) {
            drop(server, connection);
            return false;
        }
        connection->first = unsent->next;
        if (connection->first == NULL) connection->last = NULL;
        connection->unsent -= unsent->length;
        free(unsent);
    }
    set_events(server, connection, EPOLLIN);
    return true;
}

static void receive(struct csandbox_server *server, struct csandbox_connection *connection) {
    static uint8_t frame[CSANDBOX_FRAME_MAX];
    const uint64_t id = connection->id;
    for (int i = 0; i < PACKETS_PER_TURN; i++) {
        int passed = -1;
        const ssize_t length = csandbox_receive(connection->fd, frame, sizeof frame, &passed);
        csandbox_close_fd(&passed); // no request brings a descriptor
        if (length == -EAGAIN || length == -EINTR) return;
        struct csandbox_header header;
        struct csandbox_view payload;
        if (length <= 0 || csandbox_parse_frame(frame, (size_t)length, &header, &payload) < 0) {
            drop(server, connection);
            return;
        }
        csandbox_request(server, id, frame, (size_t)length);
        if (connection->fd < 0 || connection->id != id) return; // its answer could not be sent
    }
}

void csandbox_link_event(struct csandbox_server *server, uint32_t index, uint32_t events) {
    if (index >= CSANDBOX_CONNECTIONS_MAX || server->connections[index].fd < 0) return;
    struct csandbox_connection *connection = &server->connections[index];
    if ((events & EPOLLOUT) != 0 && !flush(server, connection)) return;
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) receive(server, connection);
}
