"""What a hostile workload in a session must leave as it is on the host, and how that is noticed."""

import contextlib
import ctypes
import glob
import hashlib
import os
import re
import resource
import signal
import socket
import subprocess
import time

import harness
import test_leaks
from setting import check, libc

# Change by themselves, or by what others do on the machine.
RESTLESS = re.compile(r"^(kernel/random/|kernel/ns_last_pid|kernel/pty/nr|kernel/perf_|kernel/tainted|kernel/sched|"
                      r"fs/(dentry|file|inode|aio)-|fs/binfmt_misc/|fs/quota/|net/netfilter/nf_conntrack_|"
                      r"net/ipv4/vs/|vm/stat_refresh|kernel/keys/)")
TROUBLE = re.compile(r"BUG:|WARNING:|Oops|general protection fault|soft lockup|blocked for more than|KASAN|UBSAN|"
                     r"use-after-free|refcount_t|Call Trace")
IPC_STAT = 2
KEY = 0x53540000  # System V objects of these tests lie from here on


def text(path):
    with open(path, "rb") as file:
        return file.read().decode("utf-8", "replace")


def settings_of_the_kernel():
    found = {}
    for place, directories, names in os.walk("/proc/sys"):
        directories.sort()
        for name in names:
            path = os.path.join(place, name)
            if not RESTLESS.match(path[len("/proc/sys/"):]) and os.stat(path).st_mode & 0o444:
                with contextlib.suppress(OSError):
                    found[path] = text(path)
    return found


def network():
    """Interfaces with their addresses and flags, and routes."""
    found = {path: text(path) for path in ("/proc/net/route", "/proc/net/ipv6_route", "/proc/net/if_inet6")
             if os.path.exists(path)}
    # The columns of counts say nothing about the routes.
    found = {path: [re.sub(r" [0-9a-f]{8} [0-9a-f]{8} ", " ", line) for line in lines.splitlines()]
             for path, lines in found.items()}
    for path in glob.glob("/sys/class/net/*/*"):
        if os.path.basename(path) in ("address", "flags", "mtu", "operstate"):
            with contextlib.suppress(OSError):
                found[path] = text(path)
    return found


def devices():
    """Device files with owner and mode; terminals come and go."""
    found = {}
    for place, directories, names in os.walk("/dev"):
        directories[:] = [name for name in directories if os.path.join(place, name) not in ("/dev/pts", "/dev/shm")]
        for name in names:
            with contextlib.suppress(OSError):
                status = os.lstat(os.path.join(place, name))
                found[os.path.join(place, name)] = (oct(status.st_mode), status.st_uid, status.st_gid, status.st_rdev)
    return found


def tree(top):
    """All that can be told of the files below `top`, but for when they were read."""
    found = {}
    for place, directories, names in os.walk(top):
        for name in [".", *directories, *names]:
            path = os.path.normpath(os.path.join(place, name))
            status = os.lstat(path)
            content = ""
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            found[path] = (oct(status.st_mode), status.st_uid, status.st_gid, status.st_nlink, status.st_mtime_ns, content)
    return found


def process(pid):
    """What another process could have changed about this one."""
    fields = text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return {"start": fields[19], "nice": fields[16], "policy": os.sched_getscheduler(pid),
            "processors": sorted(os.sched_getaffinity(pid)), "oom": text(f"/proc/{pid}/oom_score_adj"),
            "limits": text(f"/proc/{pid}/limits"),
            "caps": re.findall(r"^(?:Cap\w+|NoNewPrivs|Seccomp|Uid|Gid):.*", text(f"/proc/{pid}/status"), re.MULTILINE)}


class Log:
    """The kernel's log from now on. Where it may not be read, its taint has to do."""

    def __init__(self, stack):
        self.taint = text("/proc/sys/kernel/tainted")
        self.descriptor = None
        with contextlib.suppress(OSError):
            self.descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
            stack.callback(os.close, self.descriptor)
            os.lseek(self.descriptor, 0, os.SEEK_END)

    def trouble(self):
        found = []
        while self.descriptor is not None:
            try:
                line = os.read(self.descriptor, 8192).decode("utf-8", "replace")
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue  # older lines were lost
            if TROUBLE.search(line):
                found.append(line.strip())
        if text("/proc/sys/kernel/tainted") != self.taint:
            found.append(f"the kernel is tainted: {text('/proc/sys/kernel/tainted')}")
        return found


