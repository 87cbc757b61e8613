// Compiles the seccomp programs, once per launcher. A program has two parts: a head written here,
// which looks at the architecture, at arguments and at numbers newer than the tables; and the
// allow-list, which libseccomp lays out as a binary tree and exports. Nothing of libseccomp runs
// after clone3: programs are loaded raw (seccomp(2)).
#include "filter.h"
#include "weaken.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define NATIVE_ARCHITECTURE AUDIT_ARCH_X86_64
#define FOREIGN_BIT 0x40000000u // x32
#define UNUSED_FIRST 335u // numbers that x86-64 skipped, to stay equal to the others from 424 on
#define UNUSED_LAST 423u
#elif defined(__aarch64__)
#define NATIVE_ARCHITECTURE AUDIT_ARCH_AARCH64
#define FOREIGN_BIT 0x80000000u
#else
#error "no system call tables for this architecture"
#endif

#define ERRNO_RETURN(e) (SECCOMP_RET_ERRNO | ((e) & SECCOMP_RET_DATA))
#define LOW(index)                                                                                 \
    (offsetof(struct seccomp_data, args[index])) // little-endian: the low half comes first

// clone(2) flags that make namespaces.
#define NAMESPACE_FLAGS 0x7e020000u
#define LISTENER_FLAG (1u << 3) // SECCOMP_FILTER_FLAG_NEW_LISTENER

static void emit(struct csandbox_filter *filter, uint16_t code, uint32_t k, uint8_t yes,
                 uint8_t no) {
    // The array is much longer than any head; an overflow would show as a count above its size.
    if (filter->count < CSANDBOX_FILTER_MAX)
        filter->code[filter->count] = (struct sock_filter){code, yes, no, k};
    filter->count++;
}

