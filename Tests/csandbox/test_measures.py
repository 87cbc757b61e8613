"""The measures by name: the table, the documentation and what sessions report agree; and probes for those that
nothing else here shows."""

import ctypes
import errno
import json
import os
import pathlib
import re
import subprocess
import unittest

import world as fixtures
from steps import ENV, probe

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "security.md"


def table(world):
    """{name: (number, whether it is always in force)}."""
    lines = subprocess.run(
        [world.program, "measures"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    found = {}
    for number, line in enumerate(lines):
        name, when, what = line.split("\t")
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name) and what, line
        found[name] = (number, {"always": True, "kernel": False}[when])
    assert len(found) == len(lines), "a name twice"
    return found


def in_force(world, session):
    return {name for name, (number, _) in table(world).items() if session.measures >> number & 1}


def landlock_version():
    """Of this kernel, asked without the launcher's help; 0 when it has none."""
    return max(ctypes.CDLL(None).syscall(444, None, 0, 1), 0)


def test_documentation_lists_every_measure(world):
    text = DOCUMENT.read_text(encoding="utf-8")
    section = text.partition("### Names\n")[2].partition("\n#")[0]
    documented = re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)
    assert documented == list(table(world)), set(documented) ^ set(table(world))


def test_sessions_report_what_is_in_force(world):
    measures = table(world)
    version = landlock_version()
    expected = {name for name, (_, always) in measures.items() if always}
    expected |= {"landlock-files"} if version >= 2 else set()
    expected |= {"landlock-devices"} if version >= 5 else set()
    expected |= {"landlock-scopes"} if version >= 6 else set()
    with world.session() as session:
        found = in_force(world, session)
        # Two depend on more than a version; the tests of them say when.
        assert found - {"control-group", "ipc-limits"} == expected, found ^ expected
        assert session.landlock == version
        assert session.measures < 1 << len(measures)
        # Init says the same, to every supervisor.
        state = session.connect().state
        assert (state["MEASURES"], state["LANDLOCK"]) == (session.measures, session.landlock)
        with open(f"/proc/{session.pid}/cgroup", encoding="ascii") as file:
            grouped = any(session.id in line for line in file)
        assert ("control-group" in found) == grouped


LANDLOCK = """
import ctypes, errno, fcntl, json, os, stat
found = {}
def attempt(name, action):
    try: action(); found[name] = 0
    except OSError as error: found[name] = error.errno
for device in 'random', 'null':
    with open('/dev/' + device) as file:
        attempt(device, lambda: fcntl.ioctl(file, 0x80045200, bytes(4)))  # RNDGETENTCNT
for place in '/tmp', '/workspace', '/home/agent', '/dev/shm', '/run/user/1000':
    attempt('node ' + place, lambda: os.mknod(place + '/node', stat.S_IFCHR | 0o600, 0))  # of a whiteout
    attempt('file ' + place, lambda: open(place + '/file', 'w').write('x'))
    attempt('cut ' + place, lambda: os.truncate(place + '/file', 0))
    attempt('directories ' + place, lambda: os.makedirs(place + '/a/b'))
    attempt('move ' + place, lambda: os.rename(place + '/file', place + '/a/b/file'))
    attempt('link ' + place, lambda: os.link(place + '/a/b/file', place + '/link'))
    attempt('fifo ' + place, lambda: os.mkfifo(place + '/fifo'))
    attempt('remove ' + place, lambda: os.unlink(place + '/link'))
attempt('comm', lambda: open('/proc/self/comm', 'w').write('x'))
primary, secondary = os.openpty()
attempt('terminal', lambda: fcntl.ioctl(secondary, 0x5413, bytes(8)))  # TIOCGWINSZ
attempt('terminal by name', lambda: fcntl.ioctl(os.open(os.ttyname(secondary), os.O_RDWR), 0x5413, bytes(8)))
print(json.dumps(found))
"""


