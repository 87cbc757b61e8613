"""The wire of csandbox.h for tests: frames over seqpacket sockets, spoken to the launcher and to inits."""

import collections
import os
import select
import socket
import struct
import time
from errno import (EACCES, EBUSY, ECANCELED, EEXIST, EINVAL, EISDIR, ELOOP, ENAMETOOLONG, ENOENT,
                   ENOEXEC, ENOSYS, ENOTDIR, EPERM, EPROTO, EROFS, ESRCH, ESTALE)

MAGIC = 0x56525353
VERSION = 1
FRAME_MAX = 65536
CHUNK_MAX = 61440
INPUT_WINDOW = 262144
NONCE_SIZE = 16
PROXY_PORT = 3128
PORTS_MAX = 32
DATAGRAM_MAX = 4096
QUERIES_MAX = 64
RING_SIZE = 1048576
HEADER = struct.Struct("=IHHIIQ")
FIELD = struct.Struct("=HHI")
RECORD = struct.Struct("=IHHQ")
EXIT = struct.Struct("=iiQQQ")

# Frame types.
LAUNCHER_HELLO, PREPARE, SPAWN, KILL, DESTROY, MEASURE, LIST = range(1, 8)
USAGE = 9
LAUNCHER_EXITED = 32
OK, FAILED = 64, 65
(HELLO, START, INPUT, INPUT_EOF, ACK, SIGNAL, FILES_GET, FILES_PUT, SHUTDOWN, ADMIT, ANSWER) = range(128, 139)
STATE, LOG, INPUT_ACCEPTED, FILES_DONE, CONNECTION, QUERY = range(160, 166)

TAGS = """SESSION BLOCK NONCE SOURCE ROOT MOUNT PID START_TIME STATUS STAGE ERRNO DETAIL BLOCKS BYTES
FILES GENERATION ARG ENV CWD RUNNING LOG_START LOG_END INPUT_ACCEPTED SIGNAL SCOPE PATH LINGER
FRAGMENT STATE_DIR MEASURES LANDLOCK LOOSEN NETWORK PORT""".split()
TAG = {name: number for number, name in enumerate(TAGS, 1)} | {"LIMITS": 40, "ENFORCED": 41, "USAGE": 42, "QUOTA_BYTES": 43,
                                                             "QUOTA_FILES": 44}
NAME = {number: name for name, number in TAG.items()}
TEXTS = {"SESSION", "SOURCE", "ROOT", "STAGE", "DETAIL", "ARG", "ENV", "CWD", "PATH", "STATE_DIR", "LOOSEN"}
BYTES = {"NONCE", "MOUNT", "LIMITS", "USAGE"}

# Limits (struct csandbox_limits) and what is used (struct csandbox_usage).
LIMITS = struct.Struct("=II7Q")
USED = struct.Struct("=II7Q")
LIMIT_NAMES = "memory memory_high swap pids cpu cpu_weight io_weight cpu_time".split()
USED_NAMES = "cpu_us memory memory_peak oom_kills pids pids_refused populated".split()
UNLIMITED = 2**64 - 1


def limits(required=(), version=1, **values):
    """The bytes of LIMITS; what is not named has no limit."""
    bits = sum(1 << LIMIT_NAMES.index(name) for name in required)
    return LIMITS.pack(version, bits, *(values.get(name, UNLIMITED) for name in LIMIT_NAMES[:7]))


def enforced(bits):
    return {name for number, name in enumerate(LIMIT_NAMES) if bits >> number & 1}


def usage(value):
    """What is known of it."""
    _, known, *numbers = USED.unpack(value)
    return {name: number for i, (name, number) in enumerate(zip(USED_NAMES, numbers)) if known >> i & 1}


# Record types.
STARTED, START_FAILED, STDOUT, STDERR, EXITED, STDOUT_EOF, STDERR_EOF = range(1, 8)
AGENT, GROUP, ALL = range(3)

# How much slower than an ordinary machine this one is; an emulated processor is many times.
SLOWNESS = float(os.environ.get("SUPERSERVE_TEST_SLOWNESS", "1"))
DEADLINE = 30.0 * SLOWNESS  # seconds; nothing here takes a tenth of it

Frame = collections.namedtuple("Frame", "type request offset payload fd")
Record = collections.namedtuple("Record", "type generation payload start end")


class Failed(Exception):
    """A FAILED answer."""

    def __init__(self, fields):
        self.stage = fields.get("STAGE", "")
        self.errno = fields.get("ERRNO", 0)
        self.detail = fields.get("DETAIL", "")
        super().__init__(f"{self.stage}: errno {self.errno}: {self.detail}")


class Disconnected(Exception):
    """The peer closed the connection."""


def fields(*pairs):
    """(name, value) pairs as a payload; numbers become 8 bytes."""
    out = bytearray()
    for name, value in pairs:
        if value is None:
            continue
        if isinstance(value, int):
            value = struct.pack("=Q", value)
        elif isinstance(value, str):
            value = value.encode("utf-8", "surrogateescape")
        out += FIELD.pack(TAG[name], 0, len(value)) + value
    return bytes(out)


