// Reads a tar stream: ustar, pax and the GNU extensions that tar(1) writes by itself.
#include "tar.h"

#include <stdlib.h>
#include <string.h>

#define SIZE_LIMIT (INT64_MAX - CSANDBOX_TAR_BLOCK)

// What extended headers said about the entry that follows them.
struct extension {
    bool has_name, has_link, has_size, has_mtime, sparse;
    uint64_t size;
    int64_t mtime;
};

// More bytes into the buffer. 1, or 0 at end of file, or -errno.
static int fill(struct csandbox_tar_reader *reader) {
    if (reader->start == reader->end) reader->start = reader->end = 0;
    ssize_t got;
    do got = read(reader->fd, reader->buffer + reader->end, sizeof reader->buffer - reader->end);
    while (got < 0 && errno == EINTR);
    if (got < 0) return -errno;
    reader->end += (size_t)got;
    return got > 0;
}

// Exactly `length` bytes; `to` may be NULL. 0, -ENODATA at an early end, or -errno.
static int take(struct csandbox_tar_reader *reader, void *to, uint64_t length) {
    uint8_t *out = to;
    while (length > 0) {
        if (reader->start == reader->end) {
            const int result = fill(reader);
            if (result <= 0) return result < 0 ? result : -ENODATA;
        }
        size_t count = reader->end - reader->start;
        if (count > length) count = (size_t)length;
        if (out != NULL) {
            memcpy(out, reader->buffer + reader->start, count);
            out += count;
        }
        reader->start += count;
        length -= count;
    }
    return 0;
}

ssize_t csandbox_tar_content(struct csandbox_tar_reader *reader, const uint8_t **bytes) {
    if (reader->remaining == 0) return 0;
    if (reader->start == reader->end) {
        const int result = fill(reader);
        if (result <= 0) return result < 0 ? result : -ENODATA;
    }
    size_t count = reader->end - reader->start;
    if (count > reader->remaining) count = (size_t)reader->remaining;
    *bytes = reader->buffer + reader->start;
    reader->start += count;
    reader->remaining -= count;
    return (ssize_t)count;
}

void csandbox_tar_drain(struct csandbox_tar_reader *reader) {
    do reader->start = reader->end = 0;
    while (fill(reader) > 0);
}

// Octal text, or GNU's big-endian binary when the first bit is set (two's complement when the
// second is).
static int parse_number(const char *field, size_t length, int64_t *value) {
    const uint8_t *bytes = (const uint8_t *)field;
    uint64_t number = 0;
    if ((bytes[0] & 0x80) != 0) {
        const bool negative = (bytes[0] & 0x40) != 0;
        const uint8_t fill_byte = negative ? 0xff : 0;
        const uint8_t first = negative ? bytes[0] : bytes[0] & 0x3f;
        for (size_t i = 0; i < length; i++) {
            const uint8_t byte = i == 0 ? first : bytes[i];
            if (i + 8 < length && byte != fill_byte) return -ERANGE;
            number = number << 8 | byte;
        }
        if (negative != (number >> 63 != 0)) return -ERANGE;
        *value = (int64_t)number;
        return 0;
    }
    size_t i = 0;
    while (i < length && bytes[i] == ' ') i++;
    for (; i < length && bytes[i] >= '0' && bytes[i] <= '7'; i++)
        number = number << 3 | (uint64_t)(bytes[i] - '0');
    for (; i < length; i++)
        if (bytes[i] != ' ' && bytes[i] != '\0') return -EINVAL;
    *value = (int64_t)number; // at most 12 digits: 36 bits
    return 0;
}