# A domain of its own on the host, in which nothing may make a character device.
HANDLES_NODES = """
import ctypes, errno, os, stat, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
rules = libc.syscall(444, struct.pack('Q', 1 << 6), ctypes.c_size_t(8), 0)
assert rules >= 0 and libc.prctl(38, 1, 0, 0, 0) == 0 and libc.syscall(446, rules, 0) == 0
try: os.mknod(sys.argv[1], stat.S_IFCHR | 0o600, 0)
except OSError as error: print(error.errno)
else: print(0); os.unlink(sys.argv[1])
"""


def refusal_of_nodes(world):
    """What this kernel answers where Landlock forbids them; some 6.1 let this one device through."""
    path = os.path.join(world.base, "node-of-a-domain")
    command = ["python3", "-c", HANDLES_NODES, path]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_landlock_is_a_second_wall(world):
    version = landlock_version()
    if version < 2:
        raise unittest.SkipTest("a kernel whose Landlock does not handle files that move")
    with world.init() as init:
        found = probe(init, LANDLOCK)
    # What nothing but Landlock refuses: the same on the host goes through.
    assert found.pop("random") == (errno.EACCES if version >= 5 else 0)  # older ones leave devices alone
    assert found.pop("null") == errno.ENOTTY
    nodes = {name: found.pop(name) for name in list(found) if name.startswith("node ")}
    refusal = refusal_of_nodes(world)
    assert refusal == errno.EACCES or version < 5
    assert len(nodes) == 5 and set(nodes.values()) == {refusal}, nodes
    assert set(found.values()) == {0} and len(found) == 5 * 7 + 3, found
    host = subprocess.run(
        ["python3", "-c", LANDLOCK.replace("'/tmp', '/workspace', '/home/agent', '/dev/shm', "
                                           "'/run/user/1000'", repr(world.base) + ",")],
        capture_output=True, text=True, check=True)
    seen = json.loads(host.stdout)
    assert seen["random"] == 0 and seen["node " + world.base] == 0, seen
    for name in "node", "fifo", "a/b/file":
        os.unlink(os.path.join(world.base, name))
    os.removedirs(os.path.join(world.base, "a/b"))


def test_processes_of_earlier_agents_stay_within_reach(world):
    """One Landlock domain for a session: what one agent leaves running, the next one can see and end."""
    with world.init() as init:
        script = "setsid sleep 1000 >/dev/null 2>&1 & echo $!"
        _, out, _ = init.run(1, ["bash", "-c", script], ENV)
        pid = int(out)
        script = ("import ctypes, os, sys\npid = int(sys.argv[1])\n"
                  "assert ctypes.CDLL(None).ptrace(16, pid, 0, 0) == 0\nos.waitpid(pid, 0x40000000)\n"
                  "assert ctypes.CDLL(None).ptrace(17, pid, 0, 0) == 0\n"
                  "print(os.readlink(f'/proc/{pid}/exe'))\nos.kill(pid, 9)")
        result, out, err = init.run(2, ["python3", "-c", script, str(pid)], ENV)
        assert result[0] == 0 and out.endswith(b"sleep\n"), (out, err)


