// Doors through capabilities, ids and what comes with them.
#include "door.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// A field of /proc/self/status that should be a number of zeros.
static void zero_field(struct answer *answer, const char *name) {
    char text[8192];
    if (read_file("/proc/self/status", text, sizeof text) <= 0)
        return broken(answer, "status: %s", strerror(errno));
    char *line = strstr(text, name);
    if (line == NULL) return broken(answer, "no %s", name);
    line[strcspn(line, "\n")] = '\0';
    const char *value = line + strlen(name) + 1;
    if (strtoull(value, NULL, 16) == 0) shut(answer, "%s", line);
    else opened(answer, "%s", line);
}

static void effective(struct answer *answer) { zero_field(answer, "CapEff"); }
static void permitted(struct answer *answer) { zero_field(answer, "CapPrm"); }
static void bounding(struct answer *answer) { zero_field(answer, "CapBnd"); }
// Empty where nobody filled them: shown to be looked at, and to be zero, beside the three above.
static void inheritable(struct answer *answer) { zero_field(answer, "CapInh"); }

static void is_root(struct answer *answer) {
    if (getuid() == 0 || geteuid() == 0 || getgid() == 0) opened(answer, "uid or gid 0");
    else shut(answer, "uid %u, gid %u", (unsigned)getuid(), (unsigned)getgid());
}

static void become_root(struct answer *answer) {
    if (getuid() == 0) return shut(answer, "is root already");
    judge(answer, setresuid(0, 0, 0), "setresuid");
}

static void become_group(struct answer *answer) {
    judge(answer, setresgid(0, 0, 0), "setresgid");
}

static void take_groups(struct answer *answer) {
    const gid_t group = 0;
    judge(answer, setgroups(1, &group), "setgroups");
}

static void has_groups(struct answer *answer) {
    const int count = getgroups(0, NULL);
    if (count > 0) opened(answer, "%d supplementary groups", count);
    else shut(answer, "no supplementary group");
}

static void new_privileges(struct answer *answer) {
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0)
        opened(answer, "set-user-id programs would count");
    else shut(answer, "no_new_privs is set");
}

// A set-user-id copy of this program, of another user, that the host left in the tree.
static void set_user_id(struct answer *answer) {
    const char *path = parameter(answer, "setuid");
    int ends[2];
    char text[32] = "";
    if (path == NULL || pipe(ends) < 0) return;
    struct stat status;
    if (stat(path, &status) < 0 || (status.st_mode & S_ISUID) == 0)
        return broken(answer, "%s has no set-user-id bit", path);
    const pid_t pid = fork();
    if (pid == 0) {
        (void)dup2(ends[1], 1);
        execl(path, path, "euid", (char *)NULL);
        _exit(1);
    }
    close(ends[1]);
    const long got = read(ends[0], text, sizeof text - 1);
    (void)waitpid(pid, NULL, 0);
    if (got <= 0) return broken(answer, "%s does not run", path);
    const unsigned euid = (unsigned)strtoul(text, NULL, 10);
    if (euid != (unsigned)geteuid()) opened(answer, "it runs as %u", euid);
    else shut(answer, "it runs as %u, like this process", euid);
}

// With one byte the kernel neither writes a core file nor starts a handler.
static void core_limit(struct answer *answer) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_CORE, &limit) < 0) return broken(answer, "%s", strerror(errno));
    if (limit.rlim_cur != 1 || limit.rlim_max != 1)
        opened(answer, "a crash may reach the host: %llu of %llu",
               (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max);
    else shut(answer, "1 byte");
}

static void core_limit_change(struct answer *answer) {
    struct rlimit limit = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &limit);
    (void)prlimit(0, RLIMIT_CORE, &limit, NULL);
    if (getrlimit(RLIMIT_CORE, &limit) < 0) return broken(answer, "%s", strerror(errno));
    if (limit.rlim_cur == 0) opened(answer, "0: a handler of the host would start");
    else shut(answer, "still %llu", (unsigned long long)limit.rlim_cur);
}