class Canaries:
    """Made before a session starts; `changes()` says what became of them."""

    def __init__(self, world, stack):
        self.world = world
        self.log = Log(stack)
        self.directory = os.path.join(world.dir, "canaries")
        os.makedirs(os.path.join(self.directory, "open"))
        for name, mode in (("secret", 0o600), ("everybody's", 0o666), ("open/program", 0o777)):
            world.write(os.path.join(self.directory, name), f"{name} of the host\n", mode)
        os.chmod(os.path.join(self.directory, "open"), 0o777)
        os.symlink("secret", os.path.join(self.directory, "link"))
        self.listen(stack)
        self.keep_memory(stack)
        self.sleepers = [self.sleeper(stack, **who) for who in ({}, {"user": 65534, "group": 65534, "extra_groups": []})]
        self.clock = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        self.before = self.look()

    def sleeper(self, stack, **who):
        child = subprocess.Popen(["sleep", "86400"], stdin=subprocess.DEVNULL, **who)
        stack.callback(child.wait)
        stack.callback(child.kill)
        return child.pid

    def listen(self, stack):
        """Where a session must not get through to: a TCP and a UDP port on loopback, an abstract name."""
        self.sockets = {"tcp": socket.create_server(("127.0.0.1", 0)), "abstract": socket.socket(socket.AF_UNIX),
                        "udp": socket.socket(socket.AF_INET, socket.SOCK_DGRAM)}
        self.sockets["udp"].bind(("127.0.0.1", 0))
        self.sockets["abstract"].bind(f"\0superserve-outside-{os.getpid()}")
        self.sockets["abstract"].listen()
        for one in self.sockets.values():
            stack.callback(one.close)
            one.setblocking(False)

    def keep_memory(self, stack):
        key = KEY + os.getpid() % 0x10000
        self.memory, self.queue = libc.shmget(key, 4096, 0o1666), libc.msgget(key, 0o1666)
        check(self.memory >= 0 and self.queue >= 0, "System V objects of the host")
        stack.callback(libc.shmctl, self.memory, 0, None)
        stack.callback(libc.msgctl, self.queue, 0, None)
        libc.shmat.restype = ctypes.c_void_p
        self.address = libc.shmat(self.memory, None, 0)
        ctypes.memmove(self.address, b"of the host", 11)
        check(libc.msgsnd(self.queue, ctypes.create_string_buffer(b"\1\0\0\0\0\0\0\0of the host"), 11, 0) == 0, "msgsnd")

    def memory_status(self):
        """shmid_ds and msqid_ds but for times: owner, mode, counts (both begin with a 48 byte ipc_perm)."""
        status = ctypes.create_string_buffer(256)
        check(libc.msgctl(self.queue, IPC_STAT, status) == 0, "the queue is there")
        return (ctypes.string_at(self.address, 11), status.raw[:48], status.raw[72:88])

    def connections(self):
        """Sockets of the host that somebody got through to."""
        found = []
        for name, one in self.sockets.items():
            with contextlib.suppress(BlockingIOError):
                found.append((name, one.recvfrom(100) if name == "udp" else one.accept()))
        return found

    def look(self):
        """part: what it looks like now."""
        service = test_leaks.service(self.world)
        places = (self.world.state, self.world.runtime, os.path.join(self.world.state, "sessions"), self.world.agents)
        return {
            "settings of the kernel": settings_of_the_kernel(),
            "network": network(),
            "devices": devices(),
            "disks, swap and modules": {path: text(path) for path in ("/proc/partitions", "/proc/swaps", "/proc/modules",
                                                                      "/proc/filesystems") if os.path.exists(path)},
            "mounts": dict(enumerate(text("/proc/self/mountinfo").splitlines())),
            "names of the host": dict(enumerate(os.uname())),
            "files": tree(self.directory),
            "directories of the service": {path: (oct(os.stat(path).st_mode), os.stat(path).st_uid) for path in places},
            "programs": {path: tree(path) for path in (harness.BIN, self.world.agents)},
            "processes of the host": {pid: process(pid) for pid in self.sleepers},
            "processes of the service": {name: (pid, process(pid)) for name, pid in service.items()},
            "System V objects": {"all": self.memory_status()},
        }

    def changes(self):
        """part: what is different."""
        now, found = self.look(), {}
        for part, before in self.before.items():
            after = now[part]
            found[part] = {key: (before.get(key), after.get(key)) for key in {*before, *after}
                           if before.get(key) != after.get(key)}
        drift = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) - self.clock
        found["clock"] = {} if abs(drift) < 5 else {"seconds": drift}
        found["sockets of the host"] = dict(self.connections())
        found["log of the kernel"] = dict(enumerate(self.log.trouble()))
        return found

    def touch_all(self):
        """Control: changes something of each kind that a test may change, and names the parts."""
        with open(os.path.join(self.directory, "open", "program"), "a", encoding="ascii") as file:
            file.write("more")
        os.kill(self.sleepers[0], signal.SIGSTOP)
        resource.prlimit(self.sleepers[0], resource.RLIMIT_NOFILE, (100, 100))
        os.kill(self.sleepers[0], signal.SIGCONT)
        ctypes.memmove(self.address, b"changed", 7)
        for name, kind in (("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)):
            with socket.socket(socket.AF_INET, kind) as client:
                client.connect(self.sockets[name].getsockname())
                client.send(b"x")
        os.chmod(self.world.agents, 0o777)
        return {"files", "processes of the host", "System V objects", "sockets of the host", "directories of the service",
                "programs"}
