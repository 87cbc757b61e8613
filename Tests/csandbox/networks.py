"""Sessions with a network, seen from both sides: programs inside that connect and ask, and what arrives outside."""

import contextlib
import json
import os
import pathlib
import socket
import struct

import wire
import world as fixtures
from steps import ENV, python

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
