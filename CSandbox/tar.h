// Streams of POSIX.1-2001 (pax) tar: what init's file helpers read and write.
#pragma once

#include "internal.h"

#define CSANDBOX_TAR_BLOCK 512u
#define CSANDBOX_TAR_NAME_MAX 8192u   // bytes of a path or link target
#define CSANDBOX_TAR_EXTENDED_MAX 262144u // bytes of one extended header that we look into
#define CSANDBOX_TAR_BUFFER 65536u
#define CSANDBOX_TAR_DEPTH_MAX 512    // nested directories; each keeps a descriptor open

// POSIX ustar header, IEEE Std 1003.1 "pax".
struct csandbox_tar_header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8];
    char type, link[100], magic[6], version[2], user[32], group[32], major[8], minor[8];
    char prefix[155], padding[12];
};
_Static_assert(sizeof(struct csandbox_tar_header) == CSANDBOX_TAR_BLOCK, "a header is one block");

// Type flags.
#define CSANDBOX_TAR_FILE '0'
#define CSANDBOX_TAR_HARD_LINK '1'
#define CSANDBOX_TAR_SYMBOLIC_LINK '2'
#define CSANDBOX_TAR_DIRECTORY '5'

struct csandbox_tar_entry {
    char type;
    uint32_t mode; // permission bits only
    uint64_t size;
    int64_t mtime; // seconds since 1970
    char name[CSANDBOX_TAR_NAME_MAX];
    char link[CSANDBOX_TAR_NAME_MAX];
};

// --- tar_write.c: buffered, blocking. All return 0 or -errno -------------------------------------

struct csandbox_tar_writer {
    int fd;
    size_t used;
    uint8_t buffer[CSANDBOX_TAR_BUFFER];
};
int csandbox_tar_write_header(struct csandbox_tar_writer *_Nonnull writer,
                              const struct csandbox_tar_entry *_Nonnull entry);
// Where the next bytes of content may be put, and how many have been.
uint8_t *_Nonnull csandbox_tar_space(struct csandbox_tar_writer *_Nonnull writer,
                                     size_t *_Nonnull length);
int csandbox_tar_wrote(struct csandbox_tar_writer *_Nonnull writer, size_t length);
int csandbox_tar_zeros(struct csandbox_tar_writer *_Nonnull writer, uint64_t length);
int csandbox_tar_write_end(struct csandbox_tar_writer *_Nonnull writer);

// --- tar_read.c ----------------------------------------------------------------------------------

struct csandbox_tar_reader {
    int fd;
    size_t start, end;  // unread bytes of the buffer
    uint64_t remaining; // content of the current entry
    uint64_t padding;   // after it
    uint8_t buffer[CSANDBOX_TAR_BUFFER];
    char extended[CSANDBOX_TAR_EXTENDED_MAX + 1];
};
// 1: an entry, its content follows; 0: the end of the archive; else a failure that ends the
// reading.
int csandbox_tar_next(struct csandbox_tar_reader *_Nonnull reader,
                      struct csandbox_tar_entry *_Nonnull entry,
                      struct csandbox_failure *_Nonnull failure);
// Bytes of content in place, 0 after the last, or -errno.
ssize_t csandbox_tar_content(struct csandbox_tar_reader *_Nonnull reader,
                             const uint8_t *_Nullable *_Nonnull bytes);
// Reads and forgets what follows the archive, so that its writer comes to an end.
void csandbox_tar_drain(struct csandbox_tar_reader *_Nonnull reader);
