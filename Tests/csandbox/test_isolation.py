"""What hostile code finds in a session. Probes run as an agent inside; each has its counterpart on the host where
that can be had, so that a probe that never fails is noticed."""

import json
import os
import socket

from steps import ENV, probe

STATUS = """
import json, os
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
print(json.dumps({
    'ids': [os.getresuid(), os.getresgid(), os.getgroups()],
    'caps': {name: status[name].strip() for name in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')},
    'nnp': status['NoNewPrivs'].strip(), 'seccomp': status['Seccomp'].strip(),
    'fds': sorted(map(int, os.listdir('/proc/self/fd')))[:-1],
    'uid_map': [line.split() for line in open('/proc/self/uid_map')],
    'gid_map': [line.split() for line in open('/proc/self/gid_map')],
    'hostname': os.uname().nodename, 'cwd': os.getcwd(),
    'ns': {name: os.readlink('/proc/self/ns/' + name) for name in os.listdir('/proc/self/ns')},
    'nice': os.nice(0), 'umask': os.umask(0), 'oom': open('/proc/self/oom_score_adj').read().strip(),
    'sid': os.getsid(0) == os.getpid(), 'env': sorted(os.environ),
}))
"""


def test_agent_has_no_rights(world):
    with world.init() as init:
        found = probe(init, STATUS)
    assert found["ids"] == [[1000] * 3, [1000] * 3, []], found["ids"]
    assert set(found["caps"].values()) == {"0" * 16}, found["caps"]
    assert (found["nnp"], found["seccomp"]) == ("1", "2")
    assert found["fds"] == [0, 1, 2], found["fds"]
    assert found["hostname"] == "superserve" and found["cwd"] == "/workspace"
    assert found["umask"] == 0o22 and found["sid"]
    assert int(found["oom"]) >= 500
    assert [
        entry for entry in found["env"] if entry not in {"PATH", "HOME", "LC_CTYPE", "PWD"}
    ] == [], found["env"]


def test_ids_are_the_sessions_own(world):
    with world.session() as one, world.session() as two:
        maps = []
        for session in one, two:
            found = probe(session.connect(), STATUS)
            for kind in "uid_map", "gid_map":
                inside = sorted(int(line[0]) for line in found[kind])
                assert inside == [0, 1, 1000, 65534], found[kind]
                assert all(line[2] == "1" for line in found[kind])
            with open(f"/proc/{session.pid}/uid_map", encoding="ascii") as file:
                maps.append({int(line.split()[1]) for line in file})
        assert not maps[0] & maps[1], maps
        assert 0 not in maps[0] | maps[1]
        assert world.uid not in maps[0] | maps[1]