OPTIONS = """
import ctypes, json, socket, sys
found = {}
def attempt(name, level, option, value=bytes(4), kind=socket.SOCK_STREAM, family=socket.AF_INET):
    with socket.socket(family, kind) as made:
        try: made.setsockopt(level, option, value); found[name] = 0
        except OSError as error: found[name] = error.errno
program = ctypes.create_string_buffer(b'\\x06\\0\\0\\0\\0\\0\\xff\\xff')  # classic BPF: take it all
filter = (1).to_bytes(8, 'little') + ctypes.addressof(program).to_bytes(8, 'little')
attempt('filter', 1, 26, filter)
attempt('bpf', 1, 50, (2**31 - 1).to_bytes(4, 'little'))
attempt('reuseport filter', 1, 51, filter, socket.SOCK_DGRAM)
attempt('reuseport bpf', 1, 52, (2**31 - 1).to_bytes(4, 'little'))
attempt('ulp', 6, 31, b'tls')
attempt('ulp with a high bit', 6, 31 | 0, b'espintcp')
attempt('encapsulation', 17, 100, (2).to_bytes(4, 'little'), socket.SOCK_DGRAM)
attempt('policy', 0, 16)
attempt('iptables', 0, 64)
attempt('ip6tables', 41, 64, family=socket.AF_INET6)
attempt('ebtables', 0, 128)
attempt('tls', 282, 1, bytes(40))
attempt('alg', 279, 1, bytes(40))
attempt('rds', 276, 1)
attempt('sctp', 132, 1)
one = (1).to_bytes(4, 'little')
attempt('reuse', 1, 2, one)
attempt('buffer', 1, 7, (65536).to_bytes(4, 'little'))
attempt('nodelay', 6, 1, one)
attempt('keepalive', 6, 4, one)
attempt('tos', 0, 1, one)
attempt('ttl', 0, 2, one)
attempt('group', 0, 35, socket.inet_aton('224.0.0.251') + socket.inet_aton('127.0.0.1'), socket.SOCK_DGRAM)
attempt('v6only', 41, 26, one, family=socket.AF_INET6)
attempt('segment', 17, 103, (512).to_bytes(4, 'little'), socket.SOCK_DGRAM)
attempt('credentials', 1, 16, one, socket.SOCK_STREAM, socket.AF_UNIX)
print(json.dumps(found))
"""
EVERYDAY = {"reuse", "buffer", "nodelay", "keepalive", "tos", "ttl", "group", "v6only", "segment",
            "credentials"}
LEVELS = {"tls", "alg", "rds", "sctp"}


def test_socket_options(world):
    with world.init() as init:
        found = probe(init, OPTIONS)
    host = json.loads(subprocess.run(["python3", "-c", OPTIONS], capture_output=True, check=True).stdout)
    # The control: outside, the calls are possible, and root is refused none of them.
    assert host["encapsulation"] == 0, host
    if os.geteuid() == 0:
        assert host["filter"] == 0 and errno.EPERM not in host.values(), host
    for name, value in found.items():
        expected = 0 if name in EVERYDAY else errno.ENOPROTOOPT if name in LEVELS else errno.EPERM
        assert value == expected, (name, value, host[name])


def test_keyring_is_the_sessions_own(world):
    if not os.path.exists("/proc/key-users"):
        raise unittest.SkipTest("a kernel without keys")

    def keys(uid):
        with open("/proc/key-users", encoding="ascii") as file:
            for line in file:
                owner, _, rest = line.partition(":")
                if int(owner) == uid:
                    return int(rest.split()[1].partition("/")[0])
        return 0

    if os.geteuid() != 0:
        raise unittest.SkipTest("only root sees whose keys there are")
    with world.init() as init:
        # One, of init's id; the agent adds none. (A uid that has one may get its user keyrings with it.)
        ids = fixtures.outside_ids(init.session.pid)
        assert keys(ids[0]) >= 1 and keys(ids[1000]) == 0
        script = """
import ctypes, json
libc = ctypes.CDLL(None, use_errno=True)
found = []
for call in (250, 0, -3, 0), (250, 6, -3, 0), (248, b'user', b'x', b'y', 1, -3), (249, b'user', b'x', 0, 0):
    ctypes.set_errno(0)
    found.append([libc.syscall(*call), ctypes.get_errno()])
print(json.dumps(found))
"""
        assert probe(init, script) == [[-1, errno.EPERM]] * 4


