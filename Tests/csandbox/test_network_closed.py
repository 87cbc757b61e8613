"""What stays shut in a session that has a network, and what no session can be started with."""

import json
import os
import resource
import socket
import struct
import time

import wire
import world as fixtures
from networks import NAMES, PORTS, PROXY, Inside, guests, network, sockets_of
from steps import ENV, probe, python, refused
from test_isolation import NETWORK, STATUS

LISTENERS = """
import json, os
found = {}
for kind in 'tcp', 'tcp6', 'udp', 'udp6', 'raw', 'raw6', 'packet', 'icmp':
    try: lines = open('/proc/self/net/' + kind).read().splitlines()[1:]
    except FileNotFoundError: continue
    found[kind] = sorted([line.split()[1], line.split()[3]] for line in lines)
print(json.dumps(found))
"""


def place_of(text):
    address, port = text.split(":")
    return socket.inet_ntoa(bytes.fromhex(address)[::-1]), int(port, 16)


def test_init_listens_where_it_was_told_and_nowhere_else(world):
    with world.init(network=1, ports=PORTS) as init:
        found = probe(init, LISTENERS)
        tcp = sorted(place_of(place) for place, state in found.pop("tcp") if state == "0A")
        assert tcp == sorted([PROXY, NAMES] + [("0.0.0.0", port) for port in PORTS]), tcp
        assert [place_of(place) for place, _ in found.pop("udp")] == [NAMES]
        assert not any(found.values()), found
    with world.init() as init:
        found = probe(init, LISTENERS)
        assert not any(found.values()), found


REACH = """
import json, socket
found = {}
for address in '127.0.0.1', '198.18.0.1', '198.18.7.9', '198.19.255.254', '::1':
    for port in 53, 80, 443, 3128, 8443:
        s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET); s.settimeout(2)
        found[f'{address} {port}'] = s.connect_ex((address, port))
        u = socket.socket(s.family, socket.SOCK_DGRAM); u.settimeout(2)
        try: u.connect((address, port)); u.send(b'x'); u.recv(1); found[f'udp {address} {port}'] = 0
        except OSError as error: found[f'udp {address} {port}'] = error.errno
for address in '198.17.255.255', '198.20.0.0', '192.0.2.1', '10.0.0.1', '224.0.0.1', '255.255.255.255', '2001:db8::1':
    s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET); s.settimeout(2)
    found[address] = s.connect_ex((address, 443))
print(json.dumps(found))
"""
REFUSED, UNREACHABLE, TIMED_OUT = 111, 101, 11


def test_without_network_nothing_answers(world):
    for options in ({}, {"network": 0}):
        with world.init(**options) as init:
            init.admit(100)  # no harm
            init.reply(5, b"x")
            found = probe(init, REACH)
            for place, error in found.items():
                local = "127.0.0.1" in place or "::1 " in place
                assert error == (REFUSED if local else UNREACHABLE), (place, error)
            init.quiet()
            assert not init.guests and not init.queries


def test_with_network_everything_else_is_refused_at_once(world):
    with world.init(network=1, ports=[443]) as init:
        init.admit(100)
        began = time.monotonic()
        init.start(1, python(REACH), ENV)
        while not init.find(wire.EXITED):
            frame = init.step()
            if frame.type == wire.QUERY:
                init.reply(init.queries[-1][0], b"answer")
        init.wait_end()
        found = json.loads(init.output() or init.output(1, wire.STDERR))
        assert time.monotonic() - began < 5 * wire.SLOWNESS  # nothing has waited for its time limit
        expected = dict.fromkeys(found, REFUSED)
        for place in ("127.0.0.1 53", "127.0.0.1 3128", "udp 127.0.0.1 53", "127.0.0.1 443",
                      "198.18.0.1 443", "198.18.7.9 443", "198.19.255.254 443"):
            expected[place] = 0
        for place in found:
            if " " not in place:
                expected[place] = UNREACHABLE
        # Of the broadcast and multicast addresses only that they lead nowhere matters.
        assert {place: error for place, error in found.items() if error != expected[place]} == {}, found
        assert len(init.guests) == 6


