"""Sessions with a network while the supervisor comes, goes, does not read, or is flooded."""

import resource
import time

import wire
import world as fixtures
from networks import ASKERS, GOT, NAMES, PORTS, Inside, Names, descriptors, guests, memory, network, processor_seconds
from steps import ENV, refused, shell


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