def test_namespaces_are_the_sessions_own(world):
    with world.session() as one, world.session() as two:
        seen = [probe(session.connect(), STATUS)["ns"] for session in (one, two)]
        host = {name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")}
        for name in "cgroup", "ipc", "mnt", "net", "pid", "user", "uts":
            assert len({host[name], seen[0][name], seen[1][name]}) == 3, name


# What lies under another mount cannot be reached by any path: below the session's /proc is the one that the template
# came with, and systemd's mount points in that.
MOUNTS = """
import json
mounts, places, parents = [], {}, {}
lines = [line.rstrip().split(' - ') for line in open('/proc/self/mountinfo')]
for before, _ in lines:
    number, parent, _, _, place = before.split()[:5]
    places[number], parents[number] = place, parent
covers = {parents[n]: n for n in places if places.get(parents[n]) == places[n]}
def hidden(number, by=None):
    if number not in places: return False
    return covers.get(number, by) != by or hidden(parents[number], number)
for before, after in lines:
    fields = before.split()
    if not hidden(fields[0]):
        mounts.append([fields[4], sorted(fields[5].split(',')), after.split()[0]])
print(json.dumps(mounts))
"""


def test_mounts(world):
    with world.init() as init:
        listed = probe(init, MOUNTS)
        mounts = {place: (set(options), kind) for place, options, kind in listed}
        assert len(mounts) == len(listed), listed
        writable = {place for place, (options, _) in mounts.items() if "rw" in options}
        assert writable == {
            "/workspace",
            "/home/agent",
            "/proc",
            "/dev/pts",
            "/dev/shm",
            "/tmp",
            "/run",
        }, writable
        for place, (options, _) in mounts.items():
            assert "nosuid" in options, place
            assert (
                "nodev" in options or place.startswith("/dev/") or place.startswith("/proc/")
            ), place
        for place in "/proc", "/dev/shm", "/dev/pts":
            assert "noexec" in mounts[place][0], place
        assert mounts["/"][1] == "tmpfs" and "/sys" not in mounts
        top = init.run(2, ["ls", "/"], ENV)[1].decode().split()
        assert not {"root", "opt", "sys", "srv", "mnt", "boot"} & set(top), top


WRITE = """
import errno, json, os, sys
opened, found = [], 0
for top in sys.argv[1:]:
    if not os.path.isdir(top):
        try: os.close(os.open(top, os.O_WRONLY)); opened.append(top)
        except OSError: found += 1
    for place, _, names in os.walk(top):
        for name in names:
            path = os.path.join(place, name)
            found += 1
            try: os.close(os.open(path, os.O_WRONLY)); opened.append(path)
            except OSError: pass
print(json.dumps([opened, found]))
"""


def test_kernel_files_cannot_be_written(world):
    with world.init() as init:
        tops = ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"]
        _, out, err = init.run(1, ["python3", "-c", WRITE, *tops], ENV)
        opened, found = json.loads(out)
        assert found > 100, (found, err)
        assert opened == [], opened


def test_sensitive_files_are_covered(world):
    script = """
import json, os, stat
found = {}
for name in 'kcore keys timer_list interrupts latency_stats sched_debug'.split():
    path = '/proc/' + name
    try:
        status = os.stat(path)
        found[name] = [stat.S_ISCHR(status.st_mode), os.major(status.st_rdev), os.minor(status.st_rdev)]
    except FileNotFoundError: pass
for name in 'acpi scsi asound'.split():
    try: assert os.listdir('/proc/' + name) == [], name
    except FileNotFoundError: pass
print(json.dumps(found))
"""
    with world.init() as init:
        found = probe(init, script)
        assert "timer_list" in found or "keys" in found, found
        assert all(value == [True, 1, 3] for value in found.values()), found


def test_etc_holds_nothing_of_the_host(world):
    with world.init() as init:
        script = "cat /etc/passwd /etc/group; ls -a /etc /etc/ssl; ls /etc/shadow /etc/ssl/private /etc/ssh"
        result, out, err = init.run(1, ["bash", "-c", script], ENV)
        assert result[0] == 2 and err.count(b"No such file") == 3, err
        lines = [line for line in out.decode().splitlines() if line.count(":") >= 3]
        assert {line.split(":")[0] for line in lines} == {
            "root",
            "agent",
            "nobody",
            "tty",
            "nogroup",
        }, lines
        _, out, _ = init.run(2, ["cat", "/etc/hosts", "/etc/resolv.conf"], ENV)
        assert b"127.0.0.1 localhost" in out and b"nameserver 127.0.0.1\n" in out


def test_devices(world):
    script = """
import json, os, stat
found = {}
for place, _, names in os.walk('/dev'):
    for name in names:
        status = os.lstat(os.path.join(place, name))
        if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            found[os.path.join(place, name)] = [os.major(status.st_rdev), os.minor(status.st_rdev)]
try: os.mknod('/tmp/sda', 0o600 | stat.S_IFBLK, os.makedev(8, 0)); found['mknod'] = True
except PermissionError: pass
os.mkfifo('/tmp/fifo')
primary, secondary = os.openpty()
found['pty'] = os.ttyname(secondary)
assert len(os.urandom(16)) == 16 and open('/dev/zero', 'rb').read(4) == bytes(4)
open('/dev/null', 'w').write('x')
print(json.dumps(found))
"""
    with world.init() as init:
        found = probe(init, script)
    assert found.pop("pty") == "/dev/pts/0"
    found.pop("/dev/pts/0", None)
    assert found == {
        "/dev/null": [1, 3],
        "/dev/zero": [1, 5],
        "/dev/full": [1, 7],
        "/dev/random": [1, 8],
        "/dev/urandom": [1, 9],
        "/dev/tty": [5, 0],
        "/dev/pts/ptmx": [5, 2],
    }, found


NETWORK = """
import json, os, socket, sys
found = {'interfaces': [name for _, name in socket.if_nameindex()]}
def attempt(name, action):
    try: action(); found[name] = 0
    except OSError as error: found[name] = error.errno
attempt('outside', lambda: socket.create_connection(('192.0.2.1', 80), 2))
attempt('host loopback', lambda: socket.create_connection(('127.0.0.1', int(sys.argv[1])), 2))
unix = socket.socket(socket.AF_UNIX)
attempt('host abstract', lambda: unix.connect('\\0' + sys.argv[2]))
attempt('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt('packet', lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
attempt('vsock', lambda: socket.socket(40, socket.SOCK_STREAM, 0))
attempt('alg', lambda: socket.socket(38, socket.SOCK_SEQPACKET, 0))
attempt('netfilter', lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12))
attempt('sctp', lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132))
attempt('route', lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
server = socket.create_server(('127.0.0.1', 0))
attempt('own loopback', lambda: socket.create_connection(server.getsockname(), 2))
server6 = socket.create_server(('::1', 0), family=socket.AF_INET6)
attempt('own loopback 6', lambda: socket.create_connection(server6.getsockname()[:2], 2))
a, b = socket.socketpair()
attempt('oob', lambda: a.send(b'x', socket.MSG_OOB))
print(json.dumps(found))
"""


def test_network_is_loopback_only(world):
    name = f"csandbox-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(
        socket.AF_UNIX
    ) as abstract:
        abstract.bind("\0" + name)
        abstract.listen()
        with socket.socket(socket.AF_UNIX) as control:
            control.connect("\0" + name)  # it can be reached from the host
        with world.init() as init:
            _, out, err = init.run(
                1, ["python3", "-c", NETWORK, str(server.getsockname()[1]), name], ENV
            )
            found = json.loads(out or err)
    assert found.pop("interfaces") == ["lo"]
    assert found == {
        "outside": 101,
        "host loopback": 111,
        "host abstract": 111,
        "raw": 1,
        "packet": 97,
        "vsock": 97,
        "alg": 97,
        "netfilter": 97,
        "sctp": 1,
        "route": 0,
        "own loopback": 0,
        "own loopback 6": 0,
        "oob": 95,
    }, found