def test_network_changes_no_measure(world):
    with world.init() as plain, world.init(network=1, ports=PORTS) as init:
        assert init.session.measures == plain.session.measures
        one, other = probe(plain, STATUS), probe(init, STATUS)
        for found in one, other:
            for own in "ns", "uid_map", "gid_map":  # every session's own
                found.pop(own)
        assert one == other, (one, other)
        name = f"csandbox-test-{os.getpid()}"
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
            abstract.bind("\0" + name)
            abstract.listen()
            results = []
            for connection in plain, init:
                _, out, err = connection.run(
                    2, ["python3", "-c", NETWORK, str(server.getsockname()[1]), name], ENV)
                results.append(json.loads(out or err))
        assert results[0] == results[1], results
        for field in "CapEff", "CapPrm", "CapBnd", "CapAmb", "Seccomp", "NoNewPrivs", "Seccomp_filters":
            of = [fixtures.status_field(c.session.pid, field) for c in (plain, init)]
            assert of[0] == of[1], (field, of)


SEIZE = """
import itertools, socket
OPTIONS = {'reuseaddr': (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
           'reuseport': (socket.SOL_SOCKET, socket.SO_REUSEPORT, 1),
           'device': (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'lo\\0'),
           'freebind': (0, 15, 1), 'transparent': (0, 19, 1), 'v6only': (41, 26, 1)}
found, kept = [], []
def seize(kind, address, port, names):
    six = ':' in address
    s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind)
    if six: s.setsockopt(41, 26, 0)
    for name in names:
        if name == 'v6only' and not six: return
        try: s.setsockopt(*OPTIONS[name])
        except OSError: return
    try:
        s.bind((address, port))
        if kind == socket.SOCK_STREAM: s.listen()
    except OSError: return
    kept.append(s)
    found.append([kind == socket.SOCK_STREAM, address, port, names])
sets = [names for n in range(4) for names in itertools.combinations(OPTIONS, n)]
for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
    for address in PLACES:
        for port in (53, 80, 443, 8443, 3128, 9999):
            for names in sets:
                for s in kept: s.close()
                kept.clear()
                seize(kind, address, port, names)
for s in kept: s.close()
kept.clear()
result = found
"""


def test_agent_cannot_take_the_ports(world):
    places = ["0.0.0.0", "127.0.0.1", "127.0.0.2", "198.18.0.1", "198.18.5.5", "::", "::ffff:0.0.0.0",
              "::ffff:127.0.0.1", "::ffff:198.18.5.5", "::1"]
    with network(world) as (init, inside):
        found = inside(SEIZE, PLACES=places)
        for entry in found:
            stream, address, port, names = entry
            # The control: what nobody listens on can be had, in every way.
            if port == 9999 or not stream and port != 53 and port > 1023:
                continue
            # Neither leads anywhere that init listens: IPv6 alone, and other addresses of the proxy's port.
            six_only = address == "::1" or address == "::" and "v6only" in names
            beside = port == wire.PROXY_PORT and address in (
                "127.0.0.2", "198.18.0.1", "198.18.5.5", "::ffff:198.18.5.5")
            assert port > 1023 and (six_only or beside), entry
        assert {entry[1] for entry in found if entry[2] == 9999 and entry[0]} == set(places), found
        # With everything bound that can be, the connections are still init's.
        inside("""
kept = []
for address, port in (('::1', 8443), ('127.0.0.2', 3128), ('198.18.5.5', 3128)):
    s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1); s.bind((address, port)); s.listen(); kept.append(s)
s = socket.socket(socket.AF_INET6); s.setsockopt(41, 26, 1); s.bind(('::', 3128)); s.listen(); kept.append(s)""")
        init.admit(100)
        number = 0
        for place in (("127.0.0.1", 8443), ("198.18.5.5", 8443), ("198.18.5.5", 443), PROXY, NAMES):
            inside("s = connect(*place)", place=place)
            number += 1
            assert guests(init, number)[-1].getsockname() == place
        inside("u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.sendto(b'q', ('127.0.0.1', 53))")
        init.until(lambda: init.queries)


