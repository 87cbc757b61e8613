// Signals that the supervisor sends to processes of the session.
#include "init.h"

#include <signal.h>
#include <sys/wait.h>

// kill(-1) reaches whatever may be signalled in one step, under the kernel's lock: no process can
// fork its way past it (kill(2)). Sent by a child with the agent's id, because init's own call
// would hit the helpers too.
static int signal_all(const struct csandbox_init *init, int number) {
    // Not yet an agent by its ids.
    if (init->agent.state == CSANDBOX_AGENT_STARTING) (void)kill(init->agent.pid, number);
    const pid_t pid = fork();
    if (pid == 0) {
        const int result = csandbox_become_sender();
        if (result != 0) _exit(-result);
        _exit(kill(-1, number) == 0 ? 0 : errno);
    }
    // No room for one more process: then this matters more than a transfer.
    if (pid < 0) return kill(-1, number) == 0 || errno == ESRCH ? 0 : -errno;
    int status;
    pid_t ended;
    do ended = waitpid(pid, &status, 0);
    while (ended < 0 && errno == EINTR);
    if (ended < 0) return -errno;
    if (!WIFEXITED(status)) return -ECANCELED;
    return WEXITSTATUS(status) == ESRCH ? 0 : -WEXITSTATUS(status);
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
