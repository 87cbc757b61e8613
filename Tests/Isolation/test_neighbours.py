"""Two sessions side by side: what the one makes, the other must not find; what one does must not reach the other."""

import json
import os
import secrets
import time

import harness
from setting import check, eventually

FILES, SOCKETS, PROCESSES = "files of other sessions and of the host", "sockets and network reach", \
    "signals, limits and ptrace"

# Makes one thing of each kind, says so, and stays.
MAKER = """
import ctypes, os, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)
mark = sys.argv[1]
held = []
for place in ['/tmp', '/dev/shm', '/run/user/1000', '/workspace', '/home/agent']:
    open(place + '/' + mark, 'w').write('secret')
abstract = socket.socket(socket.AF_UNIX); abstract.bind('\\0' + mark); abstract.listen()
path = socket.socket(socket.AF_UNIX); path.bind('/tmp/' + mark + '.sock'); path.listen()
server = socket.create_server(('127.0.0.1', 7311))
datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); datagram.bind(('127.0.0.1', 7311))
key = int(mark, 16)
assert libc.shmget(key, 4096, 0o1666) >= 0 and libc.msgget(key, 0o1666) >= 0 and libc.semget(key, 1, 0o1666) >= 0
os.mkfifo('/tmp/' + mark + '.fifo')
print('made', os.getpid(), flush=True)
time.sleep(300)
"""

SEEKER = """
import ctypes, json, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
mark, key = sys.argv[1], int(sys.argv[1], 16)
def reach(family, kind, address):
    with socket.socket(family, kind) as client:
        client.settimeout(2)
        try: client.connect(address)
        except OSError: return False
        return True
def listed(place):
    try: return mark in os.listdir(place)
    except OSError: return False
def running():
    for name in filter(str.isdigit, os.listdir('/proc')):
        try: words = open('/proc/' + name + '/cmdline', 'rb').read().split(b'\\0')
        except OSError: continue
        if mark.encode() in words and int(name) != os.getpid() and b'maker' in words: return True
    return False
found = {'file in ' + place: listed(place) for place in
         ['/tmp', '/dev/shm', '/run/user/1000', '/workspace', '/home/agent']}
found['abstract socket'] = reach(socket.AF_UNIX, socket.SOCK_STREAM, '\\0' + mark)
found['socket by path'] = reach(socket.AF_UNIX, socket.SOCK_STREAM, '/tmp/' + mark + '.sock')
found['TCP port'] = reach(socket.AF_INET, socket.SOCK_STREAM, ('127.0.0.1', 7311))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    try: client.bind(('127.0.0.1', 7311)); found['UDP port'] = False
    except OSError: found['UDP port'] = True
found['shared memory'] = libc.shmget(key, 0, 0) >= 0
found['message queue'] = libc.msgget(key, 0) >= 0
found['semaphores'] = libc.semget(key, 0, 0) >= 0
found['FIFO'] = os.path.exists('/tmp/' + mark + '.fifo')
found['process'] = running()
print(json.dumps(found))
"""
SOCKET_KINDS = {"abstract socket", "socket by path", "TCP port", "UDP port"}


def test_neighbours(suite):
    mark = secrets.token_hex(3)
    with suite.running() as world, world.session() as one, world.session() as two:
        making = world.send(one, f"exec python3 -c '{quoted(MAKER)}' {mark} maker")
        for event in making:
            if event["type"] == "message.delta":
                check(event["content"].startswith("made"), event["content"])
                break
        else:
            check(False, "the maker ended")
        outside = json.loads(world.python(two, SEEKER, mark))
        making.close()
        world.post(f"/v1/sessions/{one['id']}/end")
    with suite.running() as world, world.session() as one:
        world.run(one, f"setsid python3 -c '{quoted(MAKER)}' {mark} maker >/tmp/made 2>&1 &\n"
                       "while ! grep -q made /tmp/made; do sleep 0.05; done")
        inside = json.loads(world.python(one, SEEKER, mark))
    for kind, seen in outside.items():
        group = SOCKETS if kind in SOCKET_KINDS else PROCESSES if kind == "process" else FILES
        suite.attack(group, f"neighbour: {kind}", not seen, "found")
        suite.control(f"neighbour: {kind}", inside[kind], "not found in its own session")


def quoted(script):
    return script.replace("'", "'\\''")


def marked(world, session, mark):
    """Host pid of a process in the session."""
    world.run(session, f"setsid sleep 3600.{mark} >/dev/null 2>&1 &")
    return eventually(lambda: harness.children_named(f"3600.{mark}"), "a marked process")[-1]


