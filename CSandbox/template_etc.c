// /etc of the template: what programs need to run, copied once from the host, and what describes
// the session, written here. Copies, not mounts: every mount of the template is copied into every
// session.
//
// Only what everyone on the host may read is taken, so no private key and no password hash can come
// along.
#include "launcher.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#define DEPTH_MAX 8
#define ENTRIES_MAX 8192
#define BYTES_MAX (32ll << 20)
#define FILE_BYTES_MAX (8ll << 20)

struct budget {
    unsigned entries;
    long long bytes;
};

// Names in /etc; a trailing '*' stands for the rest of the name, a '/' for a path of which only the
// end is taken.
static const char *const copied[] = {
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "ssl/certs",
    "ssl/openssl.cnf",
    "ssl/cert.pem",
    "ca-certificates",
    "ca-certificates.conf",
    "pki",
    "crypto-policies",
    "alternatives",
    "localtime",
    "timezone",
    "locale.conf",
    "locale.alias",
    "default/locale",
    "mime.types",
    "protocols",
    "services",
    "magic",
    "magic.mime",
    "terminfo",
    "inputrc",
    "bash.bashrc",
    "profile",
    "fonts",
    "python3*",
    "perl",
    "java-*",
    "os-release",
    "debian_version",
    "lsb-release",
    "redhat-release",
    "fedora-release",
    "alpine-release",
};

int csandbox_write_file(int dir_fd, const char *name, const char *text, mode_t mode) {
    CSANDBOX_AUTO_FD int fd =
        openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0 || fchmod(fd, mode) < 0) return -errno;
    const size_t length = strlen(text);
    return write(fd, text, length) == (ssize_t)length ? 0 : -(errno != 0 ? errno : EIO);
}

static int copy_file(int from_dir, int to_dir, const char *name, struct budget *budget) {
    CSANDBOX_AUTO_FD int from =
        openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (from < 0) return 0; // gone, or not for us
    struct stat status;
    if (fstat(from, &status) < 0) return -errno;
    if (!S_ISREG(status.st_mode) || (status.st_mode & 0004) == 0 || status.st_size > FILE_BYTES_MAX)
        return 0;
    budget->bytes -= status.st_size;
    if (budget->bytes < 0) return -EFBIG;
    const mode_t mode = (status.st_mode & 0111) ? 0555 : 0444;
    CSANDBOX_AUTO_FD int to =
        openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (to < 0 || fchmod(to, mode) < 0) return errno == EEXIST ? 0 : -errno;
    off_t left = status.st_size;
    while (left > 0) {
        const ssize_t sent = sendfile(to, from, NULL, (size_t)left);
        if (sent < 0) return -errno;
        if (sent == 0) break; // it became shorter
        left -= sent;
    }
    return 0;
}

static int copy_link(int from_dir, int to_dir, const char *name) {
    char target[PATH_MAX];
    const ssize_t length = readlinkat(from_dir, name, target, sizeof target - 1);
    if (length < 0) return 0;
    target[length] = '\0';
    return symlinkat(target, to_dir, name) < 0 && errno != EEXIST ? -errno : 0;
}

static int copy_entry(int from_dir, int to_dir, const char *name, unsigned depth,
                      struct budget *budget);

