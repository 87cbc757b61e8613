// Doors to parts of the kernel that agents do not need and that have often been broken.
#include "door.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/fanotify.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/kcmp.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// A ring takes requests that no system call filter sees.
static void ring(struct answer *answer) {
    struct io_uring_params parameters = {0};
    const int fd = (int)syscall(SYS_io_uring_setup, 4, &parameters);
    if (fd < 0) return judge(answer, -1, "io_uring_setup");
    const size_t size = parameters.sq_off.array + parameters.sq_entries * sizeof(unsigned);
    uint8_t *queue = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
    struct io_uring_sqe *entries =
        mmap(NULL, parameters.sq_entries * sizeof *entries, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
             (off_t)IORING_OFF_SQES);
    if (queue == MAP_FAILED || entries == MAP_FAILED)
        return opened(answer, "a ring, but no memory of it: %s", strerror(errno));
    memset(entries, 0, sizeof *entries);
    entries[0].opcode = IORING_OP_NOP;
    *(unsigned *)(void *)(queue + parameters.sq_off.array) = 0;
    __atomic_store_n((unsigned *)(void *)(queue + parameters.sq_off.tail), 1, __ATOMIC_RELEASE);
    judge(answer, syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0),
          "a request by io_uring");
}

static void bpf(struct answer *answer) {
    const struct bpf_insn program[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0},
                                       {.code = BPF_JMP | BPF_EXIT}};
    union bpf_attr attributes = {
        .prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
        .insn_cnt = 2,
        .insns = (uint64_t)(uintptr_t)program,
        .license = (uint64_t)(uintptr_t) "GPL",
    };
    judge(answer, syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes), "bpf");
}

static void performance(struct answer *answer) {
    struct perf_event_attr attributes = {
        .type = PERF_TYPE_SOFTWARE,
        .size = sizeof attributes,
        .config = PERF_COUNT_SW_TASK_CLOCK,
        .exclude_kernel = 1,
    };
    judge(answer, syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0), "perf_event_open");
}

// Kept by the kernel for a user id, not for a session.
static void keep_key(struct answer *answer) {
    char text[16] = "";
    const long key = syscall(SYS_add_key, "user", "superserve-probe", "secret", 6,
                             KEY_SPEC_PROCESS_KEYRING);
    if (key < 0) return judge(answer, -1, "add_key");
    judge(answer, syscall(SYS_keyctl, KEYCTL_READ, key, text, sizeof text), "a key kept and read");
}


static void request_key(struct answer *answer) {
    const long key = syscall(SYS_request_key, "user", "superserve-probe-none", NULL, 0);
    judge_reached(answer, key, ENOKEY, "request_key");
}

static void handle(struct answer *answer) {
    struct file_handle *handle = calloc(1, sizeof *handle + 128);
    int mount = 0;
    if (handle == NULL) return broken(answer, "memory");
    handle->handle_bytes = 128;
    judge_reached(answer, syscall(SYS_name_to_handle_at, AT_FDCWD, "/usr", handle, &mount, 0),
                  EOPNOTSUPP, "name_to_handle_at");
}

static void handle_open(struct answer *answer) {
    struct file_handle *handle = calloc(1, sizeof *handle + 128);
    if (handle == NULL) return broken(answer, "memory");
    handle->handle_bytes = 8;
    handle->handle_type = 1;
    handle->f_handle[0] = 2; // the root of an ext4
    const long fd = syscall(SYS_open_by_handle_at, AT_FDCWD, handle, O_RDONLY);
    judge_reached(answer, fd, ESTALE, "a file by its number");
}

static void watch_files(struct answer *answer) {
    judge(answer, syscall(SYS_fanotify_init, FAN_CLASS_NOTIF | FAN_REPORT_FID, O_RDONLY),
          "fanotify_init");
}

static void compare(struct answer *answer) {
    judge(answer, syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILES, 0, 0), "kcmp");
}

static void take_descriptor(struct answer *answer) {
    const int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (self < 0) return broken(answer, "pidfd_open: %s", strerror(errno));
    judge(answer, syscall(SYS_pidfd_getfd, self, 0, 0), "pidfd_getfd");
}

