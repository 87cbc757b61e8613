// One clone3 makes a session: all its namespaces at once, in its control group, with a pidfd. The
// child has everything it needs prepared and calls nothing that allocates or locks
// (signal-safety(7)).
#include "launcher.h"
#include "measures.h"
#include "weaken.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define NAMESPACES                                                                                 \
    (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |     \
     CLONE_NEWCGROUP)

// Init and what it starts are the first to go when memory runs out, before anything of the host.
#define OOM_SCORE 500

// Its parent is in another pid namespace, where getppid() is 0: only the socket can tell that the
// launcher is gone.
static int die_with_launcher(int launcher_fd, struct csandbox_failure *failure) {
    char byte;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return csandbox_fail(failure, "process", errno, "prctl");
    if (recv(launcher_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) _exit(1);
    return 0;
}

static int take_root_ids(struct csandbox_failure *failure) {
    if (setresgid(0, 0, 0) < 0 || setgroups(0, NULL) < 0 || setresuid(0, 0, 0) < 0)
        return csandbox_fail(failure, "ids", errno, "become root of the session");
    const int hidden = csandbox_make_undumpable(); // it still has the launcher's memory
    return hidden < 0 ? csandbox_fail(failure, "ids", -hidden, "prctl") : 0;
}

static int reset_signals(struct csandbox_failure *failure) {
    // CLONE_CLEAR_SIGHAND has reset handlers, but ignored signals stay ignored (clone(2)).
    for (int number = 1; number < NSIG; number++)
        if (number != SIGKILL && number != SIGSTOP) (void)signal(number, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        return csandbox_fail(failure, "signals", errno, "sigprocmask");
    return 0;
}

// The descriptors of init, the program, and nothing else.
static int place_descriptors(const struct csandbox_spawn_inputs *inputs, int report_fd,
                             int *program_fd, struct csandbox_failure *failure) {
    const int from[5] = {inputs->listen_fd, inputs->boot_fd, report_fd,
                         inputs->group->agent_procs_fd, inputs->program_fd};
    int high[5];
    const int first = CSANDBOX_FD_LISTEN, end = first + 5;
    for (int i = 0; i < 5; i++) {
        high[i] = from[i] < 0 ? -1 : fcntl(from[i], F_DUPFD_CLOEXEC, end);
        if (from[i] >= 0 && high[i] < 0) return csandbox_fail(failure, "descriptors", errno, "dup");
    }
    for (int i = 0; i < 5; i++) {
        close(first + i); // what is absent must not be something else
        if (high[i] >= 0 && dup2(high[i], first + i) < 0)
            return csandbox_fail(failure, "descriptors", errno, "dup2");
    }
    *program_fd = end - 1;
    if (fcntl(*program_fd, F_SETFD, FD_CLOEXEC) < 0 || close_range((unsigned)end, ~0u, 0) < 0)
        return csandbox_fail(failure, "descriptors", errno, "close_range");
    return 0;
}

// A control group namespace that begins at the agent's group: there agents see "/" and nothing of
// where their session stands. Init only passes through it, and holds descriptors that the launcher
// opened: whose groups they are was decided there (cgroup-v2.rst, "Delegation Containment").
static int hide_groups(const struct csandbox_group *group, struct csandbox_failure *failure) {
    if (group->init_fd < 0 || csandbox_weaken_namespaces(CLONE_NEWCGROUP) == 0) return 0;
    if (write(group->agent_procs_fd, "0", 1) != 1)
        return csandbox_fail(failure, "control group", errno, "enter the agent's group");
    if (unshare(CLONE_NEWCGROUP) < 0)
        return csandbox_fail(failure, "control group", errno, "unshare its namespace");
    if (write(group->init_procs_fd, "0", 1) != 1)
        return csandbox_fail(failure, "control group", errno, "return to init's group");
    return 0;
}

static void become_init(const struct csandbox_spawn_inputs *inputs, uint64_t measures,
                        int *report_fd, struct csandbox_failure *failure) {
    char byte;
    ssize_t got;
    do got = read(*report_fd, &byte, 1);
    while (got < 0 && errno == EINTR);
    if (got != 1) _exit(1); // the launcher gave up before the ids were mapped
    if (take_root_ids(failure) < 0 || die_with_launcher(*report_fd, failure) < 0) return;
    if (hide_groups(inputs->group, failure) < 0) return;
    umask(022);
    if (setsid() < 0) {
        (void)csandbox_fail(failure, "process", errno, "setsid");
        return;
    }
    if (chdir("/") < 0) {
        (void)csandbox_fail(failure, "process", errno, "chdir /");
        return;
    }
    if (csandbox_plan_execute(inputs->plan, &measures, failure) < 0) return;
    if (reset_signals(failure) < 0) return;
    int program_fd = -1;
    if (place_descriptors(inputs, *report_fd, &program_fd, failure) < 0) return;
    *report_fd = CSANDBOX_FD_REPORT;
    // From here on nothing ties the session to the launcher.
    if (prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) < 0) {
        (void)csandbox_fail(failure, "process", errno, "prctl");
        return;
    }
    static char name[] = "superserve-launcher", mode[] = "init";
    char set[20];
    (void)snprintf(set, sizeof set, "%llx", (unsigned long long)measures);
    char *const arguments[] = {name, mode, set, NULL};
#ifdef CSANDBOX_WEAKEN
    char *const *environment = csandbox_weaken_environment();
#else
    char *const environment[] = {NULL};
#endif
    execveat(program_fd, "", arguments, environment, AT_EMPTY_PATH);
    (void)csandbox_fail(failure, "init", errno,
                        "execute the launcher program (is it readable for everyone?)");
}

static _Noreturn void run_child(const struct csandbox_spawn_inputs *inputs, bool grouped,
                                int report_fd, int launcher_fd) {
    struct csandbox_failure failure = {.stage = "process", .error = EIO};
    // Without any of these it does not get as far as init.
    uint64_t measures =
        csandbox_measures_required() | csandbox_measure_bit(CSANDBOX_MEASURE_IPC_LIMITS);
    if (grouped) measures |= csandbox_measure_bit(CSANDBOX_MEASURE_CONTROL_GROUP);
    close(launcher_fd); // else the end of the launcher would never show
    if (die_with_launcher(report_fd, &failure) == 0)
        become_init(inputs, measures, &report_fd, &failure);
    csandbox_report_send(report_fd, &failure);
    _exit(1);
}

static int clone_child(const struct csandbox_spawn_inputs *inputs, int ends[2], int *pidfd,
                       struct csandbox_failure *failure) {
    struct clone_args arguments = {
        .flags = csandbox_weaken_namespaces(NAMESPACES) | CLONE_CLEAR_SIGHAND | CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)pidfd,
        .exit_signal = SIGCHLD,
    };
    if (inputs->group->init_fd >= 0) {
        arguments.flags &= ~(__u64)CLONE_NEWCGROUP; // the child makes it, see hide_groups
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = (__u64)inputs->group->init_fd;
    }
    // The child's mounts are a copy of the template's only if it is born there.
    if (setns(inputs->template_ns_fd, CLONE_NEWNS) < 0)
        return csandbox_fail(failure, "namespaces", errno, "enter the template");
    const long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid == 0) run_child(inputs, inputs->group->init_fd >= 0, ends[1], ends[0]);
    const int error = pid < 0 ? errno : 0;
    if (setns(inputs->own_ns_fd, CLONE_NEWNS) < 0) {
        // Without its own mounts this launcher is of no use; the keeper starts another one.
        dprintf(2, "superserve-launcher: return from the template: %s\n", strerror(errno));
        _exit(1);
    }
    if (pid < 0)
        return csandbox_fail(failure, "namespaces", error, "clone3%s",
                             error == ENOSPC
                                 ? ": a limit of the user.max_*_namespaces sysctls is reached"
                             : error == EAGAIN ? ": the limit of processes is reached"
                                               : "");
    return (int)pid;
}

