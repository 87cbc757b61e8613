"""What leaves a session that has a network: connections and name queries, through init and nowhere else.

The tests are the supervisor: they admit connections, get them as sockets, and answer names."""

import contextlib
import json
import os
import pathlib
import resource
import socket
import struct
import subprocess
import time

import wire
import world as fixtures
from steps import ENV, python, refused, shell
from test_isolation import NETWORK, STATUS, probe

PORTS = [80, 443, 8443]
PROXY = ("127.0.0.1", wire.PROXY_PORT)
NAMES = ("127.0.0.1", 53)

# An agent that does what the test says, one line of JSON with Python in it at a time.
LOOP = r"""
import errno, json, os, select, signal, socket, struct, subprocess, sys, threading, time
def connect(*address, timeout=10):
    s = socket.socket(); s.settimeout(timeout); s.connect(address); return s
def attempt(call):
    try: call()
    except OSError as error: return error.errno
    return 0
state = globals()
for line in sys.stdin:
    code, names = json.loads(line)
    state.update(names)
    state['result'] = None
    try: exec(code, state); said = {'result': state['result']}
    except BaseException as error: said = {'error': repr(error)}
    sys.stdout.write('\n' + json.dumps(said) + '\n'); sys.stdout.flush()
"""


class Inside:
    """An agent that runs code for the test."""

    def __init__(self, init, generation=1):
        self.init = init
        self.generation = generation
        self.offset = init.accepted
        self.seen = 0
        init.start(generation, python(LOOP), ENV)

    def begin(self, code, **names):
        line = json.dumps([code, names]).encode() + b"\n"
        self.init.input(line, self.offset)
        self.offset += len(line)

    def said(self):
        whole = self.init.output(self.generation).split(b"\n")[:-1]
        lines = [line for line in whole if line.startswith(b"{")]
        return lines[self.seen] if len(lines) > self.seen else None

    def wait(self, timeout=wire.DEADLINE):
        """`result` of the code that was begun first."""
        line = self.init.until(self.said, timeout)
        self.seen += 1
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def leave(self):
        """The supervisor goes, once the agent has what was sent."""
        self.init.until(lambda: self.init.accepted == self.offset)
        self.init.close()

    def __call__(self, code, **names):
        self.begin(code, **names)
        return self.wait()

    def end(self):
        self.init.close_input(self.offset)
        return self.init.wait_end(self.generation)


@contextlib.contextmanager
def network(world, ports=PORTS):
    """(connection to init, agent) of a session with a network."""
    with world.init(network=1, ports=ports) as init:
        yield init, Inside(init)


def guests(init, count):
    """The first `count` connections that came."""
    init.until(lambda: len(init.guests) >= count)
    return init.guests[:count]


def received(sock, count):
    """Exactly `count` bytes."""
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        assert piece, f"the end after {len(data)} bytes"
        data += piece
    return data


def descriptors(init):
    """How many init has open; None where nobody may look."""
    return len(os.listdir(f"/proc/{init.session.pid}/fd")) if os.geteuid() == 0 else None


def sockets_of(init):
    held = pathlib.Path(f"/proc/{init.session.pid}/fd")
    return sum(os.readlink(fd).startswith("socket:") for fd in held.iterdir())


def memory(init):
    """Resident KiB of init."""
    return int(fixtures.status_field(init.session.pid, "VmRSS").split()[0])


