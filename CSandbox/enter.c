// From the keeper's child to the launcher program, inside the outer user namespace.
//
// A helper stays behind in the keeper's namespaces: the maps of a user namespace can only be
// written from its parent (user_namespaces(7)). The launcher is executed afresh because the address
// space of a forked child still belongs to the user namespace it came from, whose owner would
// decide over its /proc entries.
#include "launcher.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

static _Noreturn void write_maps(const struct csandbox_identity *identity, int fd, pid_t pid) {
    struct csandbox_failure failure;
    char go;
    if (read(fd, &go, 1) != 1) _exit(1); // the launcher-to-be gave up
    const int result = csandbox_identity_map(identity, pid, &failure);
    csandbox_report_send(fd, result < 0 ? &failure : NULL);
    _exit(0);
}

static int await_maps(int fd, struct csandbox_failure *failure) {
    static char stage[64]; // outlives this call, for the failure
    struct csandbox_report report;
    if (send(fd, "", 1, MSG_NOSIGNAL) != 1) return csandbox_fail(failure, "id maps", errno, "send");
    if (recv(fd, &report, sizeof report, MSG_WAITALL) != (ssize_t)sizeof report)
        return csandbox_fail(failure, "id maps", EPIPE,
                             "the helper that writes the maps ended early");
    if (report.error == 0) return 0;
    csandbox_failure_from_report(failure, stage, &report);
    return -failure->error;
}

// Takes the service's ids for good, but keeps the capabilities until the new namespace replaces
// them: on hosts that restrict namespaces of plain users, root still may make one. Its owner is
// then the service, not root.
static int take_service_ids(const struct csandbox_identity *identity,
                            struct csandbox_failure *failure) {
    if (!identity->privileged) {
        // newuidmap refuses a process whose /proc entry is not its caller's.
        if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
            return csandbox_fail(failure, "launcher", errno, "prctl");
        return 0;
    }
    if (prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) < 0)
        return csandbox_fail(failure, "service ids", errno, "securebits");
    if (setgroups(0, NULL) < 0 || setresgid(identity->gid, identity->gid, identity->gid) < 0 ||
        setresuid(identity->uid, identity->uid, identity->uid) < 0)
        return csandbox_fail(failure, "service ids", errno, "become %u:%u", identity->uid,
                             identity->gid);
    const int hidden = csandbox_make_undumpable();
    return hidden < 0 ? csandbox_fail(failure, "service ids", -hidden, "prctl") : 0;
}

static int unshare_namespaces(struct csandbox_failure *failure) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) {
        const char *advice =
            errno == ENOSPC ? "the sysctl user.max_user_namespaces is used up or 0"
            : errno == EUSERS
                ? "user namespaces are nested too deeply"
                : "the host forbids user namespaces; see the sysctls user.max_user_namespaces, "
                  "kernel.unprivileged_userns_clone and "
                  "kernel.apparmor_restrict_unprivileged_userns; in a chroot there are none";
        return csandbox_fail(failure, "user namespace", errno, "%s", advice);
    }
    return 0;
}

// Puts each descriptor where the launcher expects it, without O_CLOEXEC, and closes all others.
static int place_descriptors(const int *from, struct csandbox_failure *failure) {
    int high[CSANDBOX_FD_LAUNCHER_END];
    const int first = CSANDBOX_FD_LAUNCHER_LISTEN;
    for (int i = first; i < CSANDBOX_FD_LAUNCHER_END; i++) {
        high[i] = from[i] < 0 ? -1 : fcntl(from[i], F_DUPFD_CLOEXEC, CSANDBOX_FD_LAUNCHER_END);
        if (from[i] >= 0 && high[i] < 0) return csandbox_fail(failure, "descriptors", errno, "dup");
    }
    for (int i = first; i < CSANDBOX_FD_LAUNCHER_END; i++) {
        close(i);
        if (high[i] >= 0 && dup2(high[i], i) < 0)
            return csandbox_fail(failure, "descriptors", errno, "dup2");
    }
    if (close_range(CSANDBOX_FD_LAUNCHER_END, ~0u, 0) < 0)
        return csandbox_fail(failure, "descriptors", errno, "close_range");
    return 0;
}

