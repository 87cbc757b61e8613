"""Proof that the probe works, for what no switch opens: the same doors outside of any sandbox.

Where a door that stands open would change the host, it is tried in namespaces of its own, which end with it; and with
rights that are given to it one by one.
"""

import os
import pty
import subprocess

from setting import Verdicts
from test_doors import other_session

# Root in mount, network, pid, uts and ipc namespaces of its own, with other file systems where things are made.
PRIVATE = ["unshare", "--mount", "--propagation", "private", "--net", "--uts", "--ipc", "--pid", "--fork",
           "--kill-child", "--mount-proc", "sh", "-c",
           'set -e; mount -t tmpfs none /mnt; cp "$0" /mnt/probe; mkdir /mnt/source;'
           'for place in /tmp /workspace /usr/local; do [ ! -d $place ] || mount -t tmpfs none $place; done;'
           'mkdir /usr/local/bin; cd /; exec /mnt/probe run source=/mnt/source "$@"']
IN_PRIVATE = """mount mount-bind uncover remount pivot-root chroot-twice fsopen write-to-system mount-writable setns
mknod-block give-file-to-root securebits real-time nicer add-address iptables agent-source""".split()

# As root, beside the supervisor; each of these only looks, or opens and closes.
BESIDE = """core-pattern drop-caches sysrq-trigger modprobe-path irq-writable bus-writable proc-timer-list proc-kcore
proc-kmsg proc-kpageflags proc-kallsyms sys-listed sys-writable cgroup-writable device-files host-terminal console
host-shadow host-directories host-file host-file-by-process supervisor-state other-session-tree host-process-seen
host-process-signal host-socket-path descriptors-standard environment-leaked working-directory bpf reboot
kernel-modules io-ports kernel-log file-handle-open socket-protocols""".split()
# What not every kernel or machine has; a door to nothing cannot be shown open.
PLACES = {
    "bus-writable": "/proc/bus", "proc-timer-list": "/proc/timer_list", "proc-kcore": "/proc/kcore",
    "proc-kpageflags": "/proc/kpageflags", "sysrq-trigger": "/proc/sysrq-trigger", "console": "/dev/console",
    "modprobe-path": "/proc/sys/kernel/modprobe", "proc-kmsg": "/proc/kmsg",
}


def has_mount(kind, place):
    """Whether a file system of that kind is mounted there, or below, so that root could write to it."""
    with open("/proc/self/mounts", encoding="ascii", errors="replace") as file:
        mounts = [line.split() for line in file]
    return any(of == kind and where.startswith(place) and "rw" in options.split(",")
               for _, where, of, options, *_ in mounts)


# What a container in which the tests run as root may keep from that root; whether it is there.
CONTAINED = {
    "sys-writable": ("a writable /sys", lambda: has_mount("sysfs", "/sys")),
    "cgroup-writable": ("a writable cgroup", lambda: has_mount("cgroup2", "/sys") or has_mount("cgroup", "/sys")),
    "device-files": ("the host's /dev", lambda: os.path.exists("/dev/kmsg") or os.path.exists("/dev/mem")),
}

# Calls that a kernel may be built without.
CALLS = {"kernel-modules", "io-ports", "bpf"}


def run(words, **options):
    done = subprocess.run(words, capture_output=True, text=True, **options)
    return Verdicts(done.stdout), done.stderr[-300:]


def judge(suite, names, found, said):
    for name in names:
        place = PLACES.get(name)
        if found.get(name, ("",))[0] != "OPEN" and place and not os.path.exists(place):
            suite.skip(name, f"the host has no {place}")
        elif name in CONTAINED and found.get(name, ("",))[0] == "SHUT" and not CONTAINED[name][1]():
            suite.skip(name, f"the tests run without {CONTAINED[name][0]}")
        elif name in CALLS and "not implemented" in found.get(name, ("", ""))[1]:
            suite.skip(name, "the host's kernel is built without it")
        else:
            suite.control(name, name in found.open, f"{found.get(name)} {said}")


def test_bare_in_private_namespaces(suite):
    if not suite.root:
        for name in [*IN_PRIVATE, "mount-with-peers"]:
            suite.skip(name, "its control needs root")
        return
    found, said = run([*PRIVATE, suite.programs.probe, *IN_PRIVATE])
    judge(suite, IN_PRIVATE, found, said)
    shared = ["unshare", "--mount", "--propagation", "shared", suite.programs.probe, "run", "mount-with-peers"]
    judge(suite, ["mount-with-peers"], *run(shared))


def test_bare_beside_the_supervisor(suite):
    with suite.running() as world:
        _, tree = other_session(world)
        names = BESIDE if suite.root else ["host-file", "host-socket-path", "environment-leaked", "sys-listed"]
        with open(world.host.parameters["host.file"]) as file:
            found, said = run([suite.programs.probe, "run", *world.host.words(), tree, *names], stdin=file, cwd="/",
                              env={"AWS_SECRET_ACCESS_KEY": "of the host"})
        judge(suite, names, found, said)
        for name in set(BESIDE) - set(names):
            suite.skip(name, "its control needs root")


def test_bare_with_single_rights(suite):
    """As a user without rights but the one in question."""
    plain = ["setpriv", "--reuid=65534", "--regid=65534"]
    given = {
        "become-root become-group": ["--clear-groups", "--inh-caps=+setuid,+setgid", "--ambient-caps=+setuid,+setgid"],
        "capabilities-inheritable": ["--clear-groups", "--inh-caps=+chown"],
        "supplementary-groups": ["--groups=4"],
    }
    for names, options in given.items():
        if not suite.root:
            for name in names.split():
                suite.skip(name, "its control needs root")
            continue
        found, said = run([*plain, *options, suite.programs.probe, "run", *names.split()])
        judge(suite, names.split(), found, said)


def test_bare_judges(suite):
    """Doors that only a broken kernel opens, or a terminal: the judge itself sees what it should."""
    page = os.path.join(suite.programs.directory, "page")
    with open(page, "wb") as file:
        file.write(bytes(4096))
    judge(suite, ["shared-page"], *run([suite.programs.probe, "run", f"page={page}", "shared-page"]))
    pid, primary = pty.fork()
    if pid == 0:
        os.execv(suite.programs.probe, ["probe", "run", "controlling-terminal"])
    output = b""
    while True:
        try:
            got = os.read(primary, 4096)
        except OSError:
            break
        if not got:
            break
        output += got
    os.waitpid(pid, 0)
    os.close(primary)
    judge(suite, ["controlling-terminal"], Verdicts(output.decode().replace("\r", "")), output)


def test_bare_hard_link(suite):
    """On one file system, by its owner."""
    program = os.path.join(suite.programs.directory, "linked")
    with open(program, "w"):
        pass
    if os.stat("/tmp").st_dev != os.stat(program).st_dev:
        return suite.skip("hard-link", "/tmp is not one file system")
    judge(suite, ["hard-link"], *run([suite.programs.probe, "run", f"link={program}", "hard-link"]))