def processor_seconds(init):
    with open(f"/proc/{init.session.pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- connections ----------------------------------------------------------------------------------------------


def test_connections_arrive_with_the_address_that_was_meant(world):
    places = [PROXY, NAMES, ("198.18.0.1", 443), ("198.18.7.9", 443), ("198.19.255.254", 80),
              ("198.18.0.255", 443), ("198.18.255.255", 443), ("198.19.0.0", 80), ("127.0.0.5", 8443)]
    with network(world) as (init, inside):
        init.admit(100)
        for number, place in enumerate(places, 1):
            mine = inside("s = connect(*place); result = s.getsockname()", place=place)
            guest = guests(init, number)[-1]
            assert guest.getsockname() == place, (place, guest.getsockname())
            assert guest.getpeername() == tuple(mine)
            assert guest.family == socket.AF_INET and guest.type == socket.SOCK_STREAM
        # A dual-stack client too.
        inside("s = socket.socket(socket.AF_INET6); s.connect(('::ffff:198.18.3.4', 443))")
        assert guests(init, len(places) + 1)[-1].getsockname() == ("198.18.3.4", 443)


def test_bytes_flow_both_ways(world):
    with network(world) as (init, inside):
        init.admit(1)
        inside("s = connect('198.18.0.9', 443); s.sendall(b'hello')")
        guest, = guests(init, 1)
        assert received(guest, 5) == b"hello"
        guest.sendall(b"and back")
        assert inside("result = s.recv(100).decode()") == "and back"
        # Each direction ends on its own.
        inside("s.shutdown(socket.SHUT_WR)")
        assert guest.recv(1) == b""
        guest.sendall(b"still open")
        assert inside("result = s.recv(100).decode()") == "still open"
        guest.shutdown(socket.SHUT_WR)
        assert inside("result = s.recv(100).decode()") == ""
        # A lot of it.
        inside("big = connect('198.18.0.9', 80)")
        init.admit(2)
        big = guests(init, 2)[1]
        inside.begin("""
def pour():
    for i in range(512): big.sendall(bytes([i % 256]) * 16384)
thread = threading.Thread(target=pour); thread.start()
n = 0
while n < 512 * 16384: n += len(big.recv(65536))
thread.join(); result = n""")
        for number in range(512):
            assert received(big, 16384) == bytes([number % 256]) * 16384
            big.sendall(bytes(16384))
        assert inside.wait() == 512 * 16384


def test_connection_outlives_agent_and_init_keeps_none(world):
    with network(world) as (init, inside):
        init.admit(10)
        inside("""
s = connect('198.18.0.9', 443)
if os.fork() == 0:
    os.setsid()
    for fd in 0, 1, 2: os.close(fd)
    while data := s.recv(100): s.sendall(data.upper())
    os._exit(0)
s.close()""")
        guest, = guests(init, 1)
        guest.sendall(b"first")
        assert received(guest, 5) == b"FIRST"
        assert inside.end()[:2] == (0, 0)
        guest.sendall(b"then")
        assert received(guest, 4) == b"THEN"
        # A later agent of the session has the same way out.
        later = Inside(init, 2)
        later("s = connect('127.0.0.1', 3128)")
        assert guests(init, 2)[1].getsockname() == PROXY
        if os.geteuid() == 0:  # nobody else may look
            later.end()
            # Control socket, connection, and what it listens on.
            assert sockets_of(init) == 2 + 3 + len(PORTS)
        guest.close()


def test_nothing_is_handed_over_that_was_not_admitted(world):
    with network(world) as (init, inside):
        # Each says which it is, and waits.
        inside("""
keep = []
for i in range(6):
    keep.append(connect('198.18.0.9', 443)); keep[-1].sendall(bytes([i]))""")
        init.quiet()
        assert not init.guests
        for admitted, expected in ((2, 2), (1, 2), (0, 2), (2, 2), (3, 3), (5, 5)):
            init.admit(admitted)
            init.quiet()
            assert len(init.guests) == expected, (admitted, len(init.guests))
        init.admit((1 << 64) - 1)
        assert [received(guest, 1)[0] for guest in guests(init, 6)] == list(range(6))
        inside("more = connect('198.18.0.9', 443)")
        guests(init, 7)


def test_ports_take_turns(world):
    ports = list(range(4000, 4012))  # more than init serves in a turn
    with network(world, ports) as (init, inside):
        inside("keep = [connect('198.18.0.9', port) for port in ports for i in range(3)]", ports=ports)
        inside("keep += [connect('198.18.0.9', 4000) for i in range(50)]")
        for rounds in range(1, 4):
            init.admit(rounds * len(ports))
            came = guests(init, rounds * len(ports))[-len(ports):]
            assert sorted(guest.getsockname()[1] for guest in came) == ports, came


def test_end_of_the_session_ends_its_connections(world):
    with network(world) as (init, inside):
        init.admit(2)
        inside("a = connect('198.18.0.9', 443); b = connect('127.0.0.1', 3128)")
        both = guests(init, 2)
        began = time.monotonic()
        init.send(wire.SHUTDOWN)
        for guest in both:
            with contextlib.suppress(ConnectionResetError):
                assert guest.recv(1) == b""
        assert time.monotonic() - began < 2 * wire.SLOWNESS


# --- names ----------------------------------------------------------------------------------------------------

ASKERS = """
askers = []
for place in places:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(10); s.bind(tuple(place)); askers.append(s)
"""
# Init takes frames in order: whatever was answered before this was asked is in the sockets.
GOT = """
result = []
for s in askers:
    got = []
    s.setblocking(False)
    while True:
        try: data, sender = s.recvfrom(5000); got.append([data.decode(), sender])
        except BlockingIOError: break
    result.append(got)
"""


def test_queries_get_their_own_answers(world):
    places = [("127.0.0.1", 0), ("0.0.0.0", 0), ("127.8.8.8", 0), ("198.18.5.5", 0), ("198.19.1.1", 0)]
    with network(world) as (init, inside):
        inside(ASKERS + """
for i, s in enumerate(askers):
    for j in range(3): s.sendto(b'%d %d' % (i, j), ('127.0.0.1', 53))""", places=places)
        init.until(lambda: len(init.queries) == 15)
        assert len({offset for offset, _ in init.queries}) == 15  # one socket may ask twice
        for offset, datagram in reversed(init.queries):
            init.reply(offset, b"to " + datagram)
        found = inside(GOT)
        for number, got in enumerate(found):
            assert got == [[f"to {number} {j}", list(NAMES)] for j in (2, 1, 0)], (number, got)


def test_answers_that_nothing_waits_for_do_no_harm(world):
    with network(world) as (init, inside):
        inside(ASKERS + "askers[0].sendto(b'q', ('127.0.0.1', 53))", places=[("127.0.0.1", 0), ("127.0.0.1", 0)])
        init.until(lambda: init.queries)
        (offset, _), = init.queries
        other = inside("result = askers[1].getsockname()[1]")
        wrong = [0, (1 << 64) - 1, offset ^ 1, offset ^ (1 << 63), offset ^ (1 << 48),
                 (offset & ~0xFFFF) | other, 0x7F000001 << 16 | other]
        for number in wrong:
            init.reply(number, b"wrong")
        init.reply(offset, b"right")
        for _ in range(200):
            init.reply(offset, b"twice")
        assert inside(GOT) == [[["right", list(NAMES)]], []]
        # The count has not gone wrong: as many wait as ever, and not one more.
        inside("for i in range(200): askers[i % 2].sendto(b'%d' % i, ('127.0.0.1', 53))")
        init.quiet()
        assert len(init.queries) == 1 + wire.QUERIES_MAX, len(init.queries)


def test_queries_wait_for_answers(world):
    with network(world) as (init, inside):
        inside(ASKERS + "for i in range(80): askers[0].sendto(b'%d' % i, ('127.0.0.1', 53))",
               places=[("127.0.0.1", 0)])
        init.quiet()
        assert [data for _, data in init.queries] == [b"%d" % i for i in range(wire.QUERIES_MAX)]
        init.reply(init.queries[5][0])  # no answer, but no longer waited for
        init.until(lambda: len(init.queries) == wire.QUERIES_MAX + 1)
        init.quiet()
        assert len(init.queries) == wire.QUERIES_MAX + 1
        init.reply(init.queries[7][0], bytes(wire.DATAGRAM_MAX + 1))  # too long to be sent
        init.reply(init.queries[8][0], b"x" * wire.DATAGRAM_MAX)
        init.until(lambda: len(init.queries) == wire.QUERIES_MAX + 3)
        got, = inside(GOT)
        assert [len(text) for text, _ in got] == [wire.DATAGRAM_MAX], got
        # Nobody is there any more to take it.
        inside("for s in askers: s.close()")
        for offset, _ in init.queries:
            init.reply(offset, b"late")
        init.until(lambda: len(init.queries) == 80)
        inside.end()
        assert init.run(2, ["true"], ENV)[0][0] == 0


def test_long_and_empty_datagrams_are_dropped(world):
    with network(world) as (init, inside):
        sizes = [0, 1, 4096, 4097, 9000, 60000, 0, 12]
        inside(ASKERS + "for n in sizes: askers[0].sendto(b'x' * n, ('127.0.0.1', 53))",
               places=[("127.0.0.1", 0)], sizes=sizes)
        init.until(lambda: len(init.queries) == 3)
        init.quiet()
        assert [len(data) for _, data in init.queries] == [1, 4096, 12]


class Names:
    """A responder as the supervisor has one: one name exists."""

    ADDRESS = "198.18.0.7"

    @staticmethod
    def answer(query):
        labels, position = [], 12
        while query[position]:
            labels.append(query[position + 1:position + 1 + query[position]].decode())
            position += 1 + query[position]
        kind, = struct.unpack_from("!H", query, position + 1)
        question = query[12:position + 5]
        known = labels == ["models", "example"]
        record = b""
        if known and kind == 1:
            record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 5, 4) + socket.inet_aton(Names.ADDRESS)
        flags = 0x8180 if known else 0x8185  # REFUSED
        head = query[:2] + struct.pack("!HHHHH", flags, 1, 1 if record else 0, 0, 0)
        return head + question + record


