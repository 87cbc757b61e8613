// Doors to the host's network, and to protocols that only make the kernel's surface larger.
#include "door.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static void try_connect(struct answer *answer, int fd, const void *address, size_t length,
                        const char *what) {
    if (fd < 0) return broken(answer, "socket: %s", strerror(errno));
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    if (connect(fd, address, (socklen_t)length) == 0) return opened(answer, "%s answers", what);
    if (errno != EINPROGRESS) return judge(answer, -1, what);
    // A route leads there, whoever answers.
    opened(answer, "%s can be sent to", what);
}

static void connect_inet(struct answer *answer, const char *host, int port, int type,
                         const char *what) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = inet_addr(host);
    try_connect(answer, socket(AF_INET, type | SOCK_CLOEXEC, 0), &address, sizeof address, what);
}

// Blocking: whether somebody listens has to be known.
static void host_loopback(struct answer *answer) {
    const char *port = parameter(answer, "host.port");
    if (port == NULL) return;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(port)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return broken(answer, "socket: %s", strerror(errno));
    judge(answer, connect(fd, (const void *)&address, sizeof address), "a server of the host");
}

static void outside(struct answer *answer) {
    connect_inet(answer, "192.0.2.1", 80, SOCK_STREAM, "another machine");
}
static void outside_datagram(struct answer *answer) {
    connect_inet(answer, "192.0.2.1", 53, SOCK_DGRAM, "another machine's name server");
}
// Where clouds hand out credentials.
static void metadata(struct answer *answer) {
    connect_inet(answer, "169.254.169.254", 80, SOCK_STREAM, "the cloud's metadata");
}

static void interfaces(struct answer *answer) {
    struct ifaddrs *list = NULL;
    if (getifaddrs(&list) < 0) return broken(answer, "getifaddrs: %s", strerror(errno));
    for (const struct ifaddrs *item = list; item != NULL; item = item->ifa_next)
        if (strcmp(item->ifa_name, "lo") != 0)
            return opened(answer, "there is %s", item->ifa_name);
    shut(answer, list == NULL ? "no interface" : "only lo");
}

static void connect_unix(struct answer *answer, const char *name, bool abstract) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t length = strlen(name);
    if (length + 2 > sizeof address.sun_path) return broken(answer, "%s is too long", name);
    memcpy(address.sun_path + abstract, name, length);
    const size_t size = offsetof(struct sockaddr_un, sun_path) + abstract + length;
    try_connect(answer, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), &address, size, name);
}

static void host_abstract(struct answer *answer) {
    const char *name = parameter(answer, "host.abstract");
    if (name != NULL) connect_unix(answer, name, true);
}
static void host_path(struct answer *answer) {
    const char *name = parameter(answer, "host.socket");
    if (name != NULL) connect_unix(answer, name, false);
}

static void listed_sockets(struct answer *answer) {
    static char text[1 << 20];
    const char *name = parameter(answer, "host.abstract");
    if (name == NULL) return;
    if (read_file("/proc/net/unix", text, sizeof text) < 0)
        return judge(answer, -1, "/proc/net/unix");
    if (strstr(text, name) != NULL) opened(answer, "the host's sockets are listed");
    else shut(answer, "not listed");
}

static void make_socket(struct answer *answer, int family, int type, int protocol,
                        const char *what) {
    const int fd = socket(family, type | SOCK_CLOEXEC, protocol);
    judge(answer, fd < 0 ? -1 : 0, what);
}

static void vsock(struct answer *answer) { make_socket(answer, 40, SOCK_STREAM, 0, "AF_VSOCK"); }
static void netlink(struct answer *answer, int protocol, const char *what) {
    make_socket(answer, AF_NETLINK, SOCK_RAW, protocol, what);
}
static void xfrm(struct answer *answer) { netlink(answer, NETLINK_XFRM, "netlink, XFRM"); }
static void netfilter(struct answer *answer) {
    netlink(answer, NETLINK_NETFILTER, "netlink, netfilter");
}
static void events(struct answer *answer) {
    netlink(answer, NETLINK_KOBJECT_UEVENT, "netlink, events of devices");
}
static void generic(struct answer *answer) { netlink(answer, NETLINK_GENERIC, "netlink, generic"); }
static void diagnosis(struct answer *answer) {
    netlink(answer, NETLINK_SOCK_DIAG, "netlink, diagnosis of sockets");
}

