// What the service manager is told: a datagram of VARIABLE=VALUE lines (sd_notify(3)).
#include "internal.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int csandbox_service_notify(const char *lines) {
    const char *path = getenv("NOTIFY_SOCKET");
    if (path == NULL || path[0] == '\0') return -ENOENT;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t length = strlen(path);
    // A file, or with '@' a name in the network namespace (unix(7)); nothing else is known.
    if ((path[0] != '/' && path[0] != '@') || length < 2) return -EAFNOSUPPORT;
    if (length >= sizeof address.sun_path) return -ENAMETOOLONG;
    memcpy(address.sun_path, path, length);
    if (path[0] == '@') address.sun_path[0] = '\0';
    // Without the final NUL: it would belong to an abstract name.
    const socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    CSANDBOX_AUTO_FD int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    ssize_t sent;
    do
        sent = sendto(fd, lines, strlen(lines), MSG_NOSIGNAL, (struct sockaddr *)&address, size);
    while (sent < 0 && errno == EINTR);
    return sent >= 0 ? 0 : -errno;
}