def test_programs_resolve_names_and_connect(world):
    script = """
import json, socket, subprocess, time
s = socket.create_connection(('models.example', 443), 10); s.sendall(b'hi')
began = time.monotonic()
try: socket.getaddrinfo('elsewhere.example', 443); refused = False
except socket.gaierror: refused = True
took = time.monotonic() - began
found = subprocess.run(['getent', 'hosts', 'models.example'], capture_output=True, text=True).stdout.split()
print(json.dumps([refused, took, found, socket.gethostbyname('localhost'), s.recv(10).decode()]))
"""
    with world.init(network=1, ports=PORTS) as init:
        init.admit(10)
        init.start(1, python(script), ENV)
        answered = 0
        while not init.find(wire.EXITED):
            init.step()
            for offset, query in init.queries[answered:]:
                init.reply(offset, Names.answer(query))
            answered = len(init.queries)
            for guest in init.guests:
                guest.sendall(b"hello")
                init.guests.remove(guest)
                assert guest.getsockname() == (Names.ADDRESS, 443)
                assert received(guest, 2) == b"hi"
                guest.close()
        init.wait_end()
        refusal, took, found, localhost, text = json.loads(init.output() or init.output(1, wire.STDERR))
        assert refusal and took < 1 * wire.SLOWNESS, took  # at once, not after a time limit
        assert found[0] == Names.ADDRESS and localhost == "127.0.0.1" and text == "hello", (found, localhost, text)