def parse_fields(payload):
    """Every field as (name, value)."""
    found, position = [], 0
    while position < len(payload):
        tag, zero, length = FIELD.unpack_from(payload, position)
        position += FIELD.size
        value = payload[position:position + length]
        assert zero == 0 and len(value) == length, "malformed fields"
        position += length
        name = NAME.get(tag, tag)
        if name in TEXTS:
            value = value.decode("utf-8", "surrogateescape")
        elif name == "STATUS":
            value = struct.unpack("=q", value)[0]
        elif name not in BYTES:
            value = struct.unpack("=Q", value)[0]
        found.append((name, value))
    return found


def parse_records(payload, offset):
    """The records of a LOG frame."""
    found, position = [], 0
    while position < len(payload):
        length, kind, zero, generation = RECORD.unpack_from(payload, position)
        start = position
        position += RECORD.size + length
        assert zero == 0 and position <= len(payload), "a record is cut"
        body = payload[start + RECORD.size:position]
        found.append(Record(kind, generation, body, offset + start, offset + position))
    return found


class Connection:
    """One seqpacket connection."""

    def __init__(self, path, patience=5.0):
        deadline = time.monotonic() + patience
        while True:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                self.socket.connect(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                self.socket.close()
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.005)  # no event tells that somebody listens
        self.socket.setblocking(False)
        self.request = 0

    def close(self):
        self.socket.close()

    def wait(self, deadline, writing=False):
        left = deadline - time.monotonic()
        mask = select.POLLOUT if writing else select.POLLIN
        poll = select.poll()
        poll.register(self.socket, mask)
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError("nothing came")

    def send(self, kind, payload=b"", request=0, offset=0, raw=None):
        packet = raw if raw is not None else (
            HEADER.pack(MAGIC, VERSION, kind, len(payload), request, offset) + payload)
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                self.socket.send(packet)
                return
            except BlockingIOError:
                self.wait(deadline, writing=True)
            except (BrokenPipeError, ConnectionResetError):
                raise Disconnected() from None

    def receive(self, timeout=DEADLINE):
        deadline = time.monotonic() + timeout
        while True:
            try:
                packet, descriptors, _, _ = socket.recv_fds(self.socket, FRAME_MAX, 4)
                break
            except BlockingIOError:
                self.wait(deadline)
            except ConnectionResetError:
                raise Disconnected() from None
        if not packet:
            raise Disconnected()
        magic, version, kind, length, request, offset = HEADER.unpack_from(packet)
        payload = packet[HEADER.size:]
        assert (magic, version, length) == (MAGIC, VERSION, len(payload)), "malformed frame"
        assert len(descriptors) <= 1
        for fd in descriptors:
            os.set_inheritable(fd, False)
        return Frame(kind, request, offset, payload, descriptors[0] if descriptors else None)

    def next_request(self):
        self.request += 1
        return self.request


class Launcher(Connection):
    """The supervisor's side of launcher.sock."""

    def __init__(self, path, patience=5.0):
        super().__init__(path, patience)
        self.exited = []
        self.answers = {}

    def ask(self, kind, *pairs, timeout=DEADLINE):
        """The fields of the answer, as (name, value) pairs; raises Failed."""
        return self.answer(self.begin(kind, *pairs), timeout)

    def begin(self, kind, *pairs):
        request = self.next_request()
        self.send(kind, fields(*pairs), request)
        return request

    def answer(self, request, timeout=DEADLINE):
        deadline = time.monotonic() + timeout
        found = []
        while True:
            waiting = self.answers.get(request)
            if not waiting:
                self.take(self.receive(deadline - time.monotonic()))
                continue
            frame = waiting.pop(0)
            pairs = parse_fields(frame.payload)
            if frame.type == FAILED:
                raise Failed(dict(pairs))
            found += [pair for pair in pairs if pair[0] != "FRAGMENT"]
            if dict(pairs).get("FRAGMENT") != 1:
                return found

    def take(self, frame):
        if frame.type == LAUNCHER_EXITED:
            self.exited.append(dict(parse_fields(frame.payload)))
        else:
            assert frame.type in (OK, FAILED), f"frame type {frame.type}"
            self.answers.setdefault(frame.request, []).append(frame)

    def wait_exited(self, pid, timeout=DEADLINE):
        deadline = time.monotonic() + timeout
        while True:
            for event in self.exited:
                if event["PID"] == pid:
                    return event
            self.take(self.receive(deadline - time.monotonic()))


