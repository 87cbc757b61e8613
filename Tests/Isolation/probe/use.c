// Takes as much of one thing as it gets, says how much that was, and keeps it for a while: for
// tests of what one session can take from another.
#include "door.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEBIBYTE (1u << 20)

static int files[4] = {-1, -1, -1, -1};

static long process(long count) {
    (void)count;
    const pid_t pid = fork();
    if (pid != 0) return pid;
    for (;;) pause();
}

static long descriptor(long count) {
    (void)count;
    return open("/dev/null", O_RDONLY);
}

static long watcher(long count) {
    (void)count;
    return inotify_init1(0);
}

static long terminal(long count) {
    (void)count;
    return open("/dev/ptmx", O_RDWR | O_NOCTTY);
}

static long large_pipe(long count) {
    (void)count;
    int ends[2];
    if (pipe(ends) < 0) return -1;
    return fcntl(ends[0], F_SETPIPE_SZ, MEBIBYTE);
}

static long fill(int place, const char *path) {
    static char block[MEBIBYTE];
    if (files[place] < 0) files[place] = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (files[place] < 0) return -1;
    memset(block, 'x', sizeof block);
    return write(files[place], block, sizeof block) == (long)sizeof block ? 0 : -1;
}
static long tmp(long count) {
    (void)count;
    return fill(0, "/tmp/fill");
}
static long shm(long count) {
    (void)count;
    return fill(1, "/dev/shm/fill");
}

static long queue(long count) {
    (void)count;
    return msgget(IPC_PRIVATE, 0600);
}

static long segment(long count) {
    (void)count;
    return shmget(IPC_PRIVATE, 4096, 0600);
}

static long waiting_signal(long count) {
    (void)count;
    const union sigval value = {.sival_int = 0};
    return sigqueue(getpid(), SIGRTMIN, value);
}

static long locked(long count) {
    (void)count;
    char *bytes = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return bytes == MAP_FAILED ? -1 : mlock(bytes, 65536);
}

static long file(long count) {
    char path[64];
    (void)snprintf(path, sizeof path, "/tmp/many-%ld", count);
    const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) close(fd);
    return fd;
}

static const struct {
    const char *name;
    long (*take)(long count);
} things[] = {
    {"processes", process},   {"descriptors", descriptor}, {"watchers", watcher},
    {"terminals", terminal},  {"pipes", large_pipe},       {"tmp", tmp},
    {"shm", shm},             {"queues", queue},
    {"locked", locked}, {"segments", segment},  {"signals", waiting_signal}, {"files", file},
};

int use_thing(const char *name, long most, unsigned seconds) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)setsid(); // so that it can end what it started
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    for (size_t i = 0; i < sizeof things / sizeof things[0]; i++) {
        if (strcmp(things[i].name, name) != 0) continue;
        long count = 0;
        errno = 0;
        while (count < most && things[i].take(count) >= 0) count++;
        printf("%ld %d\n", count, count < most ? errno : 0);
        (void)fflush(stdout);
        if (seconds > 0) sleep(seconds);
        if (strcmp(name, "processes") == 0) (void)kill(0, SIGKILL);
        return 0;
    }
    return 2;
}