static int copy_directory(int from_dir, int to_dir, const char *name, unsigned depth,
                          struct budget *budget) {
    if (depth >= DEPTH_MAX) return 0;
    const int from = openat(from_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (from < 0) return 0;
    DIR *entries = fdopendir(from);
    if (entries == NULL) {
        close(from);
        return -errno;
    }
    int result = mkdirat(to_dir, name, 0755) < 0 && errno != EEXIST ? -errno : 0;
    CSANDBOX_AUTO_FD int to = openat(to_dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (result == 0 && to < 0) result = -errno;
    struct dirent *entry;
    while (result == 0 && (entry = readdir(entries)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            result = copy_entry(from, to, entry->d_name, depth + 1, budget);
    closedir(entries);
    return result;
}

static int copy_entry(int from_dir, int to_dir, const char *name, unsigned depth,
                      struct budget *budget) {
    struct stat status;
    if (budget->entries-- == 0) return -EFBIG;
    if (fstatat(from_dir, name, &status, AT_SYMLINK_NOFOLLOW) < 0) return 0;
    if (S_ISDIR(status.st_mode)) return copy_directory(from_dir, to_dir, name, depth, budget);
    if (S_ISLNK(status.st_mode)) return copy_link(from_dir, to_dir, name);
    return S_ISREG(status.st_mode) ? copy_file(from_dir, to_dir, name, budget) : 0;
}

// Every entry whose name begins with `prefix`.
static int copy_matching(int from_dir, int to_dir, const char *prefix, size_t length,
                         struct budget *budget) {
    const int copy = openat(from_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = copy >= 0 ? fdopendir(copy) : NULL;
    if (entries == NULL) {
        if (copy >= 0) close(copy);
        return -errno;
    }
    int result = 0;
    struct dirent *entry;
    while (result == 0 && (entry = readdir(entries)) != NULL)
        if (strncmp(entry->d_name, prefix, length) == 0)
            result = copy_entry(from_dir, to_dir, entry->d_name, 0, budget);
    closedir(entries);
    return result;
}

static int copy_named(int from_dir, int to_dir, const char *name, struct budget *budget) {
    const char *slash = strchr(name, '/');
    const size_t length = strlen(name);
    if (name[length - 1] == '*') return copy_matching(from_dir, to_dir, name, length - 1, budget);
    if (slash == NULL) return copy_entry(from_dir, to_dir, name, 0, budget);
    char parent[32];
    (void)snprintf(parent, sizeof parent, "%.*s", (int)(slash - name), name);
    CSANDBOX_AUTO_FD int from =
        openat(from_dir, parent, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (from < 0) return 0;
    if (mkdirat(to_dir, parent, 0755) < 0 && errno != EEXIST) return -errno;
    CSANDBOX_AUTO_FD int to = openat(to_dir, parent, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return to < 0 ? -errno : copy_entry(from, to, slash + 1, 0, budget);
}

// What a session is told about users, names and networks: nothing of the host's.
static int write_own_files(int etc_fd, const char *shell, struct csandbox_failure *failure) {
    char passwd[256];
    (void)snprintf(passwd, sizeof passwd,
                   "root:x:0:0:root:/:/bin/sh\n"
                   "agent:x:1000:1000:agent:/home/agent:%s\n"
                   "nobody:x:65534:65534:nobody:/:/bin/false\n",
                   shell);
    const struct {
        const char *name, *text;
    } files[] = {
        {"passwd", passwd},
        {"group", "root:x:0:\ntty:x:5:\nagent:x:1000:\nnogroup:x:65534:\n"},
        {"hosts", "127.0.0.1 localhost superserve\n::1 localhost ip6-localhost ip6-loopback\n"},
        {"hostname", "superserve\n"},
        // Refused at once where the session has no network. Where it has, a query may have to wait
        // for a supervisor that is being restarted.
        {"resolv.conf", "nameserver 127.0.0.1\noptions timeout:2 attempts:3\n"},
        {"nsswitch.conf",
         "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n"
         "protocols: files\nservices: files\n"},
        {"shells", "/bin/sh\n/bin/bash\n"},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        const int result = csandbox_write_file(etc_fd, files[i].name, files[i].text, 0444);
        if (result < 0)
            return csandbox_fail(failure, "template", -result, "write /etc/%s", files[i].name);
    }
    if (symlinkat("/proc/self/mounts", etc_fd, "mtab") < 0)
        return csandbox_fail(failure, "template", errno, "link /etc/mtab");
    return 0;
}

int csandbox_template_etc(int root_fd, const char *shell, struct csandbox_failure *failure) {
    if (mkdirat(root_fd, "etc", 0755) < 0)
        return csandbox_fail(failure, "template", errno, "mkdir /etc");
    CSANDBOX_AUTO_FD int to =
        openat(root_fd, "etc", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (to < 0) return csandbox_fail(failure, "template", errno, "open /etc");
    if (write_own_files(to, shell, failure) < 0) return -failure->error;
    CSANDBOX_AUTO_FD int from = open("/etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (from < 0) return csandbox_fail(failure, "template", errno, "open the host's /etc");
    struct budget budget = {ENTRIES_MAX, BYTES_MAX};
    for (size_t i = 0; i < sizeof copied / sizeof copied[0]; i++) {
        const int result = copy_named(from, to, copied[i], &budget);
        if (result == -EFBIG)
            return csandbox_fail(failure, "template", EFBIG,
                                 "/etc/%s is too large for a session: what is copied of /etc may "
                                 "have %d entries and %lld MiB in all",
                                 copied[i], ENTRIES_MAX, BYTES_MAX >> 20);
        if (result < 0)
            return csandbox_fail(failure, "template", -result, "copy /etc/%s", copied[i]);
    }
    return 0;
}