INIT = """
import ctypes, json, os, resource
libc = ctypes.CDLL(None, use_errno=True)
found = {}
def attempt(name, action):
    try:
        value = action()
        if isinstance(value, int) and value < 0: raise OSError(ctypes.get_errno(), name)
        found[name] = 0
    except OSError as error: found[name] = error.errno
attempt('see', lambda: os.stat('/proc/1'))
attempt('memory', lambda: open('/proc/1/mem', 'r+b'))
attempt('root', lambda: os.listdir('/proc/1/root/'))
attempt('exe', lambda: open('/proc/1/exe', 'rb'))
attempt('signal', lambda: os.kill(1, 9))
attempt('ptrace', lambda: libc.ptrace(16, 1, 0, 0))
attempt('nice', lambda: os.setpriority(os.PRIO_PROCESS, 1, 10))
attempt('limits', lambda: resource.prlimit(1, resource.RLIMIT_NOFILE, (10, 10)))
attempt('affinity', lambda: os.sched_setaffinity(1, {0}))
buffer = ctypes.create_string_buffer(8)
class Vector(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]
local, remote = Vector(ctypes.addressof(buffer), 8), Vector(0x400000, 8)
attempt('read memory', lambda: libc.process_vm_readv(1, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0))
attempt('descriptor', lambda: libc.syscall(438, os.pidfd_open(1), 3, 0))
print(json.dumps(found))
"""


def test_init_is_out_of_reach(world):
    with world.init() as init:
        found = probe(init, INIT)
        assert found.pop("see") == 2, found
        allowed = {1, 2, 3, 13}  # EPERM, ENOENT (hidden), ESRCH, EACCES
        assert set(found.values()) <= allowed, found