SYSTEM_V = """
import ctypes, errno, json
libc = ctypes.CDLL(None, use_errno=True)
def get(call, *arguments):
    ctypes.set_errno(0)
    made = call(0, *arguments)
    return errno.errorcode[ctypes.get_errno()] if made < 0 else made
found = {'large segment': get(libc.shmget, ctypes.c_size_t((256 << 20) + 1), 0o600)}
for name, call, arguments, most in (('segments', libc.shmget, (ctypes.c_size_t(64 << 20), 0o600), 9),
                                    ('queues', libc.msgget, (0o600,), 1000),
                                    ('semaphores', libc.semget, (1, 0o600), 1000)):
    count = 0
    while count < most and isinstance(made := get(call, *arguments), int): count += 1
    found[name] = [count, made]
print(json.dumps(found))
"""


def test_system_v_objects_are_limited(world):
    with world.session() as session:
        found = probe(session.connect(), SYSTEM_V)
        if "ipc-limits" not in in_force(world, session):
            raise unittest.SkipTest("a kernel that keeps these limits to the host")
        assert found == {"large segment": "EINVAL", "segments": [4, "ENOSPC"],
                         "queues": [256, "ENOSPC"], "semaphores": [128, "ENOSPC"]}, found


def test_init_keeps_nothing_of_the_log(world):
    if os.geteuid() != 0:
        raise unittest.SkipTest("only root can look at init's descriptors")
    with world.session() as session:
        session.connect()
        places = {fd: os.readlink(f"/proc/{session.pid}/fd/{fd}") for fd in (0, 1, 2)}
        assert set(places.values()) == {"/dev/null"}, places


def test_what_proc_tells_of_the_host_is_covered(world):
    script = """
import json, os, stat
found = {}
for name in 'pressure kallsyms modules schedstat softirqs diskstats interrupts keys timer_list'.split():
    path = '/proc/' + name
    try: status = os.stat(path)
    except FileNotFoundError: continue
    found[name] = os.listdir(path) if stat.S_ISDIR(status.st_mode) else len(open(path, 'rb').read())
print(json.dumps(found))
"""
    with world.init() as init:
        found = probe(init, script)
    there = [name for name in ("pressure", "kallsyms", "modules", "schedstat", "diskstats")
             if os.path.exists("/proc/" + name)]
    assert set(there) <= set(found) and len(there) >= 2, found
    assert all(not value for value in found.values()), found


def test_starting_agents_are_no_window_into_init(world):
    """Between fork and exec an agent's process has init's memory: it must be closed from its first moment on."""
    script = """
import os, sys, time
end = time.monotonic() + float(sys.argv[1])
seen = opened = 0
mine = os.getpid()
while time.monotonic() < end:
    for name in os.listdir('/proc'):
        if not name.isdigit() or int(name) in (1, mine): continue
        seen += 1
        try: opened += 'superserve' in os.readlink(f'/proc/{name}/exe')
        except OSError: pass
print(seen, opened)
"""
    with world.session() as session:
        init = session.connect()
        init.start(1, ["bash", "-c", "setsid python3 -c \"$1\" 4 >/tmp/found & sleep 0.3", "sh", script], ENV)
        init.wait_exit(1)
        for generation in range(2, 40):
            init.run(generation, ["true"], ENV)
        _, out, err = init.run(
            50, ["bash", "-c", "until test -s /tmp/found; do sleep 0.1; done; cat /tmp/found"], ENV)
        seen, opened = map(int, out.split())
        assert seen > 0 and opened == 0, (out, err)