static void limited(struct answer *answer, int failed, rlim_t limit, rlim_t most, const char *of) {
    const unsigned long long number = limit;
    if (failed != 0) return broken(answer, "%s", strerror(errno));
    if (limit > most) opened(answer, "%llu %s", number, of);
    else shut(answer, "%llu %s", number, of);
}

static void process_limit(struct answer *answer) {
    struct rlimit limit = {0};
    const int failed = getrlimit(RLIMIT_NPROC, &limit);
    limited(answer, failed, limit.rlim_max, 4096, "processes");
}

static void signal_limit(struct answer *answer) {
    struct rlimit limit = {0};
    const int failed = getrlimit(RLIMIT_SIGPENDING, &limit);
    limited(answer, failed, limit.rlim_max, 16384, "signals that wait");
}

// Whoever takes up the memory should be what the kernel ends for it.
static void oom_score(struct answer *answer) {
    char text[32];
    if (read_file("/proc/self/oom_score_adj", text, sizeof text) <= 0)
        return broken(answer, "oom_score_adj: %s", strerror(errno));
    if (atoi(text) < 500) opened(answer, "%d: something of the host may go first", atoi(text));
    else shut(answer, "%d", atoi(text));
}

static void real_time(struct answer *answer) {
    const struct sched_param parameter = {.sched_priority = 1};
    judge(answer, sched_setscheduler(0, SCHED_FIFO, &parameter), "real-time priority");
}

static void nicer(struct answer *answer) {
    judge(answer, setpriority(PRIO_PROCESS, 0, -5), "a better priority");
}

static void give_away(struct answer *answer) {
    const char *path = "/tmp/owned";
    const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return broken(answer, "%s: %s", path, strerror(errno));
    const int result = fchown(fd, 0, 0);
    const int error = errno;
    struct stat status;
    if (fstat(fd, &status) < 0) broken(answer, "%s", strerror(errno));
    close(fd);
    (void)unlink(path);
    errno = error;
    judge(answer, result, "a file given to root");
}

static void securebits(struct answer *answer) {
    judge(answer, prctl(PR_SET_SECUREBITS, prctl(PR_GET_SECUREBITS, 0, 0, 0, 0), 0, 0, 0),
          "securebits");
}

#define GROUP "capabilities and ids"

const struct door id_doors[] = {
    {"capabilities-effective", GROUP, "CVE-2022-0492", false, effective},
    {"capabilities-permitted", GROUP, "", false, permitted},
    {"capabilities-inheritable", GROUP, "CVE-2022-24769 CVE-2022-27649 CVE-2022-29162", false,
     inheritable},
    {"capabilities-bounding", GROUP, "", false, bounding},
    {"runs-as-root", GROUP, "CVE-2016-3697", false, is_root},
    {"become-root", GROUP, "", false, become_root},
    {"become-group", GROUP, "", false, become_group},
    {"take-groups", GROUP, "", false, take_groups},
    {"supplementary-groups", GROUP, "CVE-2022-36109 CVE-2023-25173", false, has_groups},
    {"new-privileges", GROUP, "CVE-2021-4034", false, new_privileges},
    {"set-user-id", GROUP, "CVE-2020-5291 CVE-2021-4034", false, set_user_id},
    {"core-limit", GROUP, "CVE-2025-4598 CVE-2025-5054", false, core_limit},
    {"core-limit-change", GROUP, "CVE-2025-4598 CVE-2025-5054", false, core_limit_change},
    {"process-limit", GROUP, "", false, process_limit},
    {"pending-signals-limit", GROUP, "", false, signal_limit},
    {"oom-score", GROUP, "", false, oom_score},
    {"real-time", GROUP, "", false, real_time},
    {"nicer", GROUP, "", false, nicer},
    {"give-file-to-root", GROUP, "", true, give_away},
    {"securebits", GROUP, "", true, securebits},
    {NULL, NULL, NULL, false, NULL},
};