// Old writers summed signed bytes.
static bool checksum_fits(const struct csandbox_tar_header *header) {
    int64_t expected = 0;
    int64_t sum = 0, signed_sum = 0;
    if (parse_number(header->checksum, sizeof header->checksum, &expected) != 0) return false;
    for (size_t i = 0; i < sizeof *header; i++) {
        const size_t from = offsetof(struct csandbox_tar_header, checksum);
        const bool blank = i >= from && i < from + sizeof header->checksum;
        const uint8_t byte = blank ? ' ' : ((const uint8_t *)header)[i];
        sum += byte;
        signed_sum += (int8_t)byte;
    }
    return expected == sum || expected == signed_sum;
}

static int copy_text(char *to, const char *from, size_t length) {
    if (length >= CSANDBOX_TAR_NAME_MAX) return -ENAMETOOLONG;
    if (memchr(from, 0, length) != NULL) return -EINVAL;
    memcpy(to, from, length);
    to[length] = '\0';
    return 0;
}

static int apply_record(const char *key, size_t key_length, const char *value, size_t length,
                        struct csandbox_tar_entry *entry, struct extension *extension) {
#define IS(name) (key_length == sizeof name - 1 && memcmp(key, name, key_length) == 0)
    char number[32];
    const size_t digits = length < sizeof number ? length : sizeof number - 1;
    memcpy(number, value, digits);
    number[digits] = '\0';
    if (IS("path")) {
        extension->has_name = true;
        return copy_text(entry->name, value, length);
    }
    if (IS("linkpath")) {
        extension->has_link = true;
        return copy_text(entry->link, value, length);
    }
    if (IS("size")) {
        char *end = number;
        errno = 0;
        extension->size = strtoull(number, &end, 10);
        extension->has_size = true;
        if (errno != 0 || end == number || *end != '\0') return -ERANGE;
        return extension->size > SIZE_LIMIT ? -ERANGE : 0;
    }
    if (IS("mtime")) {
        extension->mtime = strtoll(number, NULL, 10); // the fraction is not kept
        extension->has_mtime = true;
    }
    if (key_length > 11 && memcmp(key, "GNU.sparse.", 11) == 0) extension->sparse = true;
#undef IS
    return 0;
}

// "<length> <key>=<value>\n" again and again.
static int parse_records(const char *text, size_t size, struct csandbox_tar_entry *entry,
                         struct extension *extension) {
    while (size > 0) {
        size_t length = 0, digits = 0;
        for (; digits < size && digits < 8 && text[digits] >= '0' && text[digits] <= '9'; digits++)
            length = length * 10 + (size_t)(text[digits] - '0');
        if (digits == 0 || length > size || length < digits + 3 || text[digits] != ' ' ||
            text[length - 1] != '\n')
            return -EPROTO;
        const char *key = text + digits + 1;
        const char *equals = memchr(key, '=', length - digits - 2);
        if (equals == NULL) return -EPROTO;
        const size_t value_length = (size_t)(text + length - 1 - (equals + 1));
        const int result = apply_record(key, (size_t)(equals - key), equals + 1, value_length,
                                        entry, extension);
        if (result != 0) return result;
        text += length;
        size -= length;
    }
    return 0;
}

static uint64_t padding(uint64_t size) {
    return (CSANDBOX_TAR_BLOCK - size % CSANDBOX_TAR_BLOCK) % CSANDBOX_TAR_BLOCK;
}

static bool is_extension(char type) {
    return type == 'x' || type == 'g' || type == 'L' || type == 'K';
}

// 'x' and GNU's long name 'L' and long link 'K'; a global header 'g' says nothing that we use.
static int read_extension(struct csandbox_tar_reader *reader, char type, uint64_t size,
                          struct csandbox_tar_entry *entry, struct extension *extension) {
    if (type == 'g') return take(reader, NULL, size + padding(size));
    if (size > CSANDBOX_TAR_EXTENDED_MAX) return -E2BIG;
    int result = take(reader, reader->extended, size);
    if (result == 0) result = take(reader, NULL, padding(size));
    if (result != 0) return result;
    if (type == 'x') return parse_records(reader->extended, (size_t)size, entry, extension);
    const size_t length = strnlen(reader->extended, (size_t)size);
    if (type == 'L') extension->has_name = true;
    else extension->has_link = true;
    return copy_text(type == 'L' ? entry->name : entry->link, reader->extended, length);
}