def test_documentation_names_tests_that_exist(world):
    text = DOCUMENT.read_text(encoding="utf-8").partition("### Names\n")[2].partition("\n#")[0]
    here = "".join(path.read_text(encoding="utf-8") for path in pathlib.Path(__file__).parent.glob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", text))
    missing = {name for name in named if f"def {name}(" not in here}
    assert len(named) > 20 and not missing, missing
    sources = DOCUMENT.parents[1] / "CSandbox"
    assert all((sources / name).is_file() for name in re.findall(r"`(\w+\.c)`", text))


ARGUMENTS = """
import ctypes, errno, json, os
libc = ctypes.CDLL(None, use_errno=True)
found = {}
def attempt(name, *call):
    pid = os.fork()
    if pid == 0:
        ctypes.set_errno(0)
        os._exit(0 if libc.syscall(*map(ctypes.c_long, call)) >= 0 else ctypes.get_errno())
    found[name] = os.WEXITSTATUS(os.waitpid(pid, 0)[1])
program = ctypes.create_string_buffer(b'\\x06\\0\\0\\0\\0\\0\\xff\\x7f')  # allow everything
filter = ctypes.create_string_buffer((1).to_bytes(8, 'little') + ctypes.addressof(program).to_bytes(8, 'little'))
libc.prctl(38, 1, 0, 0, 0)
attempt('prctl perf events', 157, 31, 0, 0, 0, 0)
attempt('prctl ptracer', 157, 0x59616d61, -1, 0, 0, 0)
attempt('prctl core scheduling', 157, 62, 99, 0, 0, 0)
attempt('prctl name', 157, 15, ctypes.addressof(ctypes.create_string_buffer(b'x')), 0, 0, 0)
attempt('personality read implies exec', 135, 0x400000)
attempt('personality page zero', 135, 0x100000)
attempt('personality no randomization', 135, 0x40000)
attempt('personality read', 135, 0xffffffff)
attempt('seccomp listener', 317, 1, 8, ctypes.addressof(filter))
attempt('seccomp filter', 317, 1, 0, ctypes.addressof(filter))
directory = os.open('.', os.O_RDONLY)
attempt('ioctl subvolume', 16, directory, 0x5000940e, 0)
attempt('ioctl flags', 16, directory, 0x80086601, ctypes.addressof(ctypes.create_string_buffer(8)))
print(json.dumps(found))
"""


def test_arguments_that_are_refused(world):
    if os.uname().machine != "x86_64":
        raise unittest.SkipTest("numbers of x86-64")
    allowed = {"prctl name", "personality no randomization", "personality read", "seccomp filter"}
    with world.init() as init:
        found = probe(init, ARGUMENTS)
    host = json.loads(subprocess.run(["python3", "-c", ARGUMENTS], capture_output=True, check=True).stdout)
    for name, value in found.items():
        if name == "ioctl flags":
            assert value in (0, errno.ENOTTY), value  # as the file system likes
        elif name in allowed:
            assert value == 0, (name, value)
        else:
            # On the host the call does something else than to refuse by rights.
            assert value == errno.EPERM != host[name], (name, value, host[name])


def test_securebits_are_locked(world):
    script = "import ctypes, json\nprint(json.dumps(ctypes.CDLL(None).prctl(27, 0, 0, 0, 0)))"
    with world.init() as init:
        # No root, no set-uid fix-up, no ambient capabilities, no keeping of capabilities: all locked.
        assert probe(init, script) == 0x1 | 0x2 | 0x4 | 0x8 | 0x20 | 0x40 | 0x80


def test_no_priority_above_the_usual(world):
    script = """
import errno, json, os, resource
found = [resource.getrlimit(resource.RLIMIT_NICE), resource.getrlimit(resource.RLIMIT_RTPRIO)]
for action in (lambda: os.nice(-1), lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
               lambda: os.nice(1)):
    try: action(); found.append(0)
    except OSError as error: found.append(error.errno)
print(json.dumps(found))
"""
    with world.init() as init:
        assert probe(init, script) == [[0, 0], [0, 0], errno.EPERM, errno.EPERM, 0]


def test_mounts_are_locked(world):
    """Not even with every capability in the session's namespaces."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("only root can enter a session's namespaces with all capabilities")

    def umount(session, place):
        return subprocess.run(
            ["nsenter", "-t", str(session.pid), "-U", "-m", "-S", "0", "-G", "0", "umount", place],
            capture_output=True, text=True).returncode

    with world.session() as session:
        for place in "/usr", "/dev/null":
            assert umount(session, place) != 0, place
        assert umount(session, "/tmp") == 0  # its own, and only it can be taken off
