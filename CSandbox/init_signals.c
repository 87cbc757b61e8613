// Signals that the supervisor sends to processes of the session.
#include "init.h"

#include <ctype.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A process that forks while it is being killed has children that the pass did not see.
#define KILL_PASSES 64

static bool is_helper(const struct csandbox_init *init, pid_t pid) {
    for (int i = 0; i < CSANDBOX_HELPERS_MAX; i++)
        if (init->helpers[i].pid == pid) return true;
    return false;
}

static bool has_helpers(const struct csandbox_init *init) {
    for (int i = 0; i < CSANDBOX_HELPERS_MAX; i++)
        if (init->helpers[i].pid > 0) return true;
    return false;
}

// Zombies take signals too, which says nothing.
static bool is_alive(pid_t pid) {
    char path[32], line[512];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) return false;
    const size_t length = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[length] = '\0';
    const char *name_end = strrchr(line, ')');
    return name_end != NULL && name_end[1] == ' ' && name_end[2] != 'Z' && name_end[2] != 'X';
}

// Processes that were there and took the signal, or -errno.
static int signal_pass(const struct csandbox_init *init, int number) {
    int count = 0;
    DIR *processes = opendir("/proc");
    if (processes == NULL) return -errno;
    for (struct dirent *entry; (entry = readdir(processes)) != NULL;) {
        if (!isdigit((unsigned char)entry->d_name[0])) continue;
        const pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid <= 1 || is_helper(init, pid) || !is_alive(pid)) continue;
        if (kill(pid, number) == 0) count++;
    }
    closedir(processes);
    return count;
}

// kill(-1) of PID 1 reaches everything but itself in one step; only file helpers need the long way.
static int signal_all(const struct csandbox_init *init, int number) {
    if (!has_helpers(init)) return kill(-1, number) == 0 || errno == ESRCH ? 0 : -errno;
    int count = 1;
    for (int pass = 0; count > 0 && pass < (number == SIGKILL ? KILL_PASSES : 1); pass++)
        count = signal_pass(init, number);
    return count < 0 ? count : 0;
}

static int signal_agent(const struct csandbox_init *init, uint64_t generation, bool group,
                        int number) {
    const struct csandbox_agent *agent = &init->agent;
    const bool alive =
        agent->state == CSANDBOX_AGENT_STARTING || agent->state == CSANDBOX_AGENT_RUNNING;
    if (generation != agent->generation || agent->pid <= 0) return -ESRCH;
    // A group may outlive its leader; before setsid there is no group yet.
    if (group && kill(-agent->pid, number) == 0) return 0;
    if (!alive) return -ESRCH;
    return kill(agent->pid, number) == 0 ? 0 : -errno;
}

int csandbox_signal_send(struct csandbox_init *init, const struct csandbox_request *request,
                         struct csandbox_failure *failure) {
    uint64_t number = 0, scope = CSANDBOX_SCOPE_AGENT, generation = 0;
    if (csandbox_find_u64(request->payload, CSANDBOX_TAG_SIGNAL, &number) != 1 ||
        csandbox_find_u64(request->payload, CSANDBOX_TAG_SCOPE, &scope) < 0 ||
        csandbox_find_u64(request->payload, CSANDBOX_TAG_GENERATION, &generation) < 0)
        return csandbox_fail(failure, "signal", EPROTO, "malformed fields");
    if (number == 0 || number >= NSIG || scope > CSANDBOX_SCOPE_ALL)
        return csandbox_fail(failure, "signal", EINVAL, "signal %llu, scope %llu",
                             (unsigned long long)number, (unsigned long long)scope);
    const int result = scope == CSANDBOX_SCOPE_ALL
        ? signal_all(init, (int)number)
        : signal_agent(init, generation, scope == CSANDBOX_SCOPE_GROUP, (int)number);
    if (result == 0) return 0;
    return csandbox_fail(failure, "signal", -result, "generation %llu",
                         (unsigned long long)generation);
}
