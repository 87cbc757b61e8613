// Frames made of fields: how the supervisor, the launcher and a session's init write and read
// packets.
#include "internal.h"

#include <string.h>

static void put(struct csandbox_writer *w, const void *bytes, size_t length) {
    if (w->overflow || length > sizeof w->bytes - w->length) {
        w->overflow = true;
        return;
    }
    if (length > 0) memcpy(w->bytes + w->length, bytes, length);
    w->length += length;
}

void csandbox_frame_begin(struct csandbox_writer *w, uint16_t type, uint32_t request,
                          uint64_t offset) {
    const struct csandbox_header header = {
        .magic = CSANDBOX_WIRE_MAGIC,
        .version = CSANDBOX_WIRE_VERSION,
        .type = type,
        .request = request,
        .offset = offset,
    };
    w->length = 0;
    w->overflow = false;
    put(w, &header, sizeof header);
}

void csandbox_frame_bytes(struct csandbox_writer *w, const void *bytes, size_t length) {
    put(w, bytes, length);
}

void csandbox_frame_field(struct csandbox_writer *w, uint16_t tag, const void *bytes,
                          size_t length) {
    const size_t before = w->length;
    if (length > CSANDBOX_FRAME_MAX) {
        w->overflow = true;
        return;
    }
    const struct csandbox_field field = {.tag = tag, .length = (uint32_t)length};
    put(w, &field, sizeof field);
    put(w, bytes, length);
    if (w->overflow) w->length = before; // never half a field
}

void csandbox_frame_text(struct csandbox_writer *w, uint16_t tag, const char *text) {
    csandbox_frame_field(w, tag, text, strlen(text));
}

void csandbox_frame_u64(struct csandbox_writer *w, uint16_t tag, uint64_t value) {
    csandbox_frame_field(w, tag, &value, sizeof value);
}

void csandbox_frame_failure(struct csandbox_writer *w, uint32_t request,
                            const struct csandbox_failure *f) {
    csandbox_frame_begin(w, CSANDBOX_FAILED, request, 0);
    csandbox_frame_text(w, CSANDBOX_TAG_STAGE, f->stage);
    csandbox_frame_u64(w, CSANDBOX_TAG_ERRNO, (uint64_t)f->error);
    csandbox_frame_text(w, CSANDBOX_TAG_DETAIL, f->detail);
}

ssize_t csandbox_frame_send(struct csandbox_writer *w, int fd, int passed_fd) {
    if (w->overflow) return -EMSGSIZE;
    const uint32_t length = (uint32_t)(w->length - sizeof(struct csandbox_header));
    memcpy(w->bytes + offsetof(struct csandbox_header, length), &length, sizeof length);
    return csandbox_send(fd, w->bytes, w->length, passed_fd);
}

int csandbox_next_field(struct csandbox_view payload, size_t *cursor, uint16_t *tag,
                        struct csandbox_view *value) {
    struct csandbox_field field;
    if (*cursor == payload.length) return 0;
    if (*cursor > payload.length || payload.length - *cursor < sizeof field) return -EPROTO;
    memcpy(&field, payload.bytes + *cursor, sizeof field);
    const size_t start = *cursor + sizeof field;
    if (field.zero != 0 || field.length > payload.length - start) return -EPROTO;
    *cursor = start + field.length;
    *tag = field.tag;
    *value = (struct csandbox_view){payload.bytes + start, field.length};
    return 1;
}

int csandbox_find_field(struct csandbox_view payload, uint16_t tag, struct csandbox_view *value) {
    size_t cursor = 0;
    uint16_t found = 0;
    struct csandbox_view view;
    int more;
    while ((more = csandbox_next_field(payload, &cursor, &found, &view)) == 1) {
        if (found != tag) continue;
        *value = view;
        return 1;
    }
    return more;
}

int csandbox_find_u64(struct csandbox_view payload, uint16_t tag, uint64_t *value) {
    struct csandbox_view view;
    const int found = csandbox_find_field(payload, tag, &view);
    if (found != 1) return found;
    if (view.length != sizeof *value) return -EPROTO;
    memcpy(value, view.bytes, sizeof *value);
    return 1;
}

int csandbox_parse_frame(const void *bytes, size_t length, struct csandbox_header *header,
                         struct csandbox_view *payload) {
    if (length < sizeof *header || length > CSANDBOX_FRAME_MAX) return -EPROTO;
    memcpy(header, bytes, sizeof *header);
    if (header->magic != CSANDBOX_WIRE_MAGIC || header->version != CSANDBOX_WIRE_VERSION ||
        header->length != length - sizeof *header)
        return -EPROTO;
    *payload = (struct csandbox_view){(const uint8_t *)bytes + sizeof *header, header->length};
    return 0;
}
