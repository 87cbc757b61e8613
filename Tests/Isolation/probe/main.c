// The probe: `probe list` prints its doors, `probe run [NAME=VALUE]... [DOOR]...` tries them, each
// in a process of its own, and prints a line for each. `probe calls` tries every system call
// (calls.c), `probe swap DIRECTORY COUNT` exchanges names (swap.c), `probe use THING MOST SECONDS`
// takes it (use.c), `probe euid` is what a set-user-id copy does.
#include "door.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS 20 // for one door

static const struct door *const tables[] = {
    namespace_doors, mount_doors,  proc_doors,   device_doors, id_doors,
    network_doors,   kernel_doors, memory_doors, init_doors,   file_doors,
};

int inherited[64];
static char **parameters;
static int parameter_count;

static void set(struct answer *answer, enum verdict verdict, const char *format, va_list list) {
    answer->verdict = verdict;
    (void)vsnprintf(answer->detail, sizeof answer->detail, format, list);
}

#define DEFINE(name, verdict)                                                                      \
    void name(struct answer *answer, const char *format, ...) {                                    \
        va_list list;                                                                              \
        va_start(list, format);                                                                    \
        set(answer, verdict, format, list);                                                        \
        va_end(list);                                                                              \
    }
DEFINE(shut, SHUT)
DEFINE(opened, OPEN)
DEFINE(broken, BROKEN)

void judge(struct answer *answer, long result, const char *what) {
    if (result < 0) shut(answer, "%s: %s", what, strerror(errno));
    else opened(answer, "%s: %ld", what, result);
}

void judge_reached(struct answer *answer, long result, int reached, const char *what) {
    if (result < 0 && errno == reached)
        opened(answer, "%s got as far as: %s", what, strerror(errno));
    else judge(answer, result, what);
}

const char *optional_parameter(const char *name) {
    const size_t length = strlen(name);
    for (int i = 0; i < parameter_count; i++)
        if (strncmp(parameters[i], name, length) == 0 && parameters[i][length] == '=')
            return parameters[i] + length + 1;
    return NULL;
}

const char *parameter(struct answer *answer, const char *name) {
    const char *value = optional_parameter(name);
    if (value == NULL) broken(answer, "needs the parameter %s", name);
    return value;
}

int can_open(const char *path, int flags) {
    const int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return -1;
    close(fd);
    return 0;
}

long read_file(const char *path, char *text, size_t capacity) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return -1;
    size_t used = 0;
    long got = 0;
    while (used < capacity - 1 && (got = read(fd, text + used, capacity - 1 - used)) > 0)
        used += (size_t)got;
    const int error = errno;
    close(fd);
    text[used] = '\0';
    errno = error;
    return used == 0 && got < 0 ? -1 : (long)used;
}

static void note_inherited(void) {
    int count = 0;
    for (int fd = 3; fd < 4096 && count < 63; fd++)
        if (fcntl(fd, F_GETFD) >= 0) inherited[count++] = fd;
    inherited[count] = -1;
}

static void try_door(const struct door *door, struct answer *answer) {
    int ends[2];
    broken(answer, "no answer");
    if (pipe(ends) < 0) return broken(answer, "pipe: %s", strerror(errno));
    (void)fflush(stdout);
    const pid_t pid = fork();
    if (pid < 0) return broken(answer, "fork: %s", strerror(errno));
    if (pid == 0) {
        close(ends[0]);
        alarm(SECONDS);
        door->try(answer);
        const bool told = write(ends[1], answer, sizeof *answer) == (ssize_t)sizeof *answer;
        _exit(told ? 0 : 1);
    }
    close(ends[1]);
    const bool heard = read(ends[0], answer, sizeof *answer) == (ssize_t)sizeof *answer;
    close(ends[0]);
    int status = 0;
    (void)waitpid(pid, &status, 0);
    if (heard) return;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) shut(answer, "killed by SIGSYS");
    else broken(answer, "ended with wait status %#x", status);
}

static bool wanted(const struct door *door, int count, char **names) {
    bool any = false;
    for (int i = 0; i < count; i++) {
        if (strchr(names[i], '=') != NULL) continue;
        any = true;
        if (strcmp(names[i], door->name) == 0) return true;
    }
    return !any;
}

int main(int argc, char **argv) {
    static const char *const verdicts[] = {"SHUT", "OPEN", "BROKEN"};
    note_inherited();
    if (argc > 1 && strcmp(argv[1], "euid") == 0) {
        printf("%u\n", (unsigned)geteuid());
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "calls") == 0) return print_calls();
    if (argc > 3 && strcmp(argv[1], "swap") == 0) return swap_names(argv[2], atol(argv[3]));
    if (argc > 4 && strcmp(argv[1], "use") == 0)
        return use_thing(argv[2], atol(argv[3]), (unsigned)atoi(argv[4]));
    const bool list = argc > 1 && strcmp(argv[1], "list") == 0;
    if (!list && (argc < 2 || strcmp(argv[1], "run") != 0)) return 2;
    parameters = argv + 2;
    parameter_count = argc - 2;
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        for (const struct door *door = tables[i]; door->name != NULL; door++) {
            if (!wanted(door, argc - 2, argv + 2)) continue;
            if (list) {
                printf("%s\t%s\t%d\t%s\n", door->name, door->group, door->bare, door->cves);
                continue;
            }
            struct answer answer;
            try_door(door, &answer);
            for (char *c = answer.detail; *c != '\0'; c++)
                if (*c == '\n' || *c == '\t') *c = ' ';
            printf("%s\t%s\t%s\n", verdicts[answer.verdict], door->name, answer.detail);
        }
    return 0;
}
