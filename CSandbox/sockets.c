// Control sockets of sessions: bound by the launcher in a directory that only the service can
// enter; init calls listen(), so SO_PEERCRED names init (unix(7)).
#include "launcher.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static int name_socket(struct sockaddr_un *address, const char *session) {
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    return snprintf(address->sun_path, sizeof address->sun_path, "%s.sock", session);
}

// The working directory carries the path: neither its length nor its parents matter.
static int enter(int sockets_fd) { return fchdir(sockets_fd); }

bool csandbox_socket_alive(int sockets_fd, const char *session) {
    struct sockaddr_un address;
    name_socket(&address, session);
    if (faccessat(sockets_fd, address.sun_path, F_OK, AT_SYMLINK_NOFOLLOW) < 0) return false;
    CSANDBOX_AUTO_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || enter(sockets_fd) < 0) return true; // cannot tell: the careful answer
    const bool alive =
        connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 || errno == EAGAIN;
    return alive;
}

int csandbox_socket_bind(int sockets_fd, const char *session, struct csandbox_failure *failure) {
    struct sockaddr_un address;
    name_socket(&address, session);
    if (csandbox_socket_alive(sockets_fd, session))
        return csandbox_fail(failure, "control socket", EBUSY,
                             "an init of this session still listens on %s", address.sun_path);
    CSANDBOX_AUTO_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return csandbox_fail(failure, "control socket", errno, "socket");
    if (enter(sockets_fd) < 0)
        return csandbox_fail(failure, "control socket", errno, "enter the socket directory");
    if (unlink(address.sun_path) < 0 && errno != ENOENT)
        return csandbox_fail(failure, "control socket", errno, "remove the stale %s",
                             address.sun_path);
    const mode_t before = umask(0177);
    const int bound = bind(fd, (const struct sockaddr *)&address, sizeof address);
    const int error = errno;
    umask(before);
    if (bound < 0)
        return csandbox_fail(failure, "control socket", error, "bind %s", address.sun_path);
    return csandbox_steal_fd(&fd);
}

void csandbox_socket_remove(int sockets_fd, const char *session) {
    struct sockaddr_un address;
    name_socket(&address, session);
    (void)unlinkat(sockets_fd, address.sun_path, 0);
}

void csandbox_socket_sweep(int sockets_fd) {
    const int copy = openat(sockets_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = copy >= 0 ? fdopendir(copy) : NULL;
    if (directory == NULL) {
        if (copy >= 0) close(copy);
        return;
    }
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        char session[CSANDBOX_SESSION_LENGTH + 1] = "";
        const size_t length = strlen(entry->d_name);
        if (length != CSANDBOX_SESSION_LENGTH + 5 ||
            strcmp(entry->d_name + CSANDBOX_SESSION_LENGTH, ".sock") != 0)
            continue;
        memcpy(session, entry->d_name, CSANDBOX_SESSION_LENGTH);
        if (csandbox_session_valid(session, CSANDBOX_SESSION_LENGTH) &&
            !csandbox_socket_alive(sockets_fd, session))
            csandbox_socket_remove(sockets_fd, session);
    }
    closedir(directory);
}
