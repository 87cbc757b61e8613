// What supervisors ask for: checked here, then done at once or handed to a child.
#include "serve.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define SESSIONS_PER_FRAME 1024

int csandbox_request_session(struct csandbox_view payload,
                             char session[CSANDBOX_SESSION_LENGTH + 1],
                             struct csandbox_failure *failure) {
    struct csandbox_view value;
    if (csandbox_find_field(payload, CSANDBOX_TAG_SESSION, &value) != 1 ||
        !csandbox_session_valid((const char *)value.bytes, value.length))
        return csandbox_fail(failure, "request", EINVAL,
                             "SESSION must be 32 lower-case hexadecimal digits");
    memcpy(session, value.bytes, CSANDBOX_SESSION_LENGTH);
    session[CSANDBOX_SESSION_LENGTH] = '\0';
    return 0;
}

int csandbox_request_block(const struct csandbox_server *server, struct csandbox_view payload,
                           uint64_t *block, struct csandbox_failure *failure) {
    if (csandbox_find_u64(payload, CSANDBOX_TAG_BLOCK, block) != 1)
        return csandbox_fail(failure, "request", EINVAL, "BLOCK is missing");
    if (*block >= server->blocks)
        return csandbox_fail(
            failure, "id range", ERANGE,
            "block %llu does not exist: the subordinate ids are enough for %llu sessions",
            (unsigned long long)*block, (unsigned long long)server->blocks);
    return 0;
}

static void hello(struct csandbox_server *server, struct csandbox_asker asker) {
    uint64_t start_time = 0;
    (void)csandbox_start_time(getpid(), &start_time);
    csandbox_frame_begin(&server->writer, CSANDBOX_OK, asker.request, 0);
    csandbox_frame_u64(&server->writer, CSANDBOX_TAG_BLOCKS, server->blocks);
    csandbox_frame_u64(&server->writer, CSANDBOX_TAG_PID, (uint64_t)getpid());
    csandbox_frame_u64(&server->writer, CSANDBOX_TAG_START_TIME, start_time);
    csandbox_frame_text(&server->writer, CSANDBOX_TAG_STATE_DIR, server->state_path);
    csandbox_frame_u64(&server->writer, CSANDBOX_TAG_ENFORCED,
                       csandbox_limits_possible(server->cgroup_fd));
    if (server->cgroup_note[0] != '\0')
        csandbox_frame_text(&server->writer, CSANDBOX_TAG_DETAIL, server->cgroup_note);
    csandbox_answer(server, asker.connection);
}