static void load(struct csandbox_filter *filter, size_t offset) {
    emit(filter, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void finish(struct csandbox_filter *filter, uint32_t action) {
    emit(filter, BPF_RET | BPF_K, action, 0, 0);
}

// Returns `action` when the accumulator has the value, else goes on.
static void when_equal(struct csandbox_filter *filter, uint32_t value, uint32_t action) {
    emit(filter, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
    finish(filter, action);
}

static void when_any_bit(struct csandbox_filter *filter, uint32_t bits, uint32_t action) {
    emit(filter, BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1);
    finish(filter, action);
}

// Opens a part that only system call `number` runs; `close_call` sets how far the others jump.
static uint32_t open_call(struct csandbox_filter *filter, uint32_t number) {
    emit(filter, BPF_JMP | BPF_JEQ | BPF_K, number, 0, 0);
    return filter->count - 1;
}

static void close_call(struct csandbox_filter *filter, uint32_t opened, uint32_t action) {
    finish(filter, action);
    // A relative jump of at most 255 instructions; the longest part, prctl, has about 100.
    filter->code[opened].jf = (uint8_t)(filter->count - opened - 1);
}

// Values at `offset` that an isolation test lets through; none in any other build (weaken.h).
#ifdef CSANDBOX_WEAKEN
static void let_through(struct csandbox_filter *filter, const char *kind, size_t offset) {
    unsigned values[16] = {0};
    const unsigned count = csandbox_weakened_numbers(kind, values, 16);
    if (count > 0) load(filter, offset);
    for (unsigned i = 0; i < count; i++) when_equal(filter, values[i], SECCOMP_RET_ALLOW);
}
#else
#define let_through(filter, kind, offset) ((void)0)
#endif

static void check_ioctl(struct csandbox_filter *filter) {
    const uint32_t opened = open_call(filter, __NR_ioctl);
    // The kernel takes 32 bits of the request; a comparison of 64 could be passed by setting a high
    // one.
    let_through(filter, "ioctl", LOW(1));
    load(filter, LOW(1));
    when_equal(filter, 0x5412, ERRNO_RETURN(EPERM)); // TIOCSTI: types into a terminal
    when_equal(filter, 0x541c, ERRNO_RETURN(EPERM)); // TIOCLINUX: pastes into a console
    when_equal(filter, 0x5423, ERRNO_RETURN(EPERM)); // TIOCSETD: line disciplines
    // Type 0x94 is btrfs, whose subvolumes need no privilege to make and one to remove: a session
    // with one could not be deleted. Copies that share blocks have the same type and are harmless.
    emit(filter, BPF_ALU | BPF_AND | BPF_K, 0xff00, 0, 0);
    emit(filter, BPF_JMP | BPF_JEQ | BPF_K, 0x9400, 0, 8);
    load(filter, LOW(1));
    when_equal(filter, 0x40049409, SECCOMP_RET_ALLOW); // FICLONE
    when_equal(filter, 0x4020940d, SECCOMP_RET_ALLOW); // FICLONERANGE
    when_equal(filter, 0xc0189436, SECCOMP_RET_ALLOW); // FIDEDUPERANGE
    finish(filter, ERRNO_RETURN(EPERM));
    close_call(filter, opened, SECCOMP_RET_ALLOW);
}

// RLIMIT_CORE is 1, with which the kernel neither writes a core file nor starts a handler that
// core_pattern names; 0 would start the handler, as root of the host (core(5)). Whoever sets it, which
// `ulimit -c 0` does, hears that it was done.
static void check_core_limit(struct csandbox_filter *filter) {
    if (WEAKENED("check core limit")) return;
    uint32_t opened = open_call(filter, __NR_setrlimit);
    load(filter, LOW(0));
    when_equal(filter, RLIMIT_CORE, ERRNO_RETURN(0));
    close_call(filter, opened, SECCOMP_RET_ALLOW);
    opened = open_call(filter, __NR_prlimit64);
    load(filter, LOW(1));
    emit(filter, BPF_JMP | BPF_JEQ | BPF_K, RLIMIT_CORE, 0, 6);
    load(filter, LOW(2)); // the new limit, in two halves; a null pointer only asks
    emit(filter, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0);
    finish(filter, ERRNO_RETURN(0));
    load(filter, LOW(2) + 4);
    emit(filter, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0);
    finish(filter, ERRNO_RETURN(0));
    close_call(filter, opened, SECCOMP_RET_ALLOW);
}

static void check_clone(struct csandbox_filter *filter) {
    if (WEAKENED("check clone")) return;
    const uint32_t opened = open_call(filter, __NR_clone);
    load(filter, LOW(0));
    when_any_bit(filter, NAMESPACE_FLAGS, ERRNO_RETURN(EPERM));
    close_call(filter, opened, SECCOMP_RET_ALLOW);
}

static void check_seccomp(struct csandbox_filter *filter) {
    if (WEAKENED("check seccomp")) return;
    const uint32_t opened = open_call(filter, __NR_seccomp);
    load(filter, LOW(0));
    emit(filter, BPF_JMP | BPF_JEQ | BPF_K, SECCOMP_SET_MODE_FILTER, 0, 3);
    load(filter, LOW(1));
    when_any_bit(filter, LISTENER_FLAG, ERRNO_RETURN(EPERM));
    close_call(filter, opened, SECCOMP_RET_ALLOW);
}

static void check_personality(struct csandbox_filter *filter) {
    const uint32_t opened = open_call(filter, __NR_personality);
    let_through(filter, "personality", LOW(0));
    load(filter, LOW(0));
    when_equal(filter, 0x00000000, SECCOMP_RET_ALLOW); // PER_LINUX
    when_equal(filter, 0x00000008, SECCOMP_RET_ALLOW); // PER_LINUX32
    when_equal(filter, 0x00020000, SECCOMP_RET_ALLOW); // UNAME26
    when_equal(filter, 0x00020008, SECCOMP_RET_ALLOW);
    when_equal(filter, 0x00040000,
               SECCOMP_RET_ALLOW); // ADDR_NO_RANDOMIZE: debuggers, on their own children
    when_equal(filter, 0xffffffff, SECCOMP_RET_ALLOW); // read
    close_call(filter, opened, ERRNO_RETURN(EPERM));
}

static void check_prctl(struct csandbox_filter *filter, enum csandbox_filter_profile profile) {
    const uint32_t opened = open_call(filter, __NR_prctl);
    let_through(filter, "prctl", LOW(0));
    load(filter, LOW(0));
    for (const unsigned *option = csandbox_filter_prctl; *option != 0; option++)
        when_equal(filter, *option, SECCOMP_RET_ALLOW);
    if (profile == CSANDBOX_FILTER_INIT)
        for (const unsigned *option = csandbox_filter_prctl_init; *option != 0; option++)
            when_equal(filter, *option, SECCOMP_RET_ALLOW);
    close_call(filter, opened, ERRNO_RETURN(EPERM));
}

// AF_UNIX of any type; IPv4 and IPv6 with TCP and UDP; netlink for routes, which getifaddrs(3)
// needs. No raw sockets, no other protocol: every other family is more kernel for an agent to
// reach.
static void check_socket(struct csandbox_filter *filter) {
    const uint32_t opened = open_call(filter, __NR_socket);
    let_through(filter, "socket family", LOW(0));
    let_through(filter, "socket type", LOW(1));
    let_through(filter, "socket protocol", LOW(2));
    load(filter, LOW(0));
    when_equal(filter, AF_UNIX, SECCOMP_RET_ALLOW);
    emit(filter, BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 0, 3);
    load(filter, LOW(2));
    when_equal(filter, 0 /* NETLINK_ROUTE */, SECCOMP_RET_ALLOW);
    // The accumulator may now hold a protocol, for netlink only: load the family again.
    load(filter, LOW(0));
    emit(filter, BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 2, 0);
    emit(filter, BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 1, 0);
    finish(filter, ERRNO_RETURN(EAFNOSUPPORT));
    load(filter, LOW(1));
    emit(filter, BPF_ALU | BPF_AND | BPF_K, 0xf, 0, 0); // without SOCK_CLOEXEC and SOCK_NONBLOCK
    emit(filter, BPF_JMP | BPF_JEQ | BPF_K, SOCK_STREAM, 0, 4);
    load(filter, LOW(2));
    emit(filter, BPF_JMP | BPF_JEQ | BPF_K, 0, 6, 0);
    emit(filter, BPF_JMP | BPF_JEQ | BPF_K, 6 /* TCP */, 5, 0);
    finish(filter, ERRNO_RETURN(EPERM));
    emit(filter, BPF_JMP | BPF_JEQ | BPF_K, SOCK_DGRAM, 0, 4);
    load(filter, LOW(2));
    emit(filter, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0);
    emit(filter, BPF_JMP | BPF_JEQ | BPF_K, 17 /* UDP */, 0, 1);
    finish(filter, SECCOMP_RET_ALLOW);
    close_call(filter, opened, ERRNO_RETURN(EPERM));
}

static void check_socketpair(struct csandbox_filter *filter) {
    const uint32_t opened = open_call(filter, __NR_socketpair);
    load(filter, LOW(0));
    when_equal(filter, AF_UNIX, SECCOMP_RET_ALLOW);
    close_call(filter, opened, ERRNO_RETURN(EAFNOSUPPORT));
}

// Levels of the protocols that a session can have a socket of, and of those what an agent needs:
// protocols loaded into a connection (kTLS, ESP), programs for the kernel to run, the tables of
// firewalls and encryption policies are kernel that nobody in a session has a use for.
static void check_socket_options(struct csandbox_filter *filter) {
    static const struct {
        uint32_t level;
        uint32_t refused[5]; // ends with 0
        uint32_t refused_from;
    } levels[] = {
        // SO_ATTACH_FILTER, SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_CBPF and _EBPF
        {SOL_SOCKET, {26, 50, 51, 52, 0}, UINT32_MAX},
        {0 /* IP */, {16, 17, 0}, 64},              // encryption policies; iptables and its like
        {6 /* TCP */, {31, 0}, UINT32_MAX},         // TCP_ULP
        {17 /* UDP */, {100, 0}, UINT32_MAX},       // UDP_ENCAP
        {41 /* IPv6 */, {34, 35, 64, 65, 0}, 128},  // encryption policies; ip6tables
        {270 /* netlink */, {0}, UINT32_MAX},
    };
    const uint32_t opened = open_call(filter, __NR_setsockopt);
    load(filter, LOW(1));
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        const uint32_t level = open_call(filter, levels[i].level);
        load(filter, LOW(2));
        for (const uint32_t *option = levels[i].refused; *option != 0; option++)
            when_equal(filter, *option, ERRNO_RETURN(EPERM));
        if (levels[i].refused_from != UINT32_MAX) {
            emit(filter, BPF_JMP | BPF_JGE | BPF_K, levels[i].refused_from, 0, 1);
            finish(filter, ERRNO_RETURN(EPERM));
        }
        close_call(filter, level, SECCOMP_RET_ALLOW);
    }
    close_call(filter, opened, ERRNO_RETURN(ENOPROTOOPT));
}

// Out-of-band data of Unix sockets was exploitable (CVE-2025-38236) and the family is not visible
// here.
static void check_send(struct csandbox_filter *filter, uint32_t number, unsigned flags_argument) {
    if (WEAKENED("check out of band")) return;
    const uint32_t opened = open_call(filter, number);
    load(filter, LOW(flags_argument));
    when_any_bit(filter, MSG_OOB, ERRNO_RETURN(EOPNOTSUPP));
    close_call(filter, opened, SECCOMP_RET_ALLOW);
}

static void write_head(struct csandbox_filter *filter, enum csandbox_filter_profile profile) {
    load(filter, offsetof(struct seccomp_data, arch));
    emit(filter, BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCHITECTURE, 1, 0);
    finish(filter, WEAKENED("check architecture") ? SECCOMP_RET_ALLOW
                                                  : SECCOMP_RET_KILL_PROCESS);
    let_through(filter, "call", offsetof(struct seccomp_data, nr));
    load(filter, offsetof(struct seccomp_data, nr));
    when_equal(filter, 0xffffffff, ERRNO_RETURN(ENOSYS)); // a debugger cancelled the call
    when_any_bit(filter, FOREIGN_BIT, SECCOMP_RET_KILL_PROCESS);
    emit(filter, BPF_JMP | BPF_JGT | BPF_K, CSANDBOX_FILTER_NEWEST, 0, 1);
    finish(filter, ERRNO_RETURN(ENOSYS));
#ifdef UNUSED_FIRST
    emit(filter, BPF_JMP | BPF_JGE | BPF_K, UNUSED_FIRST, 0, 2);
    emit(filter, BPF_JMP | BPF_JGT | BPF_K, UNUSED_LAST, 1, 0);
    finish(filter, ERRNO_RETURN(ENOSYS));
#endif
    check_ioctl(filter);
    check_core_limit(filter);
    check_clone(filter);
    check_seccomp(filter);
    check_personality(filter);
    check_prctl(filter, profile);
    check_socket(filter);
    check_socketpair(filter);
    check_socket_options(filter);
    check_send(filter, __NR_sendto, 3);
    check_send(filter, __NR_sendmsg, 2);
    check_send(filter, __NR_sendmmsg, 3);
}

static void release(scmp_filter_ctx *context) {
    if (*context != NULL) seccomp_release(*context);
}

static int add_rules(scmp_filter_ctx context, struct csandbox_failure *failure) {
    for (const char *const *name = csandbox_filter_allowed; *name != NULL; name++) {
        const int number = seccomp_syscall_resolve_name(*name);
        if (number < 0) continue; // not on this architecture
        const int result = seccomp_rule_add(context, SCMP_ACT_ALLOW, number, 0);
        if (result < 0) return csandbox_fail(failure, "seccomp", -result, "allow %s", *name);
    }
    for (const char *const *name = csandbox_filter_unknown; *name != NULL; name++) {
        const int number = seccomp_syscall_resolve_name(*name);
        if (number < 0) continue;
        const int result = seccomp_rule_add(context, SCMP_ACT_ERRNO(ENOSYS), number, 0);
        if (result < 0) return csandbox_fail(failure, "seccomp", -result, "hide %s", *name);
    }
    // From 451 on this library has no names: what is not allowed does not exist.
    const unsigned *allowed = csandbox_filter_allowed_numbers;
    for (unsigned number = 451; number <= CSANDBOX_FILTER_NEWEST; number++) {
        const bool listed = *allowed == number;
        if (listed) allowed++;
        const int result = seccomp_rule_add(
            context, listed ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(ENOSYS), (int)number, 0);
        if (result < 0)
            return csandbox_fail(failure, "seccomp", -result, "rule for call %u", number);
    }
    return 0;
}

// Appends the program that libseccomp wrote into `fd`.
static int append_export(struct csandbox_filter *filter, int fd, struct csandbox_failure *failure) {
    const off_t size = lseek(fd, 0, SEEK_END);
    const size_t room = (CSANDBOX_FILTER_MAX - filter->count) * sizeof filter->code[0];
    if (size <= 0 || (size_t)size > room || size % (off_t)sizeof filter->code[0] != 0)
        return csandbox_fail(failure, "seccomp", E2BIG, "the exported program has %lld bytes",
                             (long long)size);
    if (pread(fd, filter->code + filter->count, (size_t)size, 0) != size)
        return csandbox_fail(failure, "seccomp", errno, "read the exported program");
    filter->count += (uint32_t)((size_t)size / sizeof filter->code[0]);
    return 0;
}

int csandbox_filter_compile(enum csandbox_filter_profile profile, struct csandbox_filter *filter,
                            struct csandbox_failure *failure) {
    __attribute__((cleanup(release))) scmp_filter_ctx context = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (context == NULL) return csandbox_fail(failure, "seccomp", ENOMEM, "seccomp_init");
    int result = seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (result == 0) result = seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2); // binary tree
    if (result < 0) return csandbox_fail(failure, "seccomp", -result, "seccomp_attr_set");
    if (add_rules(context, failure) < 0) return -failure->error;
    CSANDBOX_AUTO_FD int fd = memfd_create("filter", MFD_CLOEXEC);
    if (fd < 0) return csandbox_fail(failure, "seccomp", errno, "memfd_create");
    result = seccomp_export_bpf(context, fd);
    if (result < 0) return csandbox_fail(failure, "seccomp", -result, "seccomp_export_bpf");
    filter->count = 0;
    write_head(filter, profile);
    return append_export(filter, fd, failure);
}