// Every family and type: what is left over is what agents need, and nothing else.
static void families(struct answer *answer) {
    for (int family = 0; family < 64; family++)
        for (int type = 1; type < 11; type++) {
            const bool needed = family == AF_UNIX || family == AF_NETLINK ||
                                ((family == AF_INET || family == AF_INET6) &&
                                 (type == SOCK_STREAM || type == SOCK_DGRAM));
            const int fd = needed ? -1 : socket(family, type | SOCK_CLOEXEC, 0);
            if (fd >= 0) return opened(answer, "family %d, type %d", family, type);
        }
    const int usual = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (usual < 0) return broken(answer, "not even TCP");
    shut(answer, "only Unix, TCP, UDP and netlink");
}

// Other protocols of families that are allowed: SCTP, MPTCP, UDP-Lite, DCCP, ping.
static void protocols(struct answer *answer) {
    for (int type = SOCK_STREAM; type <= SOCK_SEQPACKET; type++)
        for (int protocol = 1; protocol < 263; protocol++) {
            if ((type == SOCK_STREAM && protocol == IPPROTO_TCP) ||
                (type == SOCK_DGRAM && protocol == IPPROTO_UDP))
                continue;
            const int fd = socket(AF_INET, type | SOCK_CLOEXEC, protocol);
            if (fd >= 0) return opened(answer, "type %d, protocol %d", type, protocol);
        }
    shut(answer, "only TCP and UDP");
}

// Out-of-band bytes of Unix sockets, and read the other way round.
static void out_of_band(struct answer *answer) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
        return broken(answer, "socketpair: %s", strerror(errno));
    judge(answer, send(ends[0], "xy", 2, MSG_OOB), "MSG_OOB");
}

static void add_address(struct answer *answer) {
    struct {
        struct nlmsghdr header;
        struct ifaddrmsg message;
        struct rtattr attribute;
        uint32_t address;
    } request = {
        .header = {.nlmsg_len = sizeof request,
                   .nlmsg_type = RTM_NEWADDR,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE},
        .message = {.ifa_family = AF_INET, .ifa_prefixlen = 32, .ifa_index = 1},
        .attribute = {.rta_len = 8, .rta_type = IFA_LOCAL},
        .address = htonl(0x7f000102),
    };
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        char rest[256];
    } reply = {0};
    const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0 || send(fd, &request, sizeof request, 0) < 0 ||
        recv(fd, &reply, sizeof reply, 0) < 0)
        return broken(answer, "netlink: %s", strerror(errno));
    errno = -reply.error.error;
    judge(answer, errno == 0 || errno == EEXIST ? 0 : -1, "an address of its own");
}

// IPT_SO_GET_INFO; most holes of iptables were behind the same check.
static void iptables(struct answer *answer) {
    char info[84] = "filter";
    socklen_t length = sizeof info;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return broken(answer, "socket: %s", strerror(errno));
    judge_reached(answer, getsockopt(fd, IPPROTO_IP, 64, info, &length), ENOENT, "iptables");
}

#define GROUP "sockets and network reach"

const struct door network_doors[] = {
    {"host-loopback", GROUP, "", false, host_loopback},
    {"outside", GROUP, "", false, outside},
    {"outside-datagram", GROUP, "", false, outside_datagram},
    {"cloud-metadata", GROUP, "", false, metadata},
    {"interfaces", GROUP, "", false, interfaces},
    {"host-abstract-socket", GROUP, "CVE-2020-15257", false, host_abstract},
    {"host-socket-path", GROUP, "", false, host_path},
    {"host-sockets-listed", GROUP, "CVE-2020-15257", false, listed_sockets},
    {"vsock", GROUP, "CVE-2021-26708 CVE-2025-21756", false, vsock},
    {"netlink-xfrm", GROUP, "CVE-2026-43284 CVE-2026-46300", false, xfrm},
    {"netlink-netfilter", GROUP, "CVE-2023-31248 CVE-2024-1086", false, netfilter},
    {"netlink-events", GROUP, "", false, events},
    {"netlink-generic", GROUP, "", false, generic},
    {"netlink-diagnosis", GROUP, "", false, diagnosis},
    {"socket-families", GROUP,
     "CVE-2026-31431 CVE-2026-43494 CVE-2026-43500 CVE-2020-14386 CVE-2017-7308 CVE-2016-8655",
     false, families},
    {"socket-protocols", GROUP, "CVE-2026-64564", false, protocols},
    {"unix-out-of-band", GROUP, "CVE-2025-38236", false, out_of_band},
    {"add-address", GROUP, "CVE-2023-1829", false, add_address},
    {"iptables", GROUP, "CVE-2016-4997 CVE-2016-3134 CVE-2021-22555", false, iptables},
    {NULL, NULL, NULL, false, NULL},
};