def test_certificates_are_there(world):
    script = """
import json, os, ssl
broken = [name for name in os.listdir('/etc/ssl/certs') if not os.path.exists('/etc/ssl/certs/' + name)]
private = [place for place in ('/etc/ssl/private', '/etc/pki/tls/private/localhost.key') if os.path.exists(place)]
print(json.dumps([ssl.create_default_context().cert_store_stats()['x509_ca'], broken, private,
                  os.path.exists('/etc/ssl/openssl.cnf')]))
"""
    here = json.loads(subprocess.run(
        python(script), check=True, capture_output=True, text=True, env=ENV).stdout)
    assert here[0] > 0, "the host has no certificates"
    for options in ({}, {"network": 1}):
        with world.init(**options) as init:
            count, broken, private, configured = probe(init, script)
            assert count == here[0] and private == [] and configured == here[3], (count, here)
            assert broken == here[1], broken


# --- who is served, and when ----------------------------------------------------------------------------------


def test_supervisor_goes_and_comes_back(world):
    with network(world) as (init, inside):
        init.admit(100)
        inside("old = connect('198.18.0.9', 443)\n" + ASKERS +
               "for i in range(70): askers[0].sendto(b'%d' % i, ('127.0.0.1', 53))", places=[("127.0.0.1", 0)])
        guests(init, 1)
        init.until(lambda: len(init.queries) == wire.QUERIES_MAX)
        inside.begin("""
time.sleep(0.5)
new = [connect('198.18.0.9', 443) for i in range(3)]
askers[0].sendto(b'while away', ('127.0.0.1', 53))
result = [s.getsockname()[1] for s in new]""")
        inside.leave()
        time.sleep(1)
        again = inside.init = init.session.connect()  # the log is replayed from its start
        ports = inside.wait()
        # Queries need no admission: what the first supervisor left unanswered is forgotten.
        again.until(lambda: len(again.queries) == 7)
        assert [data for _, data in again.queries] == [b"%d" % i for i in range(64, 70)] + [b"while away"]
        again.quiet()
        assert not again.guests  # the admissions of the one before are gone
        again.admit(2)
        again.quiet()
        assert len(again.guests) == 2
        again.admit(3)
        assert sorted(guest.getpeername()[1] for guest in guests(again, 3)) == sorted(ports)
        # An answer of the one before goes nowhere.
        for offset, _ in init.queries:
            again.reply(offset, b"stale")
        again.reply(again.queries[-1][0], b"fresh")
        assert inside(GOT) == [[["fresh", list(NAMES)]]]
        inside("old.settimeout(5); assert old.recv(1) == b''")  # it was the supervisor that held it