def ids_of(pid):
    """Every host id that the process' user namespace has."""
    found = set()
    for kind in "uid_map", "gid_map":
        with open(f"/proc/{pid}/{kind}", encoding="ascii") as file:
            for line in file:
                _, first, count = map(int, line.split())
                found |= {(kind, number) for number in range(first, first + count)}
    return found


def namespaces_of(pid):
    return {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in
            ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")}


def mounts_of(pid):
    """Devices of what can be written, and the numbers of all mounts."""
    devices, numbers = {}, set()
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as file:
        for line in file:
            fields = line.split()
            numbers.add(fields[0])
            if fields[5].startswith("rw") and fields[4] not in ("/workspace", "/home/agent"):
                devices[fields[4]] = fields[2]
    return devices, numbers


def test_neighbours_share_nothing_on_the_host(suite):
    """Seen from the host: ids, namespaces by their inodes, mounts."""
    if not suite.root:
        return suite.skip("neighbour: ids", "only root can look at processes of sessions")
    with suite.running() as world, world.session() as one, world.session() as two:
        pids = [marked(world, one, secrets.randbelow(10**9)), marked(world, two, secrets.randbelow(10**9)),
                marked(world, one, secrets.randbelow(10**9))]
        first, second, again = pids
        ids = [ids_of(pid) for pid in pids]
        suite.attack("capabilities and ids", "neighbour: ids", ids[0] and not ids[0] & ids[1], ids[0] & ids[1])
        suite.control("neighbour: ids", ids[0] & ids[2])
        no_root = not any(number == 0 for found in ids for _, number in found)
        suite.check("root of the host is in no map", no_root, ids)
        spaces = [namespaces_of(pid) for pid in pids] + [namespaces_of(os.getpid())]
        shared = {name for name in spaces[0] if spaces[0][name] in (spaces[1][name], spaces[3][name])}
        suite.attack("namespaces and mounts", "neighbour: namespaces", not shared, shared)
        suite.control("neighbour: namespaces", spaces[0] == spaces[2])
        mounts = [mounts_of(pid) for pid in pids]
        devices = {place for place, device in mounts[0][0].items() if mounts[1][0].get(place) == device}
        suite.attack("namespaces and mounts", "neighbour: mounts", not devices and not mounts[0][1] & mounts[1][1],
                     devices or mounts[0][1] & mounts[1][1])
        suite.control("neighbour: mounts", mounts[0] == mounts[2])


def answers(world, session, seconds):
    """Whether the session answers in time."""
    began = time.monotonic()
    said = world.run(session, "echo $((6 * 7)); cat kept")
    return said == "42\nkept\n" and time.monotonic() - began < seconds


def test_neighbours_under_load(suite):
    """At full load, without space, crashed: the other session's results are the same."""
    name = "neighbour: load"
    with suite.running() as world, world.session() as calm:
        world.run(calm, "echo kept > kept")
        with world.session() as wild:
            busy = world.send(wild, "for i in 1 2 3 4; do while :; do :; done & done; "
                                    "cat /dev/zero > /tmp/full 2>&1; cat /dev/zero > /dev/shm/full; echo full; wait")
            said = ""
            for event in busy:
                said += event.get("content") or ""
                if "full\n" in said:
                    break
            suite.control(name, "No space left" in said, said)
            suite.attack("resource exhaustion", name, answers(world, calm, 20), "no answer in time")
            busy.close()
        if not suite.root:
            return suite.skip("neighbour: crash", "only root can end an init")
        with world.session() as crashed:
            mark = secrets.randbelow(10**9)
            pid = marked(world, crashed, mark)
            init = first_of(pid)
            os.kill(init, 9)
            gone = eventually(lambda: not harness.children_named(f"3600.{mark}"), "the session ends")
            suite.control("neighbour: crash", gone)
            suite.attack(PROCESSES, "neighbour: crash", answers(world, calm, 20), "no answer in time")


def first_of(pid):
    """The host's pid of process 1 in the pid namespace of `pid`."""
    space = os.readlink(f"/proc/{pid}/ns/pid")
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/status", encoding="utf-8") as file:
                fields = dict(line.split(":", 1) for line in file if ":" in line)
            if os.readlink(f"/proc/{name}/ns/pid") == space and fields["NSpid"].split()[-1] == "1":
                return int(name)
        except OSError:
            continue
    check(False, "the session's process 1")