// Names only; no session's tree is entered.
static void list(struct csandbox_server *server, struct csandbox_asker asker) {
    struct csandbox_failure failure;
    const int copy = openat(server->sessions_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = copy >= 0 ? fdopendir(copy) : NULL;
    if (entries == NULL) {
        (void)csandbox_fail(&failure, "list", errno, "read sessions");
        if (copy >= 0) close(copy);
        csandbox_answer_failed(server, asker, &failure);
        return;
    }
    unsigned count = 0;
    struct dirent *entry;
    csandbox_frame_begin(&server->writer, CSANDBOX_OK, asker.request, 0);
    while ((entry = readdir(entries)) != NULL) {
        if (!csandbox_session_valid(entry->d_name, strlen(entry->d_name))) continue;
        if (count == SESSIONS_PER_FRAME) {
            csandbox_frame_u64(&server->writer, CSANDBOX_TAG_FRAGMENT, 1);
            csandbox_answer(server, asker.connection);
            csandbox_frame_begin(&server->writer, CSANDBOX_OK, asker.request, 0);
            count = 0;
        }
        csandbox_frame_text(&server->writer, CSANDBOX_TAG_SESSION, entry->d_name);
        count++;
    }
    closedir(entries);
    csandbox_answer(server, asker.connection);
}

static void usage(struct csandbox_server *server, struct csandbox_asker asker,
                  struct csandbox_view payload) {
    char session[CSANDBOX_SESSION_LENGTH + 1];
    struct csandbox_failure failure;
    struct csandbox_usage used;
    if (csandbox_request_session(payload, session, &failure) < 0) {
        csandbox_answer_failed(server, asker, &failure);
        return;
    }
    csandbox_group_usage(server->cgroup_fd, session, &used);
    csandbox_frame_begin(&server->writer, CSANDBOX_OK, asker.request, 0);
    csandbox_frame_field(&server->writer, CSANDBOX_TAG_USAGE, &used, sizeof used);
    csandbox_answer(server, asker.connection);
}

static void stop(struct csandbox_server *server, struct csandbox_asker asker) {
    const struct csandbox_notice notice = {.kind = CSANDBOX_NOTICE_STOP};
    struct csandbox_failure failure;
    csandbox_answer_ok(server, asker); // before: the keeper ends this process without a word
    const int sent = csandbox_notice_send(CSANDBOX_FD_LAUNCHER_KEEPER, &notice);
    if (sent == 0) return;
    (void)csandbox_fail(&failure, "stop", -sent, "tell the keeper");
    csandbox_answer_failed(server, asker, &failure);
}

static struct csandbox_queue *queue_of(struct csandbox_server *server, uint16_t type) {
    if (type == CSANDBOX_LAUNCHER_SPAWN) return &server->spawn_queue;
    return type == CSANDBOX_LAUNCHER_PREPARE ? &server->quick_queue : &server->long_queue;
}

static bool has_slot(const struct csandbox_server *server, uint16_t type) {
    return type == CSANDBOX_LAUNCHER_SPAWN ? csandbox_spawn_has_slot(server)
                                           : csandbox_job_has_slot(server, type);
}

static void begin(struct csandbox_server *server, uint16_t type, struct csandbox_asker asker,
                  struct csandbox_view payload) {
    if (type == CSANDBOX_LAUNCHER_SPAWN)
        csandbox_spawn_begin(server, asker, payload);
    else
        csandbox_job_begin(server, type, asker, payload);
}

static int enqueue(struct csandbox_server *server, struct csandbox_queue *queue,
                   uint64_t connection, const uint8_t *bytes, size_t length) {
    if (server->queued == CSANDBOX_QUEUE_MAX ||
        server->queued_bytes + length > CSANDBOX_QUEUE_BYTES_MAX)
        return -EAGAIN;
    struct csandbox_pending *pending = malloc(sizeof *pending + length);
    if (pending == NULL) return -ENOMEM;
    pending->next = NULL;
    pending->connection = connection;
    pending->length = length;
    memcpy(pending->bytes, bytes, length);
    if (queue->last != NULL)
        queue->last->next = pending;
    else
        queue->first = pending;
    queue->last = pending;
    server->queued++;
    server->queued_bytes += length;
    return 0;
}

static void pump_queue(struct csandbox_server *server, struct csandbox_queue *queue,
                       uint16_t slot_type) {
    while (queue->first != NULL && has_slot(server, slot_type)) {
        struct csandbox_pending *pending = queue->first;
        queue->first = pending->next;
        if (queue->first == NULL) queue->last = NULL;
        server->queued--;
        server->queued_bytes -= pending->length;
        struct csandbox_header header;
        struct csandbox_view payload;
        if (csandbox_parse_frame(pending->bytes, pending->length, &header, &payload) == 0)
            begin(server, header.type, (struct csandbox_asker){pending->connection, header.request},
                  payload);
        free(pending);
    }
}

void csandbox_request_pump(struct csandbox_server *server) {
    pump_queue(server, &server->spawn_queue, CSANDBOX_LAUNCHER_SPAWN);
    pump_queue(server, &server->quick_queue, CSANDBOX_LAUNCHER_PREPARE);
    pump_queue(server, &server->long_queue, CSANDBOX_LAUNCHER_DESTROY);
}

void csandbox_request(struct csandbox_server *server, uint64_t connection, const uint8_t *bytes,
                      size_t length) {
    struct csandbox_header header;
    struct csandbox_view payload;
    struct csandbox_failure failure;
    if (csandbox_parse_frame(bytes, length, &header, &payload) < 0) return;
    const struct csandbox_asker asker = {connection, header.request};
    int result = 0;
    switch (header.type) {
    case CSANDBOX_LAUNCHER_HELLO: hello(server, asker); break;
    case CSANDBOX_LAUNCHER_LIST: list(server, asker); break;
    case CSANDBOX_LAUNCHER_STOP: stop(server, asker); break;
    case CSANDBOX_LAUNCHER_USAGE: usage(server, asker, payload); break;
    case CSANDBOX_LAUNCHER_KILL: csandbox_kill_begin(server, asker, payload); break;
    case CSANDBOX_LAUNCHER_SPAWN:
    case CSANDBOX_LAUNCHER_PREPARE:
    case CSANDBOX_LAUNCHER_DESTROY:
    case CSANDBOX_LAUNCHER_MEASURE: {
        struct csandbox_queue *queue = queue_of(server, header.type);
        if (queue->first == NULL && has_slot(server, header.type))
            begin(server, header.type, asker, payload);
        else
            result = enqueue(server, queue, connection, bytes, length);
        break;
    }
    default: result = -ENOSYS;
    }
    if (result == 0) return;
    (void)csandbox_fail(&failure, "request", -result,
                        result == -ENOSYS ? "unknown request %u" : "too many requests wait (%u)",
                        result == -ENOSYS ? header.type : server->queued);
    csandbox_answer_failed(server, asker, &failure);
}
