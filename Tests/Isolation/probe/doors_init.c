// Doors to process 1 of the session, which holds the agent's pipes and the session's rights.
#include "door.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static void seen(struct answer *answer) {
    judge(answer, access("/proc/1/stat", F_OK), "/proc/1");
}
static void environment(struct answer *answer) {
    judge(answer, can_open("/proc/1/environ", O_RDONLY), "init's environment");
}
static void memory(struct answer *answer) {
    judge(answer, can_open("/proc/1/mem", O_RDWR), "init's memory");
}
static void program(struct answer *answer) {
    judge(answer, can_open("/proc/1/exe", O_RDONLY), "init's program");
}
static void root(struct answer *answer) {
    judge(answer, can_open("/proc/1/root", O_RDONLY), "init's root");
}
static void descriptors(struct answer *answer) {
    judge(answer, can_open("/proc/1/fd", O_RDONLY | O_DIRECTORY), "init's descriptors");
}
static void system_call(struct answer *answer) {
    judge(answer, can_open("/proc/1/syscall", O_RDONLY), "what init waits for");
}
static void score(struct answer *answer) {
    judge(answer, can_open("/proc/1/oom_score_adj", O_WRONLY), "init's score for lack of memory");
}

static void signalled(struct answer *answer) { judge(answer, kill(1, 0), "kill"); }

static void queued(struct answer *answer) {
    siginfo_t info = {.si_signo = 0, .si_code = SI_QUEUE};
    judge(answer, syscall(SYS_rt_sigqueueinfo, 1, 0, &info), "rt_sigqueueinfo");
}

static void by_descriptor(struct answer *answer) {
    const int fd = (int)syscall(SYS_pidfd_open, 1, 0);
    if (fd < 0) return judge(answer, -1, "pidfd_open");
    judge(answer, syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0), "pidfd_send_signal");
}

// Seizing changes nothing, unlike attaching; the process is let go again at the end of this one.
static void traced(struct answer *answer) {
    judge(answer, ptrace(PTRACE_SEIZE, 1, NULL, NULL), "ptrace");
}

static void read_memory(struct answer *answer) {
    char byte;
    const struct iovec here = {&byte, 1}, there = {(void *)(uintptr_t)0x400000, 1};
    judge_reached(answer, process_vm_readv(1, &here, 1, &there, 1, 0), EFAULT, "process_vm_readv");
}

static void limited(struct answer *answer) {
    struct rlimit limit;
    judge(answer, prlimit(1, RLIMIT_NOFILE, NULL, &limit), "prlimit");
}

static void slower(struct answer *answer) {
    judge(answer, setpriority(PRIO_PROCESS, 1, getpriority(PRIO_PROCESS, 1)), "setpriority");
}

static void pinned(struct answer *answer) {
    cpu_set_t set;
    if (sched_getaffinity(1, sizeof set, &set) < 0) return broken(answer, "%s", strerror(errno));
    judge(answer, sched_setaffinity(1, sizeof set, &set), "sched_setaffinity");
}

static void scheduled(struct answer *answer) {
    const struct sched_param parameter = {.sched_priority = 0};
    judge(answer, sched_setscheduler(1, SCHED_OTHER, &parameter), "sched_setscheduler");
}

static void disk_priority(struct answer *answer) {
    judge(answer, syscall(SYS_ioprio_set, 1, 1, 2 << 13 | 4), "ioprio_set");
}

#define GROUP "signals, limits and ptrace"

const struct door init_doors[] = {
    {"init-seen", GROUP, "", false, seen},
    {"init-environment", GROUP, "CVE-2016-9962", false, environment},
    {"init-memory", GROUP, "CVE-2016-9962", false, memory},
    {"init-program", GROUP, "CVE-2019-5736", false, program},
    {"init-root", GROUP, "CVE-2016-9962", false, root},
    {"init-descriptors", GROUP, "CVE-2016-9962 CVE-2024-21626", false, descriptors},
    {"init-system-call", GROUP, "", false, system_call},
    {"init-oom-score", GROUP, "", false, score},
    {"init-signal", GROUP, "", false, signalled},
    {"init-signal-queued", GROUP, "", false, queued},
    {"init-signal-pidfd", GROUP, "", false, by_descriptor},
    {"init-ptrace", GROUP, "CVE-2016-9962", false, traced},
    {"init-read-memory", GROUP, "", false, read_memory},
    {"init-limits", GROUP, "", false, limited},
    {"init-priority", GROUP, "", false, slower},
    {"init-affinity", GROUP, "", false, pinned},
    {"init-scheduling", GROUP, "", false, scheduled},
    {"init-disk-priority", GROUP, "", false, disk_priority},
    {NULL, NULL, NULL, false, NULL},
};
