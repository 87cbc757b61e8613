// PID 1 of a session: reads what the launcher left for it, gives up power, then serves until it
// leaves.
#include "init.h"
#include "weaken.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define RING_MIN (256u << 10)
#define RING_MAX (256u << 20)
#define LISTEN_BACKLOG 8

static struct csandbox_init instance;

struct boot_block {
    struct csandbox_boot head;
    struct csandbox_program init_filter;
    struct csandbox_program agent_filter;
};

// The filters stay mapped: each child loads one. The seals make sure that nobody changes them.
static int read_boot(struct boot_block *boot, struct csandbox_failure *failure) {
    struct stat status;
    const int seals = fcntl(CSANDBOX_FD_BOOT, F_GET_SEALS);
    if (seals < 0 || fstat(CSANDBOX_FD_BOOT, &status) != 0)
        return csandbox_fail(failure, "boot block", errno, "descriptor %d", CSANDBOX_FD_BOOT);
    if ((seals & (F_SEAL_WRITE | F_SEAL_SHRINK)) != (F_SEAL_WRITE | F_SEAL_SHRINK))
        return csandbox_fail(failure, "boot block", EPERM, "not sealed");
    const size_t size = (size_t)status.st_size;
    if (size < sizeof boot->head) return csandbox_fail(failure, "boot block", EPROTO, "too short");
    const uint8_t *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, CSANDBOX_FD_BOOT, 0);
    if (bytes == MAP_FAILED) return csandbox_fail(failure, "boot block", errno, "mmap");
    memcpy(&boot->head, bytes, sizeof boot->head);
    const struct csandbox_boot *head = &boot->head;
    const uint64_t count = (uint64_t)head->init_filter_count + head->agent_filter_count;
    if (head->magic != CSANDBOX_WIRE_MAGIC || head->version != CSANDBOX_WIRE_VERSION ||
        size != sizeof *head + count * sizeof(struct sock_filter))
        return csandbox_fail(failure, "boot block", EPROTO, "version %u, %zu bytes", head->version,
                             size);
    if (head->network.port_count > CSANDBOX_PORTS_MAX)
        return csandbox_fail(failure, "boot block", EINVAL, "%u ports", head->network.port_count);
    if (head->ring_size < RING_MIN || head->ring_size > RING_MAX)
        return csandbox_fail(failure, "boot block", EINVAL, "a log of %llu bytes",
                             (unsigned long long)head->ring_size);
    const struct sock_filter *first = (const void *)(bytes + sizeof *head);
    boot->init_filter = (struct csandbox_program){first, head->init_filter_count};
    boot->agent_filter = (struct csandbox_program){
        first + head->init_filter_count, head->agent_filter_count};
    close(CSANDBOX_FD_BOOT);
    return 0;
}

// Signals come as reads; writing to an agent that closed its input is an error, not a death.
static int open_signals(struct csandbox_init *init, struct csandbox_failure *failure) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    if (sigaction(SIGPIPE, &ignore, NULL) != 0 || sigprocmask(SIG_SETMASK, &set, NULL) != 0)
        return csandbox_fail(failure, "signals", errno, "init");
    init->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return init->signal_fd >= 0 ? 0 : csandbox_fail(failure, "signals", errno, "signalfd");
}

