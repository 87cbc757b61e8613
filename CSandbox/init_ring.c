// Bounded buffers with absolute offsets, and the log of records in one.
#include "init.h"

#include <string.h>
#include <sys/mman.h>

int csandbox_ring_open(struct csandbox_ring *ring, size_t size) {
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return -errno;
    *ring = (struct csandbox_ring){.base = base, .size = size};
    return 0;
}

size_t csandbox_ring_room(const struct csandbox_ring *ring) {
    return ring->size - (size_t)(ring->end - ring->start);
}

int csandbox_ring_parts(const struct csandbox_ring *ring, uint64_t offset, size_t length,
                        struct iovec parts[2]) {
    const size_t place = (size_t)(offset % ring->size);
    const size_t first = length < ring->size - place ? length : ring->size - place;
    parts[0] = (struct iovec){.iov_base = ring->base + place, .iov_len = first};
    parts[1] = (struct iovec){.iov_base = ring->base, .iov_len = length - first};
    return length > first ? 2 : 1;
}

void csandbox_ring_put(struct csandbox_ring *ring, const void *bytes, size_t length) {
    struct iovec parts[2];
    csandbox_ring_parts(ring, ring->end, length, parts);
    memcpy(parts[0].iov_base, bytes, parts[0].iov_len);
    memcpy(parts[1].iov_base, (const uint8_t *)bytes + parts[0].iov_len, parts[1].iov_len);
    ring->end += length;
    ring->touched = true;
}

void csandbox_ring_copy(const struct csandbox_ring *ring, uint64_t offset, void *bytes,
                        size_t length) {
    struct iovec parts[2];
    csandbox_ring_parts(ring, offset, length, parts);
    memcpy(bytes, parts[0].iov_base, parts[0].iov_len);
    memcpy((uint8_t *)bytes + parts[0].iov_len, parts[1].iov_base, parts[1].iov_len);
}

void csandbox_ring_relax(struct csandbox_ring *ring) {
    if (!ring->touched || ring->start != ring->end) return;
    (void)madvise(ring->base, ring->size, MADV_DONTNEED);
    ring->touched = false;
}

void csandbox_log_put(struct csandbox_ring *log, uint16_t type, uint64_t generation,
                      const void *payload, size_t length) {
    const struct csandbox_record record = {
        .length = (uint32_t)length,
        .type = type,
        .generation = generation,
    };
    csandbox_ring_put(log, &record, sizeof record);
    if (length > 0) csandbox_ring_put(log, payload, length);
}

static size_t record_size(const struct csandbox_ring *log, uint64_t offset) {
    struct csandbox_record record;
    csandbox_ring_copy(log, offset, &record, sizeof record);
    return sizeof record + record.length;
}

size_t csandbox_log_whole(const struct csandbox_ring *log, uint64_t offset, size_t limit) {
    size_t length = 0;
    while (offset + length < log->end) {
        const size_t size = record_size(log, offset + length);
        if (size > limit - length) break;
        length += size;
    }
    return length;
}

// An offset inside a record frees the records before that one: a replay must start at a record.
void csandbox_log_acknowledge(struct csandbox_ring *log, uint64_t offset) {
    if (offset <= log->start || offset > log->end) return;
    while (log->start < offset) {
        const size_t size = record_size(log, log->start);
        if (size > offset - log->start) return;
        log->start += size;
    }
}
