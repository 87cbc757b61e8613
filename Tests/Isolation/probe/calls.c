// Every system call by its number, with arguments that no call accepts. What the filter answers
// shows: EPERM, ENOSYS or the end of the process; everything else means that the kernel was asked.
#include "door.h"

#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LAST 600
#define WAIT_MS 200
// Where a process is killed at once, only a busy machine makes it last.
#define KILL_MS 2000
#define X32 0x40000000L

// In a process of its own, which the call may end, stop or duplicate.
static const char *outcome(void (*call)(long number, int fd), long number, int wait_ms) {
    int ends[2], error = -1, status = 0;
    if (pipe(ends) < 0) return "broken";
    const pid_t pid = fork();
    if (pid < 0) return "broken";
    if (pid == 0) {
        close(ends[0]);
        call(number, ends[1]);
        _exit(0);
    }
    close(ends[1]);
    // Some calls wait, and some of them with every signal blocked.
    struct pollfd answer = {.fd = ends[0], .events = POLLIN};
    const bool ready = poll(&answer, 1, wait_ms) == 1;
    const long got = ready ? read(ends[0], &error, sizeof error) : 0;
    close(ends[0]);
    if (!ready) (void)kill(pid, SIGKILL);
    if (waitpid(pid, &status, 0) != pid) return "broken";
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) return "killed";
    if (got != sizeof error) return "allowed";
    return error == EPERM ? "EPERM" : error == ENOSYS ? "ENOSYS" : "allowed";
}

static void native(long number, int fd) {
    const long result = syscall(number, -1L, -1L, -1L, -1L, -1L, -1L);
    const int error = result == -1 ? errno : 0;
    (void)!write(fd, &error, sizeof error);
}

#if defined(__x86_64__)
static void old(long number, int fd) {
    long result = number;
    __asm__ volatile("int $0x80"
                     : "+a"(result)
                     : "b"(-1L), "c"(-1L), "d"(-1L), "S"(-1L)
                     : "memory", "r8", "r9", "r10", "r11");
    const int error = result < 0 ? (int)-result : 0;
    (void)!write(fd, &error, sizeof error);
}
#endif

int print_calls(void) {
    for (long number = 0; number <= LAST; number++) {
        printf("%ld %s\n", number, outcome(native, number, WAIT_MS));
        (void)fflush(stdout);
    }
#if defined(__x86_64__)
    for (long number = 0; number <= LAST; number++) {
        const char *found = outcome(native, number | X32, KILL_MS);
        if (strcmp(found, "killed") != 0) printf("x32:%ld %s\n", number, found);
    }
    printf("x32 end\n");
    for (long number = 0; number <= LAST; number++) {
        const char *found = outcome(old, number, KILL_MS);
        if (strcmp(found, "killed") != 0) printf("i386:%ld %s\n", number, found);
    }
    printf("i386 end\n");
#endif
    return 0;
}