static int prepare(struct csandbox_init *init, struct boot_block *boot,
                   struct csandbox_failure *failure) {
    int result = csandbox_make_undumpable();
    if (result != 0) return csandbox_fail(failure, "dumpable", -result, "init");
    if (syscall(SYS_close_range, CSANDBOX_FD_GROUP + 1, ~0U, 0) != 0)
        return csandbox_fail(failure, "close_range", errno, "init");
    if ((result = read_boot(boot, failure)) != 0) return result;
    memcpy(init->nonce, boot->head.nonce, sizeof init->nonce);
    init->linger = boot->head.linger;
    init->agent_filter = boot->agent_filter;
    init->listen_fd = CSANDBOX_FD_LISTEN;
    init->group_fd =
        fcntl(CSANDBOX_FD_GROUP, F_SETFD, FD_CLOEXEC) == 0 ? CSANDBOX_FD_GROUP : -1;
    init->link.fd = init->input.fd = init->agent.report = -1;
    for (int i = 0; i < CSANDBOX_PENDING_MAX; i++) init->link.pending[i] = -1;
    for (int i = 0; i < CSANDBOX_OUTPUTS_MAX; i++) init->outputs[i].fd = -1;
    init->workspace_fd = open("/workspace", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (init->workspace_fd < 0) return csandbox_fail(failure, "workspace", errno, "/workspace");
    if ((result = csandbox_ring_open(&init->log, boot->head.ring_size)) != 0 ||
        (result = csandbox_ring_open(&init->input.ring, CSANDBOX_INPUT_WINDOW)) != 0)
        return csandbox_fail(failure, "buffers", -result, "init");
    init->input.close_at = UINT64_MAX;
    (void)prctl(PR_SET_NAME, "superserve-init", 0, 0, 0); // for people who look at ps
    if ((result = open_signals(init, failure)) != 0) return result;
    // Children have the keyring that init has, and no call to change it.
    if ((result = csandbox_join_new_keyring()) != 0)
        return csandbox_fail(failure, "session keyring", -result, "init");
    if ((result = csandbox_network_open(&init->network, &boot->head.network, failure)) != 0)
        return result;
    if ((result = csandbox_reduce_init(failure)) != 0) return result;
    if ((result = csandbox_enter_landlock(boot->head.loosened, &init->protection.measures,
                                          &init->protection.landlock, failure)) != 0)
        return result;
    if ((result = csandbox_load_filter(boot->init_filter, failure)) != 0) return result;
    // Here and not in the launcher: SO_PEERCRED names whoever calls listen.
    if (listen(init->listen_fd, LISTEN_BACKLOG) != 0)
        return csandbox_fail(failure, "listen", errno, "control socket");
    init->lonely_since = csandbox_monotonic_seconds();
    return 0;
}

static void reap(struct csandbox_init *init) {
    int status = 0;
    struct rusage usage;
    pid_t pid;
    while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0) {
        if (csandbox_files_reaped(init, pid, status)) continue;
        const bool alive = init->agent.state == CSANDBOX_AGENT_STARTING ||
                           init->agent.state == CSANDBOX_AGENT_RUNNING;
        if (alive && pid == init->agent.pid) csandbox_agent_reaped(init, status, &usage);
    }
}

