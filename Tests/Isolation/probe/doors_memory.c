// Doors to the parts of memory management that exploits are built with.
#include "door.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <asm/ldt.h>
#endif

// Whoever answers for a page can hold the kernel up in the middle of a copy.
static void page_faults(struct answer *answer) {
    const int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    if (fd < 0) return judge(answer, -1, "userfaultfd");
    struct uffdio_api api = {.api = UFFD_API};
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uffdio_register range = {.range = {(uint64_t)(uintptr_t)page, 4096},
                                    .mode = UFFDIO_REGISTER_MODE_MISSING};
    if (page == MAP_FAILED || ioctl(fd, UFFDIO_API, &api) < 0)
        return opened(answer, "userfaultfd, without use");
    judge(answer, ioctl(fd, UFFDIO_REGISTER, &range), "a page whose faults this process answers");
}

static void secret_memory(struct answer *answer) {
    const int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
    if (fd < 0) return judge(answer, -1, "memfd_secret");
    opened(answer, "memory that the kernel itself cannot see");
}

static void gift_pages(struct answer *answer) {
    int ends[2];
    static char page[4096] __attribute__((aligned(4096)));
    const struct iovec part = {page, sizeof page};
    if (pipe(ends) < 0) return broken(answer, "pipe: %s", strerror(errno));
    judge(answer, vmsplice(ends[1], &part, 1, SPLICE_F_GIFT), "pages given to a pipe");
}

#if defined(__x86_64__)
static void segments(struct answer *answer) {
    struct user_desc entry = {.entry_number = 0, .limit = 0xfff, .seg_32bit = 1, .useable = 1};
    judge(answer, syscall(SYS_modify_ldt, 1, &entry, sizeof entry), "a segment of its own");
}
#else
static void segments(struct answer *answer) { shut(answer, "this processor has no segments"); }
#endif




// A page of a program that all sessions share, changed in place: written through memory, and
// through a pipe that holds the page itself.
static void shared_page(struct answer *answer) {
    // A file that may be written, so that the judge can be judged.
    const char *own = optional_parameter("page");
    const char *path = own != NULL ? own : "/usr/bin/env";
    char before[64], after[64];
    int ends[2];
    const int fd = open(path, (own != NULL ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (fd < 0 || pread(fd, before, sizeof before, 0) != sizeof before || pipe(ends) < 0)
        return broken(answer, "%s: %s", path, strerror(errno));
    // Every buffer of the pipe has been used once, so that its marks are those of ordinary writes.
    static char filler[65536];
    const long filled = write(ends[1], filler, sizeof filler);
    for (long got = 0; got < filled;) {
        const long part = read(ends[0], filler, sizeof filler);
        if (part <= 0) return broken(answer, "pipe");
        got += part;
    }
    loff_t at = 0;
    if (splice(fd, &at, ends[1], NULL, 1, 0) != 1)
        return broken(answer, "splice: %s", strerror(errno));
    if (write(ends[1], "\x01", 1) != 1) return broken(answer, "write");
    char *page = own != NULL ? mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                             : mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    const int memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
    if (page == MAP_FAILED) return broken(answer, "mmap");
    if (memory >= 0) (void)!pwrite(memory, "\x02", 1, (off_t)(uintptr_t)(page + 2));
    const int again = open(path, O_RDONLY | O_CLOEXEC);
    if (again < 0 || pread(again, after, sizeof after, 0) != sizeof after)
        return broken(answer, "%s: %s", path, strerror(errno));
    if (memcmp(before, after, sizeof before) != 0) opened(answer, "%s was changed", path);
    else shut(answer, "%s is as before", path);
}

#define GROUP "kernel attack surface"

const struct door memory_doors[] = {
    {"userfaultfd", GROUP, "CVE-2021-22555 CVE-2022-2590", false, page_faults},
    {"secret-memory", GROUP, "", true, secret_memory},
    {"gift-pages", GROUP, "CVE-2022-0847", false, gift_pages},
    {"segments", GROUP, "CVE-2015-5157", false, segments},
    {"shared-page", GROUP, "CVE-2022-0847 CVE-2016-5195", false, shared_page},
    {NULL, NULL, NULL, false, NULL},
};
