// What the supervisor needs of the system and cannot do from Swift; the launcher uses the packet
// calls too.
#include "internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

// Descriptors that one packet may carry before we look at it; all but the first are closed.
#define DESCRIPTORS_MAX 8

// posix_spawn has no call for "close everything but": from above `ready_fd` on in one go, those
// below it one by one (closing a number that is not open is no error there).
static int plan_descriptors(posix_spawn_file_actions_t *actions, int ready_fd, int log_fd) {
    int error = log_fd >= 0
        ? posix_spawn_file_actions_adddup2(actions, log_fd, STDERR_FILENO)
        : posix_spawn_file_actions_addopen(actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (error == 0)
        error = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (error == 0)
        error = posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    for (int fd = STDERR_FILENO + 1; error == 0 && fd < ready_fd; fd++)
        error = posix_spawn_file_actions_addclose(actions, fd);
    // Onto itself: takes close-on-exec off, in the child only.
    if (error == 0) error = posix_spawn_file_actions_adddup2(actions, ready_fd, ready_fd);
    if (error == 0) error = posix_spawn_file_actions_addclosefrom_np(actions, ready_fd + 1);
    if (error == 0) error = posix_spawn_file_actions_addchdir_np(actions, "/");
    return error;
}

static int plan_signals(posix_spawnattr_t *attributes) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int error = posix_spawnattr_setsigmask(attributes, &none);
    if (error == 0) error = posix_spawnattr_setsigdefault(attributes, &all);
    if (error == 0)
        error = posix_spawnattr_setflags(
            attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    return error;
}

pid_t csandbox_start_daemon(const char *path, char *const *argv, char *const *envp, int ready_fd,
                            int log_fd) {
    if (ready_fd <= STDERR_FILENO) return -EINVAL;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    pid_t pid = -1;
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0) return -error;
    error = posix_spawnattr_init(&attributes);
    if (error == 0) {
        error = plan_descriptors(&actions, ready_fd, log_fd);
        if (error == 0) error = plan_signals(&attributes);
        if (error == 0) error = posix_spawn(&pid, path, &actions, &attributes, argv, envp);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return error == 0 ? pid : -error;
}

int csandbox_connect(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t length = strlen(path);
    if (length == 0) return -EINVAL;
    if (length >= sizeof address.sun_path) return -ENAMETOOLONG;
    memcpy(address.sun_path, path, length + 1);
    CSANDBOX_AUTO_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    // EAGAIN: the listener's queue is full; the caller's own retry decides how long that is worth.
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) return -errno;
    return csandbox_steal_fd(&fd);
}

ssize_t csandbox_send(int fd, const void *bytes, size_t length, int passed_fd) {
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    if (passed_fd >= 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &passed_fd, sizeof passed_fd);
    }
    ssize_t sent;
    do sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent >= 0 ? sent : -errno;
}

// Keeps the first descriptor of the message, closes the others.
static void take_descriptors(struct msghdr *message, int *passed_fd) {
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
            if (*passed_fd < 0)
                *passed_fd = fd;
            else
                close(fd);
        }
    }
}

ssize_t csandbox_receive(int fd, void *bytes, size_t capacity, int *passed_fd) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int) * DESCRIPTORS_MAX)];
    } control;
    struct iovec part = {.iov_base = bytes, .iov_len = capacity};
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof control.bytes,
    };
    *passed_fd = -1;
    ssize_t received;
    do received = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    while (received < 0 && errno == EINTR);
    if (received < 0) return -errno;
    take_descriptors(&message, passed_fd);
    if ((message.msg_flags & MSG_TRUNC) != 0) {
        csandbox_close_fd(passed_fd);
        *passed_fd = -1;
        return -EMSGSIZE;
    }
    return received;
}

int csandbox_peer(int fd, pid_t *pid, uid_t *uid, gid_t *gid) {
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return -errno;
    *pid = peer.pid;
    *uid = peer.uid;
    *gid = peer.gid;
    return 0;
}

int csandbox_start_time(pid_t pid, uint64_t *ticks) {
    char path[32], text[1024];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    CSANDBOX_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    ssize_t length;
    do length = read(fd, text, sizeof text - 1);
    while (length < 0 && errno == EINTR);
    if (length < 0) return -errno; // ESRCH: ended between open and read
    text[length] = '\0';
    // The name (field 2) may hold anything, so count from its last parenthesis: field 3 follows it.
    const char *position = strrchr(text, ')');
    for (int field = 2; position != NULL && field < 22; field++) {
        position = strchr(position, ' ');
        if (position != NULL) position++;
    }
    if (position == NULL) return -EPROTO;
    return sscanf(position, "%" SCNu64, ticks) == 1 ? 0 : -EPROTO;
}

uint64_t csandbox_boottime_ns(void) {
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