SOCKETS = """
import array, json, os, socket
found = []
def attempt(name, call):
    try: call(); found.append(name)
    except OSError: pass
for pid in ['1', 'self/task/1'] + [str(n) for n in range(2, 50) if n != os.getpid()]:
    for part in 'fd', 'fdinfo', 'net/tcp', 'root/proc/1/fd':
        attempt(f'/proc/{pid}/{part}', lambda: os.listdir(f'/proc/{pid}/{part}'))
        attempt(f'/proc/{pid}/{part} open', lambda: os.open(f'/proc/{pid}/{part}', os.O_RDONLY))
    for fd in range(64):
        attempt(f'/proc/{pid}/fd/{fd}', lambda: os.open(f'/proc/{pid}/fd/{fd}', os.O_RDWR))
import ctypes
import resource
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    if libc.syscall(*arguments) < 0: raise OSError(ctypes.get_errno(), 'call')
attempt('pidfd', lambda: call(438, os.pidfd_open(1), 3, 0))
# The addresses of lo, and the state of sockets, are not the agent's to change.
request = b'lo:1'.ljust(16, b'\\0') + bytes(24)
import fcntl, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for name, number, rest in (('address', 0x8916, struct.pack('=HH4s', 2, 0, bytes([10, 0, 0, 1]))),
                           ('mask', 0x891c, struct.pack('=HH4s', 2, 0, bytes([255, 0, 0, 0]))),
                           ('flags', 0x8914, struct.pack('=H', 0))):
    attempt(name, lambda: fcntl.ioctl(s, number, b'lo:1'.ljust(16, b'\\0') + rest.ljust(24, b'\\0')))
attempt('route', lambda: fcntl.ioctl(s, 0x890b, bytes(120)))
attempt('diag', lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4))
print(json.dumps(found))
"""


def test_sockets_of_init_are_out_of_reach(world):
    with world.init(network=1, ports=PORTS) as init:
        found = probe(init, SOCKETS)
        assert found == [], found


def test_bad_networks_are_refused(world):
    session = world.prepare()
    number = struct.Struct("=Q").pack
    bad = [
        {"ports": [443]}, {"network": 0, "ports": [443]}, {"network": 2}, {"network": (1 << 64) - 1},
        {"network": b""}, {"network": b"\1"}, {"network": number(1) + b"\0"},
        {"network": 1, "ports": [0]}, {"network": 1, "ports": [65536]}, {"network": 1, "ports": [(1 << 64) - 1]},
        {"network": 1, "ports": [(1 << 16) + 443]}, {"network": 1, "ports": [443, 80, 443]},
        {"network": 1, "ports": [53]}, {"network": 1, "ports": [wire.PROXY_PORT]},
        {"network": 1, "ports": [b""]}, {"network": 1, "ports": [b"\x01\xbb"]},
        {"network": 1, "ports": [number(443) + b"\0"]},
        {"network": 1, "ports": list(range(1000, 1000 + wire.PORTS_MAX + 1))},
    ]
    try:
        for options in bad:
            with refused(wire.EINVAL, 7):
                try:
                    session.spawn(**dict(options))
                except wire.Failed as failure:
                    assert failure.stage == "network" and failure.detail, (options, failure)
                    raise
        # As many as there may be, the last and the first port among them, in any order of fields.
        ports = [65535, 1, 22] + list(range(4000, 4000 + wire.PORTS_MAX - 3))
        init = session.spawn(network=1, ports=ports).connect()
        init.admit(100)
        inside = Inside(init)
        inside("keep = [connect('198.18.0.1', port) for port in ports]", ports=ports)
        assert sorted(guest.getsockname()[1] for guest in guests(init, len(ports))) == sorted(ports)
        if os.geteuid() == 0:
            inside.end()
            assert sockets_of(init) == 2 + 3 + len(ports)
    finally:
        session.end()


def test_session_that_cannot_listen_does_not_start(world):
    """Descriptors run out while init opens what it listens on; a limit of its own launcher sees to that."""
    with fixtures.World(world.program, world.as_user) as other:
        session = other.prepare()
        launcher = dict(other.launcher.ask(wire.LAUNCHER_HELLO))["PID"]
        with other.as_service():  # the owner of the launcher's user namespace
            resource.prlimit(launcher, resource.RLIMIT_NOFILE, (40, 40))
        with refused(24):
            try:
                session.spawn(network=1, ports=range(4000, 4000 + wire.PORTS_MAX))
            except wire.Failed as failure:
                assert failure.stage == "network", failure
                raise
        session.spawn(network=1, ports=[443])  # for these there are enough