def test_name_outlasts_a_restart_of_the_supervisor(world):
    with network(world) as (init, inside):
        inside.begin("result = socket.getaddrinfo('models.example', 443, socket.AF_INET, socket.SOCK_STREAM)[0][4]")
        init.until(lambda: init.queries)  # never answered
        inside.leave()
        time.sleep(3)
        again = inside.init = init.session.connect()
        while not inside.said():
            again.step()
            while again.queries:
                offset, query = again.queries.pop(0)
                again.reply(offset, Names.answer(query))
        assert inside.wait() == [Names.ADDRESS, 443]


def test_newest_supervisor_starts_at_none(world):
    with network(world) as (init, inside):
        init.admit(5)
        inside("keep = [connect('198.18.0.9', 443)]")
        guests(init, 1)
        second = inside.init = init.session.connect()  # without a gap
        inside("keep.append(connect('198.18.0.9', 443))")
        second.quiet()
        assert not second.guests
        second.admit(1)
        guests(second, 1)


def test_supervisor_that_does_not_read_loses_nothing(world):
    with network(world) as (init, inside):
        init.admit(100)
        inside.begin("""
sys.stdout.write('x' * 900000); sys.stdout.flush()
keep = [connect('198.18.0.9', port) for port in (80, 443, 8443) * 3]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(20): s.sendto(b'%d' % i, ('127.0.0.1', 53))""")
        time.sleep(1)  # its buffer is full: nothing says so
        inside.wait()
        guests(init, 9)
        init.until(lambda: len(init.queries) == 20)
        assert [data for _, data in init.queries] == [b"%d" % i for i in range(20)]
        assert init.output().count(b"x") == 900000


def test_queries_stay_where_they_are_while_nobody_reads(world):
    with network(world) as (init, inside):
        inside.begin("""
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(45): s.sendto(b'%d ' % i + bytes(4000), ('127.0.0.1', 53)); time.sleep(0.005)""")
        time.sleep(1.5)  # init's socket takes about 25 of them
        inside.wait()
        init.until(lambda: len(init.queries) == 45)
        assert [int(data.split()[0]) for _, data in init.queries] == list(range(45))


def test_output_does_not_keep_connections_waiting(world):
    """More output than the supervisor takes, until a connection and a name have come through."""
    with network(world) as (init, inside):
        inside.begin("""
done = False
def pour():
    while not done: os.write(1, b'x' * 65535 + b'\\n')
thread = threading.Thread(target=pour); thread.start()
try:
    time.sleep(0.5)
    for i in range(5):
        s = connect('198.18.0.9', 443); s.settimeout(60); s.sendall(b'hi'); s.recv(1)
        u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(60)
        u.sendto(b'q', ('127.0.0.1', 53)); u.recv(1)
finally: done = True
thread.join()""")
        init.admit(100)
        poured = answered = connected = 0
        deadline = time.monotonic() + wire.DEADLINE
        while answered < 5 or connected < 5:
            assert time.monotonic() < deadline, (connected, answered, poured)
            if init.step().type == wire.LOG:
                time.sleep(0.003)  # slower than the agent, so that there always is more to send
                poured += len(init.records)
                init.records.clear()
                init.acknowledge()
            while init.guests:
                with init.guests.pop() as guest:
                    guest.sendall(b"x")
                    connected += 1
            while init.queries:
                init.reply(init.queries.pop()[0], b"a")
                answered += 1
        assert poured > 100, poured
        while not inside.said():
            init.step()
            init.acknowledge()
        inside.wait()


FLOOD = r"""
import os, socket, sys, threading
kind, count = sys.argv[1], int(sys.argv[2])
if kind == 'datagrams':
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for i in range(count): s.sendto(b'%d' % i, ('127.0.0.1', 53))
else:
    for i in range(count):
        with socket.socket() as s:
            s.settimeout(60); s.connect(('198.18.1.1', 443)); s.sendall(b'x')
            try:
                while s.recv(1): pass
            except ConnectionResetError: pass
print('done')
"""


class Flood:
    """A supervisor that takes what comes, asks in between, and notes how init does."""

    CREDIT = 50

    def __init__(self, init):
        self.init = init
        self.connections = self.asked = self.most = self.turns = 0
        self.slowest = 0.0
        init.admit(self.CREDIT)

    def turn(self):
        init = self.init
        init.step()
        self.turns += 1
        if self.turns % 500 == 0:
            began = time.monotonic()
            with refused(wire.ESRCH):
                init.signal(15, 99)
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.most = max(self.most, descriptors(init) or 0)
        while init.guests:
            init.guests.pop().close()
            self.connections += 1
            if self.connections % 25 == 0:
                init.admit(self.connections + self.CREDIT)
        while init.queries:
            init.reply(*init.queries.pop(0))
            self.asked += 1