static int name_from_header(const struct csandbox_tar_header *header,
                            struct csandbox_tar_entry *entry) {
    const size_t name = strnlen(header->name, sizeof header->name);
    const size_t prefix = memcmp(header->magic, "ustar\0", 6) == 0
        ? strnlen(header->prefix, sizeof header->prefix) : 0;
    memcpy(entry->name, header->prefix, prefix);
    if (prefix > 0) entry->name[prefix] = '/';
    const size_t start = prefix + (prefix > 0);
    return copy_text(entry->name + start, header->name, name);
}

// Fields of the entry itself, where no extension came before.
static int finish_entry(struct csandbox_tar_reader *reader,
                        const struct csandbox_tar_header *header,
                        const struct extension *extension, int64_t size,
                        struct csandbox_tar_entry *entry) {
    int64_t mode = 0, mtime = 0;
    int result = 0;
    if (parse_number(header->mode, sizeof header->mode, &mode) != 0) mode = 0644;
    if (parse_number(header->mtime, sizeof header->mtime, &mtime) != 0) mtime = 0;
    if (!extension->has_name) result = name_from_header(header, entry);
    if (result == 0 && !extension->has_link)
        result = copy_text(entry->link, header->link, strnlen(header->link, sizeof header->link));
    if (result != 0) return result;
    const size_t length = strlen(entry->name);
    entry->type = header->type == '\0' || header->type == '7' ? CSANDBOX_TAR_FILE : header->type;
    if (header->type == '\0' && length > 0 && entry->name[length - 1] == '/')
        entry->type = CSANDBOX_TAR_DIRECTORY; // before POSIX
    if (extension->sparse) entry->type = 'S';
    entry->mode = (uint32_t)mode & 0777u;
    entry->mtime = extension->has_mtime ? extension->mtime : mtime;
    // Links, devices and directories have none, whatever they say.
    const bool content = entry->type < '1' || entry->type > '6';
    entry->size = !content ? 0 : extension->has_size ? extension->size : (uint64_t)size;
    reader->remaining = entry->size;
    reader->padding = padding(entry->size);
    return 0;
}

static int next_entry(struct csandbox_tar_reader *reader, struct csandbox_tar_entry *entry) {
    struct extension extension = {0};
    for (;;) {
        struct csandbox_tar_header header;
        static const struct csandbox_tar_header zero;
        int64_t size = 0;
        int result = take(reader, &header, sizeof header);
        if (result != 0) return result;
        if (memcmp(&header, &zero, sizeof header) == 0) return 0;
        if (!checksum_fits(&header)) return -EPROTO;
        result = parse_number(header.size, sizeof header.size, &size);
        if (result != 0 || size < 0 || (uint64_t)size > SIZE_LIMIT) return -ERANGE;
        result = is_extension(header.type)
            ? read_extension(reader, header.type, (uint64_t)size, entry, &extension)
            : finish_entry(reader, &header, &extension, size, entry);
        if (result != 0) return result;
        if (!is_extension(header.type)) return 1;
    }
}

int csandbox_tar_next(struct csandbox_tar_reader *reader, struct csandbox_tar_entry *entry,
                      struct csandbox_failure *failure) {
    int result = take(reader, NULL, reader->remaining);
    if (result == 0) result = take(reader, NULL, reader->padding);
    reader->remaining = reader->padding = 0;
    if (result == 0) result = next_entry(reader, entry);
    if (result >= 0) return result;
    switch (-result) {
    case ENODATA: return csandbox_fail(failure, "files", EPROTO, "the archive ends early");
    case EPROTO: return csandbox_fail(failure, "files", EPROTO, "this is no tar archive");
    default: return csandbox_fail(failure, "files", -result, "unreadable entry in the archive");
    }
}