class Init(Connection):
    """The supervisor's side of a session's control socket. Keeps what came in the order it came."""

    def __init__(self, path, nonce, patience=5.0, hello=True):
        super().__init__(path, patience)
        self.nonce = nonce
        self.records = []
        self.answers = {}
        self.done = {}
        self.accepted = 0
        self.state = None
        self.log_end = None
        self.acknowledged = 0
        self.guests = []   # connections that came out of the session, as sockets
        self.queries = []  # (offset, datagram)
        if hello:
            self.hello()

    def hello(self):
        self.send(HELLO, fields(("NONCE", self.nonce)))
        while self.state is None:
            self.step()
        return self.state

    def step(self, timeout=DEADLINE):
        """Takes one frame."""
        frame = self.receive(timeout)
        if frame.type == STATE:
            self.state = dict(parse_fields(frame.payload))
            assert self.state["NONCE"] == self.nonce
            self.accepted = self.state["INPUT_ACCEPTED"]
            self.log_end = self.state["LOG_START"]
        elif frame.type == LOG:
            # What was acknowledged before it was replayed is not replayed.
            expected = max(self.log_end, min(self.acknowledged, frame.offset))
            assert frame.offset == expected, f"log at {frame.offset}, not {expected}"
            self.records += parse_records(frame.payload, frame.offset)
            self.log_end = frame.offset + len(frame.payload)
        elif frame.type == INPUT_ACCEPTED:
            assert frame.offset > self.accepted
            self.accepted = frame.offset
        elif frame.type == FILES_DONE:
            self.done[frame.request] = dict(parse_fields(frame.payload))
        elif frame.type == CONNECTION:
            assert not frame.payload and frame.offset == 0, frame
            assert not os.get_blocking(frame.fd)
            guest = socket.socket(fileno=frame.fd)
            guest.settimeout(DEADLINE)
            self.guests.append(guest)
        elif frame.type == QUERY:
            self.queries.append((frame.offset, frame.payload))
        else:
            assert frame.type in (OK, FAILED), f"frame type {frame.type}"
            self.answers[frame.request] = frame
        return frame

    def until(self, condition, timeout=DEADLINE):
        """Takes frames until condition() is true; returns its value."""
        deadline = time.monotonic() + timeout
        while True:
            value = condition()
            if value:
                return value
            self.step(deadline - time.monotonic())

    def quiet(self, seconds=0.3):
        """Takes frames until none came for a while: for 'nothing more comes' only."""
        try:
            while True:
                self.step(seconds)
        except TimeoutError:
            pass

    def ask(self, kind, *pairs, timeout=DEADLINE):
        """The answering frame; raises Failed."""
        request = self.next_request()
        self.send(kind, fields(*pairs), request)
        frame = self.until(lambda: self.answers.pop(request, None), timeout)
        if frame.type == FAILED:
            raise Failed(dict(parse_fields(frame.payload)))
        return frame

    def start(self, generation, arguments, environment=None, cwd=None):
        pairs = [("GENERATION", generation)]
        pairs += [("ARG", argument) for argument in arguments]
        pairs += [("ENV", f"{k}={v}") for k, v in (environment or {}).items()]
        if cwd is not None:
            pairs.append(("CWD", cwd))
        return self.ask(START, *pairs)

    def input(self, data, offset):
        """All of `data`, in frames, regardless of the window."""
        for position in range(0, len(data), CHUNK_MAX):
            self.send(INPUT, data[position:position + CHUNK_MAX], offset=offset + position)

    def close_input(self, offset):
        self.send(INPUT_EOF, offset=offset)

    def acknowledge(self, offset=None):
        offset = self.log_end if offset is None else offset
        self.acknowledged = max(self.acknowledged, offset)
        self.send(ACK, offset=offset)

    def admit(self, connections):
        self.send(ADMIT, offset=connections)

    def reply(self, offset, datagram=b""):
        self.send(ANSWER, datagram, offset=offset)

    def close(self):
        super().close()
        for guest in self.guests:
            guest.close()

    def signal(self, number, generation=1, scope=AGENT):
        self.ask(SIGNAL, ("GENERATION", generation), ("SIGNAL", number), ("SCOPE", scope))

    # What came.

    def find(self, kind, generation=1):
        for record in self.records:
            if record.type == kind and record.generation == generation:
                return record
        return None

    def wait_record(self, kind, generation=1, timeout=DEADLINE):
        return self.until(lambda: self.find(kind, generation), timeout)

    def wait_exit(self, generation=1, timeout=DEADLINE):
        """(status, signal, user_us, system_us, max_rss_kib)."""
        return EXIT.unpack(self.wait_record(EXITED, generation, timeout).payload)

    def wait_end(self, generation=1, timeout=DEADLINE):
        """The exit, after both outputs are closed."""
        self.until(lambda: self.find(STDOUT_EOF, generation) and self.find(STDERR_EOF, generation)
                   and self.find(EXITED, generation), timeout)
        return self.wait_exit(generation)

    def output(self, generation=1, kind=STDOUT):
        return b"".join(record.payload for record in self.records
                        if record.type == kind and record.generation == generation)

    def start_failure(self, generation=1):
        record = self.wait_record(START_FAILED, generation)
        return Failed(dict(parse_fields(record.payload)))

    def run(self, generation, arguments, environment=None, cwd=None, timeout=DEADLINE):
        """Starts, closes stdin, waits for the end: (exit tuple, stdout, stderr). Acknowledges all."""
        self.start(generation, arguments, environment, cwd)
        self.close_input(self.accepted)
        result = self.wait_end(generation, timeout)
        self.acknowledge()
        return result, self.output(generation), self.output(generation, STDERR)