static int enter_namespaces(struct csandbox_keeper *keeper, struct csandbox_failure *failure) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return csandbox_fail(failure, "id maps", errno, "socketpair");
    const pid_t self = getpid();
    const pid_t helper = fork();
    if (helper == 0) {
        close(ends[0]);
        write_maps(&keeper->identity, ends[1], self);
    }
    close(ends[1]);
    CSANDBOX_AUTO_FD int helper_fd = ends[0];
    if (helper < 0) return csandbox_fail(failure, "id maps", errno, "fork");
    // The working directory is carried over to the copy of the mounts that the new namespace gets:
    // later, parents of the state directory may be closed to the service.
    if (fchdir(keeper->state_fd) < 0)
        return csandbox_fail(failure, "directories", errno, "enter the state directory");
    if (take_service_ids(&keeper->identity, failure) < 0 || unshare_namespaces(failure) < 0)
        return -failure->error;
    if (await_maps(helper_fd, failure) < 0) return -failure->error;
    (void)waitpid(helper, NULL, 0);
    if (getuid() != 0 || getgid() != 0)
        return csandbox_fail(failure, "id maps", EPERM, "the service is not mapped to id 0");
    // Host mounts that appear later stay visible here (a project on a disk plugged in now); none
    // goes back.
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return csandbox_fail(
            failure, "mount namespace", errno,
            "the host gives this program no rights in its own user namespace%s",
            errno == EACCES || errno == EPERM
                ? " (AppArmor's kernel.apparmor_restrict_unprivileged_userns? it needs a profile "
                  "with 'userns')"
                : "");
    return 0;
}

int csandbox_enter_launcher(struct csandbox_keeper *keeper, int channel_fd,
                            struct csandbox_failure *failure) {
    sigset_t none;
    sigemptyset(&none);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        return csandbox_fail(failure, "launcher", errno, "prctl");
    if (keeper->cgroup_fd >= 0) {
        const int moved = csandbox_cgroup_enter_leaf(keeper->cgroup_fd);
        if (moved < 0) {
            (void)snprintf(keeper->cgroup_note, sizeof keeper->cgroup_note,
                           "the launcher's control group cannot be entered: %s", strerror(-moved));
            dprintf(2, "superserve-launcher: no groups for sessions: %s\n", keeper->cgroup_note);
            keeper->cgroup_fd = -1;
        }
    }
    if (enter_namespaces(keeper, failure) < 0) return -failure->error;
    CSANDBOX_AUTO_FD int state_fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (state_fd < 0)
        return csandbox_fail(failure, "directories", errno, "open %.180s", keeper->state_path);
    const int from[CSANDBOX_FD_LAUNCHER_END] = {
        [CSANDBOX_FD_LAUNCHER_LISTEN] = keeper->listen_fd,
        [CSANDBOX_FD_LAUNCHER_KEEPER] = channel_fd,
        [CSANDBOX_FD_LAUNCHER_STATE] = state_fd,
        [CSANDBOX_FD_LAUNCHER_RUNTIME] = keeper->runtime_fd,
        [CSANDBOX_FD_LAUNCHER_PROGRAM] = keeper->program_fd,
        [CSANDBOX_FD_LAUNCHER_CGROUP] = keeper->cgroup_fd,
    };
    if (place_descriptors(from, failure) < 0) return -failure->error;
    (void)csandbox_steal_fd(&state_fd); // closed just now, by number
    char name[] = "superserve-launcher", mode[] = "launcher";
    char *const arguments[] = {name, mode, keeper->state_path, keeper->runtime_path,
                               keeper->cgroup_note, NULL};
    char *const environment[] = {NULL};
    execveat(CSANDBOX_FD_LAUNCHER_PROGRAM, "", arguments, environment, AT_EMPTY_PATH);
    (void)csandbox_fail(failure, "launcher", errno,
                        "execute the program as the service (is it executable for everyone?)");
    csandbox_notice_fail(CSANDBOX_FD_LAUNCHER_KEEPER, failure); // the caller's number is gone
    _exit(1);
}