PIPES = 4 + 8  # of the agent, and what is accepted in one turn


def flood(world, kind, count):
    """(agent's lines, flood, KiB that init grew by, descriptors before)."""
    script = ("printf 'begin\\n'; python3 -c \"$0\" \"$1\" \"$2\" & "
              "for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i; sleep 0.1; done; wait")
    with world.init(network=1, ports=PORTS) as init:
        init.run(1, shell("echo warm"), ENV)
        before, size = descriptors(init) or 0, memory(init)
        state = Flood(init)
        init.start(2, ["bash", "-c", script, FLOOD, kind, str(count)], ENV)
        started = False
        while not init.find(wire.EXITED, 2):
            state.turn()
            started = started or init.find(wire.STARTED, 2) is not None
        result = init.wait_end(2)
        assert result[:2] == (0, 0) and started, (result, init.output(2, wire.STDERR))
        init.acknowledge()
        lines = init.output(2).split()
        # The next agent starts and ends as ever.
        assert init.run(3, ["true"], ENV)[0][0] == 0
        return lines, state, memory(init) - size, before


def test_flood_of_datagrams_changes_nothing(world):
    lines, state, grown, before = flood(world, "datagrams", 100_000)
    assert lines.count(b"line") == 10 and b"done" in lines, lines
    assert state.asked > 500 and 0 < state.slowest < 1 * wire.SLOWNESS, (state.asked, state.slowest)
    assert grown < 512, f"{grown} KiB"
    assert state.most <= before + PIPES, (state.most, before)


def test_flood_of_connections_changes_nothing(world):
    lines, state, grown, before = flood(world, "connections", 10_000)
    assert lines.count(b"line") == 10 and b"done" in lines, lines
    assert state.connections == 10_000, state.connections
    assert 0 < state.slowest < 1 * wire.SLOWNESS, state.slowest
    assert grown < 512, f"{grown} KiB"
    assert state.most <= before + PIPES, (state.most, before)


def test_flood_without_a_supervisor_is_nobodys_trouble(world):
    with network(world) as (init, inside):
        size = memory(init)
        inside.begin("""
time.sleep(0.5)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(20000): s.sendto(b'x' * 500, ('127.0.0.1', 53))
keep = []
for i in range(300):
    c = socket.socket(); c.setblocking(False); c.connect_ex(('198.18.0.9', 443)); keep.append(c)
result = len(keep)""")
        inside.leave()
        time.sleep(1)
        used = processor_seconds(init)
        time.sleep(1)
        assert processor_seconds(init) - used < 0.2, "init is busy with nobody there"
        again = inside.init = init.session.connect()
        assert inside.wait() == 300
        assert memory(init) - size < 512
        again.admit(50)
        guests(again, 50)


def test_lack_of_descriptors_does_not_spin(world):
    with world.init(network=1, ports=PORTS) as init:
        # What gone agents left running keeps init's ends of their pipes open; silent connections take places too.
        for generation in range(1, 17):
            init.start(generation, shell("sleep 1000 &"), ENV)
            init.wait_exit(generation)
        inside = Inside(init, 17)
        inside("s = connect('198.18.0.9', 443)")
        silent = [wire.Init(init.session.path, init.nonce, hello=False) for _ in range(4)]
        inside("pass")  # init has accepted them before it took this
        pid = init.session.pid
        with world.as_service():  # the owner of the session's user namespace
            soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            # No more than poll(2) wants for the places that init gives it.
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (43 + 2 + len(PORTS) + 1, hard))
        try:
            init.admit(10)
            used, turns = processor_seconds(init), fixtures.status_field(pid, "voluntary_ctxt_switches")
            time.sleep(2.5)
            assert processor_seconds(init) - used < 0.3
            switches = int(fixtures.status_field(pid, "voluntary_ctxt_switches")) - int(turns)
            assert switches < 50, switches
            assert not init.guests
            assert inside("result = 6 * 7") == 42  # init serves as ever
        finally:
            with world.as_service():
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        guests(init, 1)
        for connection in silent:
            connection.close()


# --- what stays shut ------------------------------------------------------------------------------------------

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


# --- SPAWN ----------------------------------------------------------------------------------------------------


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
