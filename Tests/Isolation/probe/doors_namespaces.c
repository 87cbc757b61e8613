// Doors to more namespaces, and to what the host's own namespaces hold.
#include "door.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static void user_unshare(struct answer *answer) {
    if (unshare(CLONE_NEWUSER) < 0) return judge(answer, -1, "unshare");
    char map[128] = "";
    (void)read_file("/proc/self/uid_map", map, sizeof map);
    opened(answer, "a user namespace of its own, map '%s'", map);
}

// The parent does nothing but wait: memory is not shared, as in fork(2).
static void user_clone(struct answer *answer) {
    const long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) _exit(0);
    judge(answer, pid, "clone");
    if (pid > 0) (void)waitpid((pid_t)pid, NULL, 0);
}

static void user_clone3(struct answer *answer) {
    struct clone_args arguments = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    const long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid == 0) _exit(0);
    judge(answer, pid, "clone3");
    if (pid > 0) (void)waitpid((pid_t)pid, NULL, 0);
}

// The way to most kernel bugs of the last years: rights in a network namespace of one's own.
static void user_network(struct answer *answer) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) return judge(answer, -1, "unshare");
    judge(answer, socket(AF_NETLINK, SOCK_RAW, 12), "netfilter in a network namespace of its own");
}

static void user_mount(struct answer *answer) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) return judge(answer, -1, "unshare");
    judge(answer, mount("none", "/tmp", "tmpfs", 0, NULL), "mount in a namespace of its own");
}

static void join_first(struct answer *answer) {
    const int pidfd = (int)syscall(SYS_pidfd_open, getppid() == 0 ? 1 : getppid(), 0);
    if (pidfd < 0) return broken(answer, "pidfd_open: %s", strerror(errno));
    judge(answer, setns(pidfd, CLONE_NEWUTS), "setns");
}

static void host_name(struct answer *answer) {
    const char *name = parameter(answer, "host.name");
    struct utsname system;
    if (name == NULL || uname(&system) < 0) return;
    if (strcmp(system.nodename, name) == 0) opened(answer, "the host's name: %s", name);
    else shut(answer, "the name is %s", system.nodename);
}

static void shared_memory(struct answer *answer) {
    const char *key = parameter(answer, "host.shmkey");
    if (key == NULL) return;
    judge(answer, shmget((key_t)strtol(key, NULL, 0), 0, 0), "shared memory of the host");
}

static void message_queue(struct answer *answer) {
    const char *key = parameter(answer, "host.msgkey");
    if (key == NULL) return;
    judge(answer, syscall(SYS_msgget, strtol(key, NULL, 0), 0), "message queue of the host");
}

// Every path is "/" when the namespace begins at the session's own group.
static void cgroup_path(struct answer *answer) {
    char text[4096];
    if (read_file("/proc/self/cgroup", text, sizeof text) < 0)
        return shut(answer, "no /proc/self/cgroup");
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        const char *path = strstr(line, ":/");
        if (path != NULL && path[2] != '\0') return opened(answer, "%s", line);
    }
    shut(answer, "every path is /");
}

static void host_process(struct answer *answer) {
    const char *pid = parameter(answer, "host.pid");
    const char *name = parameter(answer, "host.comm");
    char path[64], text[64];
    if (pid == NULL || name == NULL) return;
    (void)snprintf(path, sizeof path, "/proc/%s/comm", pid);
    if (read_file(path, text, sizeof text) < 0) return judge(answer, -1, path);
    text[strcspn(text, "\n")] = '\0';
    if (strcmp(text, name) == 0) opened(answer, "%s is %s, a process of the host", pid, name);
    else shut(answer, "%s is %s", pid, text);
}

static void signal_host(struct answer *answer) {
    const char *pid = parameter(answer, "host.pid");
    if (pid == NULL) return;
    judge(answer, kill((pid_t)atoi(pid), 0), "kill, signal 0");
}

const struct door namespace_doors[] = {
    {"user-namespace-unshare", "namespaces and mounts", "CVE-2018-18955 CVE-2016-3135", false,
     user_unshare},
    {"user-namespace-clone", "namespaces and mounts", "CVE-2018-18955", false, user_clone},
    {"user-namespace-clone3", "namespaces and mounts", "CVE-2021-41133", false, user_clone3},
    {"network-namespace-rights", "namespaces and mounts",
     "CVE-2024-1086 CVE-2023-31248 CVE-2021-22555 CVE-2020-14386 CVE-2017-7308 CVE-2016-8655",
     false, user_network},
    {"mount-namespace-rights", "namespaces and mounts",
     "CVE-2022-0185 CVE-2023-0386 CVE-2023-2640 CVE-2023-32629 CVE-2021-3493", false, user_mount},
    {"setns", "namespaces and mounts", "", true, join_first},
    {"host-name", "namespaces and mounts", "", false, host_name},
    {"host-shared-memory", "namespaces and mounts", "", false, shared_memory},
    {"host-message-queue", "namespaces and mounts", "", false, message_queue},
    {"host-cgroup-path", "namespaces and mounts", "", false, cgroup_path},
    {"host-process-seen", "namespaces and mounts", "", false, host_process},
    {"host-process-signal", "namespaces and mounts", "", false, signal_host},
    {NULL, NULL, NULL, false, NULL},
};