// Raising needs no capability, lowering does, and this process may have been started with more
// already. The child itself may not write this file of its own before it has executed init.
static int set_oom_score(pid_t pid, struct csandbox_failure *failure) {
    char path[48], text[16] = "";
    (void)snprintf(path, sizeof path, "/proc/%d/oom_score_adj", pid);
    CSANDBOX_AUTO_FD int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof text - 1) < 0)
        return csandbox_fail(failure, "process", errno, "read %s", path);
    if (atoi(text) >= OOM_SCORE || WEAKENED("raised oom score")) return 0;
    const int length = snprintf(text, sizeof text, "%d", OOM_SCORE);
    if (pwrite(fd, text, (size_t)length, 0) != length)
        return csandbox_fail(failure, "process", errno, "write %s", path);
    return 0;
}

int csandbox_spawn(const struct csandbox_spawn_inputs *inputs, struct csandbox_spawned *spawned,
                   struct csandbox_failure *failure) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return csandbox_fail(failure, "process", errno, "socketpair");
    CSANDBOX_AUTO_FD int launcher_end = ends[0];
    CSANDBOX_AUTO_FD int pidfd = -1;
    const int pid = clone_child(inputs, ends, &pidfd, failure);
    close(ends[1]);
    if (pid < 0) return pid;
    if (csandbox_identity_map_session(pid, inputs->block, failure) < 0 ||
        set_oom_score(pid, failure) < 0) {
        (void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0); // reaped by the loop like every child
        return -failure->error;
    }
    if (send(launcher_end, "", 1, MSG_NOSIGNAL) != 1) {
        (void)csandbox_fail(failure, "process", errno, "the child ended early");
        (void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
        return -failure->error;
    }
    *spawned = (struct csandbox_spawned){
        .pid = pid,
        .pidfd = csandbox_steal_fd(&pidfd),
        .report_fd = csandbox_steal_fd(&launcher_end),
    };
    return 0;
}

static int write_all(int fd, const void *bytes, size_t length) {
    return write(fd, bytes, length) == (ssize_t)length ? 0 : -(errno != 0 ? errno : EIO);
}

int csandbox_boot_file(const struct csandbox_boot *wanted, const struct csandbox_filter *init,
                       const struct csandbox_filter *agent, struct csandbox_failure *failure) {
    struct csandbox_boot boot = *wanted;
    boot.magic = CSANDBOX_WIRE_MAGIC;
    boot.version = CSANDBOX_WIRE_VERSION;
    boot.ring_size = CSANDBOX_RING_DEFAULT;
    boot.init_filter_count = init->count;
    boot.agent_filter_count = agent->count;
    CSANDBOX_AUTO_FD int fd = memfd_create("boot", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return csandbox_fail(failure, "boot file", errno, "memfd_create");
    if (write_all(fd, &boot, sizeof boot) < 0 ||
        write_all(fd, init->code, init->count * sizeof init->code[0]) < 0 ||
        write_all(fd, agent->code, agent->count * sizeof agent->code[0]) < 0)
        return csandbox_fail(failure, "boot file", errno, "write");
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        return csandbox_fail(failure, "boot file", errno, "seal");
    if (lseek(fd, 0, SEEK_SET) < 0) return csandbox_fail(failure, "boot file", errno, "lseek");
    return csandbox_steal_fd(&fd);
}
