// Fuzzes the reader of tar streams: any bytes, in any order, read entry by entry as FILES_PUT does.
#include "tar.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static struct csandbox_tar_reader reader;
static struct csandbox_tar_entry entry;

static void require(bool condition) {
    if (!condition) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int fd = -1;
    struct csandbox_failure failure;
    int result;
    if (fd < 0) fd = memfd_create("tar", MFD_CLOEXEC);
    require(fd >= 0 && ftruncate(fd, 0) == 0);
    require(pwrite(fd, data, size, 0) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0);
    memset(&reader, 0, offsetof(struct csandbox_tar_reader, buffer));
    reader.fd = fd;
    uint64_t total = 0;
    while ((result = csandbox_tar_next(&reader, &entry, &failure)) == 1) {
        require(strnlen(entry.name, sizeof entry.name) < sizeof entry.name);
        require(strnlen(entry.link, sizeof entry.link) < sizeof entry.link);
        require((entry.mode & ~0777u) == 0);
        const uint8_t *bytes = NULL;
        ssize_t count;
        uint64_t content = 0;
        while ((count = csandbox_tar_content(&reader, &bytes)) > 0) {
            total += bytes[0] + bytes[count - 1]; // all of it must be there to be read
            content += (uint64_t)count;
        }
        require(count < 0 || content == entry.size);
    }
    require(result == 0 || failure.error > 0);
    csandbox_tar_drain(&reader);
    return total == UINT64_MAX ? 1 : 0;
}
