// Writes a tar stream: ustar headers, with pax records for what does not fit them.
#include "tar.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define OCTAL_SIZE_MAX 077777777777u // 11 octal digits

static int flush(struct csandbox_tar_writer *writer) {
    size_t done = 0;
    while (done < writer->used) {
        const ssize_t written = write(writer->fd, writer->buffer + done, writer->used - done);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return -errno;
        done += (size_t)written;
    }
    writer->used = 0;
    return 0;
}

static int put(struct csandbox_tar_writer *writer, const void *bytes, size_t length) {
    const uint8_t *rest = bytes;
    while (length > 0) {
        size_t room;
        uint8_t *space = csandbox_tar_space(writer, &room);
        const size_t count = length < room ? length : room;
        memcpy(space, rest, count);
        const int result = csandbox_tar_wrote(writer, count);
        if (result != 0) return result;
        rest += count;
        length -= count;
    }
    return 0;
}

uint8_t *csandbox_tar_space(struct csandbox_tar_writer *writer, size_t *length) {
    *length = sizeof writer->buffer - writer->used;
    return writer->buffer + writer->used;
}

int csandbox_tar_wrote(struct csandbox_tar_writer *writer, size_t length) {
    writer->used += length;
    return writer->used == sizeof writer->buffer ? flush(writer) : 0;
}

int csandbox_tar_zeros(struct csandbox_tar_writer *writer, uint64_t length) {
    static const uint8_t zeros[4096];
    int result = 0;
    while (length > 0 && result == 0) {
        const size_t count = length < sizeof zeros ? (size_t)length : sizeof zeros;
        result = put(writer, zeros, count);
        length -= count;
    }
    return result;
}

static uint64_t padding(uint64_t size) {
    return (CSANDBOX_TAR_BLOCK - size % CSANDBOX_TAR_BLOCK) % CSANDBOX_TAR_BLOCK;
}

static int put_header(struct csandbox_tar_writer *writer, const struct csandbox_tar_entry *entry) {
    struct csandbox_tar_header header;
    memset(&header, 0, sizeof header);
    memcpy(header.name, entry->name, strnlen(entry->name, sizeof header.name));
    memcpy(header.link, entry->link, strnlen(entry->link, sizeof header.link));
    (void)snprintf(header.mode, sizeof header.mode, "%07o", entry->mode & 07777u);
    // Nobody's ids outside the session mean what they mean inside.
    (void)snprintf(header.uid, sizeof header.uid, "%07o", 0u);
    (void)snprintf(header.gid, sizeof header.gid, "%07o", 0u);
    const uint64_t size = entry->size <= OCTAL_SIZE_MAX ? entry->size : 0;
    (void)snprintf(header.size, sizeof header.size, "%011" PRIo64, size);
    const uint64_t mtime =
        entry->mtime >= 0 && (uint64_t)entry->mtime <= OCTAL_SIZE_MAX ? (uint64_t)entry->mtime : 0;
    (void)snprintf(header.mtime, sizeof header.mtime, "%011" PRIo64, mtime);
    header.type = entry->type;
    memcpy(header.magic, "ustar", 6);
    memcpy(header.version, "00", 2);
    memset(header.checksum, ' ', sizeof header.checksum);
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof header; i++) sum += ((const uint8_t *)&header)[i];
    (void)snprintf(header.checksum, sizeof header.checksum, "%06o", sum & 0777777u);
    header.checksum[7] = ' ';
    return put(writer, &header, sizeof header);
}

// One record of an extended header: "<length> <key>=<value>\n", where the length counts its own
// digits.
static int append_record(char *text, size_t capacity, size_t *used, const char *key,
                         const char *value) {
    const size_t body = strlen(key) + strlen(value) + 3;
    size_t length = body + 1;
    for (size_t digits; length != body + (digits = (size_t)snprintf(NULL, 0, "%zu", length));)
        length = body + digits;
    if (length >= capacity - *used) return -ENAMETOOLONG;
    (void)snprintf(text + *used, capacity - *used, "%zu %s=%s\n", length, key, value);
    *used += length;
    return 0;
}

static int put_extended(struct csandbox_tar_writer *writer,
                        const struct csandbox_tar_entry *entry) {
    static char text[2 * CSANDBOX_TAR_NAME_MAX + 256];
    static struct csandbox_tar_entry extended;
    char number[32];
    size_t used = 0;
    int result = 0;
    if (strlen(entry->name) > sizeof((struct csandbox_tar_header *)0)->name)
        result = append_record(text, sizeof text, &used, "path", entry->name);
    if (result == 0 && strlen(entry->link) > sizeof((struct csandbox_tar_header *)0)->link)
        result = append_record(text, sizeof text, &used, "linkpath", entry->link);
    if (result == 0 && entry->size > OCTAL_SIZE_MAX) {
        (void)snprintf(number, sizeof number, "%" PRIu64, entry->size);
        result = append_record(text, sizeof text, &used, "size", number);
    }
    if (result == 0 && (entry->mtime < 0 || entry->mtime > (int64_t)OCTAL_SIZE_MAX)) {
        (void)snprintf(number, sizeof number, "%" PRId64, entry->mtime);
        result = append_record(text, sizeof text, &used, "mtime", number);
    }
    if (result != 0 || used == 0) return result;
    extended = (struct csandbox_tar_entry){.type = 'x', .mode = 0644, .size = used};
    (void)snprintf(extended.name, sizeof extended.name, "././@PaxHeader");
    if ((result = put_header(writer, &extended)) != 0) return result;
    if ((result = put(writer, text, used)) != 0) return result;
    return csandbox_tar_zeros(writer, padding(used));
}

int csandbox_tar_write_header(struct csandbox_tar_writer *writer,
                              const struct csandbox_tar_entry *entry) {
    const int result = put_extended(writer, entry);
    return result != 0 ? result : put_header(writer, entry);
}

int csandbox_tar_write_end(struct csandbox_tar_writer *writer) {
    const int result = csandbox_tar_zeros(writer, 2 * CSANDBOX_TAR_BLOCK);
    return result != 0 ? result : flush(writer);
}