static void listen_to_calls(struct answer *answer) {
    struct sock_filter allow = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
    const struct sock_fprog program = {1, &allow};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return broken(answer, "%s", strerror(errno));
    judge(answer, syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                          &program),
          "another process decides over calls");
}

static void memory_map(struct answer *answer) {
    unsigned size = 0;
    judge(answer, prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0), "PR_SET_MM");
}

// Makes every readable page executable, in this process and what it executes.
static void read_implies_execute(struct answer *answer) {
    judge(answer, personality(READ_IMPLIES_EXEC), "personality");
}

#if defined(__x86_64__)
// Through the 32-bit entry, where socket(2) is one of socketcall's numbers and its arguments lie in
// memory.
static void old_entry(struct answer *answer) {
    uint32_t *arguments = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (arguments == MAP_FAILED) return broken(answer, "mmap: %s", strerror(errno));
    arguments[0] = 40; // AF_VSOCK
    arguments[1] = 1;
    arguments[2] = 0;
    long result = 102; // socketcall
    __asm__ volatile("int $0x80"
                     : "+a"(result)
                     : "b"(1L), "c"((long)(uintptr_t)arguments)
                     : "memory", "r8", "r9", "r10", "r11");
    if (result < 0) errno = (int)-result;
    judge(answer, result < 0 ? -1 : result, "socketcall by int 0x80");
}
#else
static void old_entry(struct answer *answer) { shut(answer, "this processor has no other entry"); }
#endif

static void statmount(struct answer *answer) {
    const uint64_t request[4] = {32, UINT64_MAX, 0, 0}; // of the root of the namespace
    uint64_t found[16];
    judge(answer, syscall(458, request, found, 16, 0), "listmount");
}


static void dmesg(struct answer *answer) {
    judge(answer, syscall(SYS_syslog, 10, NULL, 0), "the size of the kernel's log");
}

// The calls of root: with arguments that are wrong behind the check of rights.
static void reboot(struct answer *answer) {
    judge_reached(answer, syscall(SYS_reboot, 1, 2, 3, NULL), EINVAL, "reboot");
}
static void modules(struct answer *answer) {
    judge_reached(answer, syscall(SYS_delete_module, "superserve_probe_none", O_NONBLOCK), ENOENT,
                  "delete_module");
}
static void ports(struct answer *answer) {
    judge(answer, syscall(SYS_ioperm, 0x80, 1, 1), "ioperm");
}

#define GROUP "kernel attack surface"

const struct door kernel_doors[] = {
    {"io-uring", GROUP, "CVE-2020-29373 CVE-2026-43494", false, ring},
    {"bpf", GROUP, "CVE-2017-16995 CVE-2021-3444 CVE-2022-23222", false, bpf},
    {"perf-event", GROUP, "CVE-2020-25704", true, performance},
    {"key-kept", GROUP, "CVE-2016-0728", false, keep_key},
    {"request-key", GROUP, "CVE-2016-0728", true, request_key},
    {"file-handle", GROUP, "", true, handle},
    {"file-handle-open", GROUP, "", false, handle_open},
    {"fanotify", GROUP, "", true, watch_files},
    {"kcmp", GROUP, "", true, compare},
    {"pidfd-getfd", GROUP, "", true, take_descriptor},
    {"seccomp-listener", GROUP, "", false, listen_to_calls},
    {"prctl-memory-map", GROUP, "", false, memory_map},
    {"read-implies-execute", GROUP, "", false, read_implies_execute},
    {"foreign-architecture", GROUP, "CVE-2026-31431 CVE-2021-41133", false, old_entry},
    {"listmount", GROUP, "CVE-2021-41133", true, statmount},
    {"kernel-log", GROUP, "", true, dmesg},
    {"reboot", GROUP, "", true, reboot},
    {"kernel-modules", GROUP, "", true, modules},
    {"io-ports", GROUP, "", true, ports},
    {NULL, NULL, NULL, false, NULL},
};
