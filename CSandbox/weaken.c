// See weaken.h: empty in every build that is installed.
#include "weaken.h"

#ifdef CSANDBOX_WEAKEN

#include "serve.h"

#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VARIABLE "SUPERSERVE_WEAKEN="

// The variable as init gets it; the list is what follows the '='. Entries are separated by commas,
// so that it is one line of text.
static char text[8192] = VARIABLE;

static const char *list(void) { return text + sizeof VARIABLE - 1; }

// The first entry at or after `at`, with its length; NULL at the end.
static const char *next_entry(const char *at, size_t *length) {
    while (*at == ',' || *at == '\n') at++;
    *length = strcspn(at, ",\n");
    return *length > 0 ? at : NULL;
}

bool csandbox_weakened(const char *name) {
    size_t length;
    for (const char *at = list(); (at = next_entry(at, &length)) != NULL; at += length)
        if (strlen(name) == length && memcmp(at, name, length) == 0) return true;
    return false;
}

static bool weakened_part(const char *kind, const char *name) {
    char both[256];
    (void)snprintf(both, sizeof both, "%s %s", kind, name);
    return csandbox_weakened(both);
}

unsigned csandbox_weakened_numbers(const char *kind, unsigned *numbers, unsigned max) {
    size_t length;
    unsigned count = 0;
    const size_t prefix = strlen(kind);
    for (const char *at = list(); (at = next_entry(at, &length)) != NULL; at += length) {
        char name[128];
        if (length <= prefix + 1 || strncmp(at, kind, prefix) != 0 || at[prefix] != ' ') continue;
        (void)snprintf(name, sizeof name, "%.*s", (int)(length - prefix - 1), at + prefix + 1);
        const bool digits = name[0] >= '0' && name[0] <= '9';
        const int number = digits ? (int)strtol(name, NULL, 0) : seccomp_syscall_resolve_name(name);
        if (number >= 0 && count < max) numbers[count++] = (unsigned)number;
    }
    return count;
}

bool csandbox_weaken_op(struct csandbox_op *op) {
    const char *target = op->target != NULL ? op->target : "";
    char number[24];
    switch (op->kind) {
    case CSANDBOX_OP_COVER: return weakened_part("cover", target);
    case CSANDBOX_OP_READ_ONLY: return weakened_part("read-only", target);
    case CSANDBOX_OP_WRITE: return weakened_part("write", target);
    case CSANDBOX_OP_LIMIT:
        (void)snprintf(number, sizeof number, "%lu", op->flags);
        return weakened_part("limit", number);
    // Without a namespace of its own, a session has no right to change these.
    case CSANDBOX_OP_HOST_NAME: return WEAKENED("namespace uts");
    case CSANDBOX_OP_LOOPBACK: return WEAKENED("namespace net");
    case CSANDBOX_OP_MOUNT:
        if (weakened_part("nosuid", target)) op->flags &= ~(unsigned long)MS_NOSUID;
        if (weakened_part("nodev", target)) op->flags &= ~(unsigned long)MS_NODEV;
        if (weakened_part("noexec", target)) op->flags &= ~(unsigned long)MS_NOEXEC;
        if (weakened_part("size", target)) op->data = "mode=1777";
        if (weakened_part("hidepid", target)) op->data = NULL;
        if (weakened_part("terminals", target)) op->data = "newinstance,ptmxmode=0666,mode=0620";
        return false;
    default: return false;
    }
}

uint64_t csandbox_weaken_attributes(const char *name, uint64_t attributes) {
    if (weakened_part("nosuid", name)) attributes &= ~(uint64_t)MOUNT_ATTR_NOSUID;
    if (weakened_part("nodev", name)) attributes &= ~(uint64_t)MOUNT_ATTR_NODEV;
    if (weakened_part("read-only", name)) attributes &= ~(uint64_t)MOUNT_ATTR_RDONLY;
    return attributes;
}

uint64_t csandbox_weaken_namespaces(uint64_t flags) {
    static const struct {
        const char *name;
        uint64_t flag;
    } namespaces[] = {
        {"net", CLONE_NEWNET}, {"ipc", CLONE_NEWIPC}, {"uts", CLONE_NEWUTS},
        {"cgroup", CLONE_NEWCGROUP},
    };
    for (size_t i = 0; i < sizeof namespaces / sizeof namespaces[0]; i++)
        if (weakened_part("namespace", namespaces[i].name)) flags &= ~namespaces[i].flag;
    return flags;
}

char **csandbox_weaken_environment(void) {
    static char *environment[] = {text, NULL};
    return environment;
}

void csandbox_weaken_inherit(void) {
    const char *value = getenv("SUPERSERVE_WEAKEN");
    (void)snprintf(text, sizeof text, VARIABLE "%s", value != NULL ? value : "");
}

int csandbox_weaken_read(struct csandbox_server *server, struct csandbox_failure *failure) {
    static char found[sizeof text];
    found[0] = '\0';
    CSANDBOX_AUTO_FD int fd = openat(CSANDBOX_FD_LAUNCHER_RUNTIME, "weaken", O_RDONLY | O_CLOEXEC);
    const ssize_t length = fd >= 0 ? read(fd, found, sizeof found - sizeof VARIABLE) : 0;
    found[length > 0 ? length : 0] = '\0';
    for (char *c = found; *c != '\0'; c++)
        if (*c == '\n') *c = ',';
    if (strcmp(found, list()) == 0) return 0;
    (void)snprintf(text, sizeof text, VARIABLE "%s", found);
    if (csandbox_filter_compile(CSANDBOX_FILTER_INIT, &server->init_filter, failure) < 0 ||
        csandbox_filter_compile(CSANDBOX_FILTER_AGENT, &server->agent_filter, failure) < 0)
        return -failure->error;
    csandbox_close_fd(&server->own_ns_fd);
    csandbox_close_fd(&server->template_ns_fd);
    return csandbox_template_build(&server->own_ns_fd, &server->template_ns_fd, failure);
}

#endif