static void read_signals(struct csandbox_init *init) {
    struct signalfd_siginfo info;
    while (read(init->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        if (info.ssi_signo == SIGTERM) init->leave = true; // only from outside: agents may not
    reap(init);
}

// Slow things: the session was deleted, memory that nothing needs.
static void check(struct csandbox_init *init) {
    struct stat status;
    if (fstat(init->workspace_fd, &status) != 0 || status.st_nlink == 0) init->leave = true;
    csandbox_ring_relax(&init->log);
    csandbox_ring_relax(&init->input.ring);
}

// When init leaves unless somebody comes, in CLOCK_MONOTONIC seconds.
static uint64_t leave_at(const struct csandbox_init *init) {
    if (init->link.fd >= 0 || init->linger == 0) return UINT64_MAX;
    const uint64_t at = init->lonely_since + init->linger + 1; // seconds are cut: never early
    return at >= init->linger ? at : UINT64_MAX;
}

// What poll is asked for, in this order.
enum { SLOT_SIGNALS, SLOT_LISTEN, SLOT_LINK, SLOT_REPORT, SLOT_INPUT, SLOT_PENDING };
#define SLOT_OUTPUTS (SLOT_PENDING + CSANDBOX_PENDING_MAX)
#define SLOT_NETWORK (SLOT_OUTPUTS + CSANDBOX_OUTPUTS_MAX)
#define SLOT_COUNT (SLOT_NETWORK + CSANDBOX_LISTENERS_MAX + 1)

static bool input_waits(const struct csandbox_init *init) {
    const struct csandbox_input *input = &init->input;
    return input->fd >= 0 && init->agent.state == CSANDBOX_AGENT_RUNNING &&
           input->ring.start < input->ring.end;
}

// -1 where nothing is wanted: poll reports hang-ups even when asked for nothing. How many.
static nfds_t fill_slots(struct csandbox_init *init, struct pollfd slots[SLOT_COUNT]) {
    const struct csandbox_link *link = &init->link;
    slots[SLOT_SIGNALS] = (struct pollfd){.fd = init->signal_fd, .events = POLLIN};
    slots[SLOT_LISTEN] = (struct pollfd){.fd = init->listen_fd, .events = POLLIN};
    slots[SLOT_LINK] = (struct pollfd){
        .fd = link->fd, .events = (short)(POLLIN | (link->blocked ? POLLOUT : 0))};
    slots[SLOT_REPORT] = (struct pollfd){
        .fd = init->agent.state == CSANDBOX_AGENT_STARTING ? init->agent.report : -1,
        .events = POLLIN};
    slots[SLOT_INPUT] =
        (struct pollfd){.fd = input_waits(init) ? init->input.fd : -1, .events = POLLOUT};
    for (int i = 0; i < CSANDBOX_PENDING_MAX; i++)
        slots[SLOT_PENDING + i] = (struct pollfd){.fd = link->pending[i], .events = POLLIN};
    for (int i = 0; i < CSANDBOX_OUTPUTS_MAX; i++) {
        const struct csandbox_output *output = &init->outputs[i];
        slots[SLOT_OUTPUTS + i] = (struct pollfd){
            .fd = csandbox_output_readable(init, output) ? output->fd : -1, .events = POLLIN};
    }
    return SLOT_NETWORK + csandbox_network_fill(init, slots + SLOT_NETWORK);
}

// A descriptor may have been closed, and its number used again, by what came before in the same
// turn: each handler is non-blocking and looks at the present state, so a needless call is
// harmless.
static void serve(struct csandbox_init *init, const struct pollfd slots[SLOT_COUNT]) {
    if (slots[SLOT_REPORT].revents != 0) csandbox_agent_read_report(init);
    for (int i = 0; i < CSANDBOX_OUTPUTS_MAX; i++) {
        struct csandbox_output *output = &init->outputs[i];
        if (slots[SLOT_OUTPUTS + i].revents != 0 && csandbox_output_readable(init, output))
            csandbox_output_read(init, output);
    }
    if (slots[SLOT_SIGNALS].revents != 0) read_signals(init);
    if (slots[SLOT_INPUT].revents != 0) csandbox_input_write(init);
    if ((slots[SLOT_LINK].revents & POLLOUT) != 0) init->link.blocked = false;
    if ((slots[SLOT_LINK].revents & ~POLLOUT) != 0 && init->link.fd >= 0)
        csandbox_link_receive(init);
    // From the last to the first: those that have spoken leave the list.
    for (int i = CSANDBOX_PENDING_MAX - 1; i >= 0; i--)
        if (slots[SLOT_PENDING + i].revents != 0) csandbox_link_hello(init, i);
    if (slots[SLOT_LISTEN].revents != 0) csandbox_link_accept(init);
    csandbox_agent_finish(init);
    csandbox_network_serve(init, slots + SLOT_NETWORK);
    csandbox_link_flush(init);
}

static int loop(struct csandbox_init *init) {
    struct pollfd slots[SLOT_COUNT];
    uint64_t check_at = 0;
    while (!init->leave) {
        const uint64_t now = csandbox_monotonic_seconds();
        if (now >= check_at) {
            check(init);
            check_at = now + CSANDBOX_CHECK_SECONDS;
        }
        if (init->leave || now >= leave_at(init)) break;
        uint64_t next = csandbox_network_resume(&init->network, now);
        if (leave_at(init) < next) next = leave_at(init);
        if (check_at < next) next = check_at;
        const nfds_t used = fill_slots(init, slots);
        const int count = poll(slots, used, (int)(next - now) * 1000);
        if (count < 0 && errno != EINTR && errno != ENOMEM) return 1;
        if (count > 0) serve(init, slots);
    }
    return 0; // PID 1 ends: the kernel kills every other process of the session
}

int csandbox_init_main(const char *measures) {
    struct boot_block boot = {0};
    struct csandbox_failure failure;
    csandbox_weaken_inherit();
    instance.protection.measures = strtoull(measures, NULL, 16);
    const int result = prepare(&instance, &boot, &failure);
    const bool told = result == 0
                          ? csandbox_report_ready(CSANDBOX_FD_REPORT, &instance.protection)
                          : csandbox_report_send(CSANDBOX_FD_REPORT, &failure);
    close(CSANDBOX_FD_REPORT);
    // The keeper's log was for what goes wrong until here.
    if (dup2(STDOUT_FILENO, STDERR_FILENO) < 0) return 1;
    explicit_bzero(&boot, sizeof boot);
    // An init that nobody was told of would be one that nobody knows.
    return result == 0 && told ? loop(&instance) : 1;
}
