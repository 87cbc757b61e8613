"""Servers of the other side: each notes what reached it, so that a refusal is proven where it counts.

They are threads of the tests' own process, with sockets of another network namespace.
"""

import contextlib
import hashlib
import ipaddress
import json
import selectors
import socket
import struct
import threading
import time


class Record:
    """What reached any server: bytes, names that were asked for, connections and their ends."""

    def __init__(self):
        self.lock = threading.Lock()
        self.seen = bytearray()
        self.queries = []
        self.connections = 0

    def note(self, data):
        with self.lock:
            self.seen += data + b"\n"

    def has(self, token):
        with self.lock:
            return token.encode() in self.seen or any(token.lower() in name for name, _ in self.queries)

    def count(self, token):
        """How often it came."""
        with self.lock:
            return self.seen.count(token.encode())

    def asked(self, part):
        """Queries of the name server whose name contains `part`."""
        with self.lock:
            return [query for query in self.queries if part in query[0]]


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def listen(address, port, kind=socket.SOCK_STREAM, backlog=1024):
    server = socket.socket(family_of(address), kind)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if ":" in address:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    server.bind((address, port))
    if kind == socket.SOCK_STREAM:
        server.listen(backlog)
    return server


class Acceptor:
    """Hands each connection of many listeners to a thread of its own."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        threading.Thread(target=self.loop, daemon=True).start()

    def add(self, server, serve):
        server.setblocking(False)
        self.selector.register(server, selectors.EVENT_READ, serve)

    def loop(self):
        while True:
            for key, _ in self.selector.select(0.2):
                with contextlib.suppress(OSError):
                    connection, _ = key.fileobj.accept()
                    connection.setblocking(True)
                    threading.Thread(target=self.serve, args=(key.data, connection), daemon=True).start()

    @staticmethod
    def serve(function, connection):
        with connection, contextlib.suppress(OSError, ValueError, IndexError, struct.error):
            function(connection)


def recorder(record):
    """Answers anything as HTTP, and notes every byte."""
    def serve(connection):
        with record.lock:
            record.connections += 1
        connection.settimeout(30)
        data = connection.recv(65536)
        record.note(data)
        while data:
            body = b"the forbidden place: " + data[:200]
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
            if b" HTTP/1." in data:
                return
            data = connection.recv(65536)
            record.note(data)
    return serve


def echo(record):
    """Everything comes back, until the client has ended."""
    def serve(connection):
        while data := connection.recv(65536):
            if len(data) < 200:
                record.note(data)
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    return serve


def greet(connection):
    """Speaks first, as mail servers do."""
    connection.sendall(b"220 mail.example ready\r\n")
    data = connection.recv(1000)
    connection.sendall(b"250 " + data)


class Held:
    """Connections that stay open and say when they ended."""

    def __init__(self):
        self.lock = threading.Lock()
        self.open = 0
        self.most = 0
        self.ended = []

    def serve(self, connection):
        with self.lock:
            self.open += 1
            self.most = max(self.most, self.open)
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        finally:
            with self.lock:
                self.open -= 1
                self.ended.append(time.monotonic())


def hashing(connection):
    """Reads to the end, then answers with count and hash: the client's half-close is its end."""
    total, digest = 0, hashlib.sha256()
    while data := connection.recv(1 << 18):
        total += len(data)
        digest.update(data)
    connection.sendall(f"{total} {digest.hexdigest()}\n".encode())


def pattern(size):
    """Bytes that are not all alike, by a seed-free rule that both sides know."""
    block = bytes(range(256)) * 256
    for start in range(0, size, len(block)):
        number = struct.pack(">Q", start)
        yield (number + block[8:])[:min(len(block), size - start)]


def flooding(connection):
    """`SIZE\\n` gives that many bytes, then the server's end; the client may still speak."""
    line = b""
    while not line.endswith(b"\n"):
        line += connection.recv(1)
    for block in pattern(int(line)):
        connection.sendall(block)
    connection.shutdown(socket.SHUT_WR)
    rest = 0
    while data := connection.recv(65536):
        rest += len(data)


class Counted:
    """Counts what comes, and says at the end how much it was."""

    def __init__(self):
        self.lock = threading.Lock()
        self.total = 0
        self.open = 0

    def serve(self, connection):
        total = 0
        with self.lock:
            self.open += 1
        try:
            while data := connection.recv(1 << 18):
                total += len(data)
                with self.lock:
                    self.total += len(data)
            connection.sendall(f"{total}\n".encode())
        finally:
            with self.lock:
                self.open -= 1


def slow_sink(connection):
    """Reads little at a time, with pauses, so that the whole way fills up; then says how much it was."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    total = 0
    for _ in range(40):
        time.sleep(0.02)
        total += len(connection.recv(16384))
    while data := connection.recv(1 << 18):
        total += len(data)
    connection.sendall(f"{total}\n".encode())


def resetting(connection):
    """Says something, then resets the connection."""
    connection.recv(100)
    connection.sendall(b"and now")
    time.sleep(0.1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def read_head(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(1)
        if not more:
            return b""
        data += more
    return data


def origin(record):
    """HTTP/1.1 by hand, where nginx has nothing to offer: events, upgrade, 100-continue, early ends."""
    def serve(connection):
        connection.settimeout(60)
        while head := read_head(connection):
            record.note(head)
            path = head.split(b" ")[1].split(b"?")[0]
            lower = head.lower()
            if path == b"/events":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                                   b"Transfer-Encoding: chunked\r\n\r\n")
                for number in range(5):
                    event = f"data: {number}\n\n".encode()
                    connection.sendall(b"%x\r\n" % len(event) + event + b"\r\n")
                    time.sleep(0.1)
                connection.sendall(b"0\r\n\r\n")
            elif path == b"/upgrade":
                connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhi ")
                while data := connection.recv(65536):
                    connection.sendall(data)
                return
            elif path == b"/continue":
                if b"expect: 100-continue" in lower:
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                answer(connection, str(len(read_body(connection, lower))).encode())
            elif path == b"/sink":
                body = read_body(connection, lower)
                answer(connection, f"{len(body)} {hashlib.sha256(body).hexdigest()}".encode())
            elif path == b"/until-end":
                connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nno length, ")
                time.sleep(0.1)
                connection.sendall(b"but an end")
                return
            elif path == b"/nothing":
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            elif path == b"/unchanged":
                connection.sendall(b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n")
            elif path == b"/v1/chat/completions":
                record.note(read_head_and_chat(connection, lower))
            elif path == b"/cut":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
                return
            else:
                answer(connection, head)
    return serve


def read_head_and_chat(connection, head):
    """A model's API: what it says that it used follows from the request (`words`); streams only give `usage` to
    who asks for it. What was asked is given back, for the record."""
    body = read_body(connection, head)
    request = json.loads(body)
    words, model = request["words"], request["model"] + "-dated"
    usage = {"prompt_tokens": 100, "completion_tokens": words, "total_tokens": 100 + words,
             "prompt_tokens_details": {"cached_tokens": 40}}
    if not request["stream"]:
        message = {"role": "assistant", "content": '{"usage": {"prompt_tokens": 1}} ' * 10}
        data = json.dumps({"object": "chat.completion", "model": model, "choices": [{"message": message}],
                           "usage": usage}).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data)
                           + data)
        return head
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    events = [{"model": model, "choices": [{"delta": {"content": "word "}}]} for _ in range(words)]
    if request.get("stream_options", {}).get("include_usage"):
        events.append({"model": model, "choices": [], "usage": usage})
    for event in [json.dumps(event) for event in events] + ["[DONE]"]:
        data = f"data: {event}\n\n".encode()
        connection.sendall(b"%x\r\n" % len(data) + data + b"\r\n")
    connection.sendall(b"0\r\n\r\n")
    return head


def answer(connection, body):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def read_body(connection, head):
    if b"transfer-encoding: chunked" in head:
        body = b""
        file = connection.makefile("rb", buffering=0)
        reader = Buffered(file)
        while size := int(reader.line(), 16):
            body += reader.exactly(size)
            reader.line()
        reader.line()
        return body
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return Buffered(connection.makefile("rb", buffering=0)).exactly(int(line.split(b":")[1]))
    return b""


class Buffered:
    """Reads not a byte more than is asked for: the next request may follow."""

    def __init__(self, file):
        self.file = file

    def line(self):
        data = b""
        while not data.endswith(b"\n"):
            data += self.file.read(1)
        return data.strip()

    def exactly(self, size):
        parts = []
        while size:
            part = self.file.read(min(size, 1 << 20))
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


class Names:
    """A name server whose answers tests change: name -> list of (type, value) or a function of the number of
    times that this type of the name was asked for. UDP and TCP."""

    TYPES = {"A": 1, "CNAME": 5, "TXT": 16, "AAAA": 28}

    def __init__(self, record):
        self.record = record
        self.table = {}
        self.slow = {}
        self.counts = {}

    def serve_datagrams(self, server):
        def loop():
            while True:
                data, client = server.recvfrom(4096)
                threading.Thread(target=self.reply, args=(server, data, client), daemon=True).start()
        threading.Thread(target=loop, daemon=True).start()

    def reply(self, server, data, client):
        with contextlib.suppress(OSError, IndexError, struct.error):
            server.sendto(self.answer(data), client)

    def serve_stream(self, connection):
        while prefix := connection.recv(2):
            message = self.answer(connection.recv(struct.unpack(">H", prefix)[0]))
            connection.sendall(struct.pack(">H", len(message)) + message)

    def answer(self, data):
        position, labels = 12, []
        while data[position]:
            labels.append(data[position + 1:position + 1 + data[position]].decode("latin-1"))
            position += 1 + data[position]
        name = ".".join(labels).lower()
        kind = struct.unpack(">H", data[position + 1:position + 3])[0]
        question = data[12:position + 5]
        with self.record.lock:
            self.record.queries.append((name, kind))
        if name in self.slow:
            time.sleep(self.slow[name])
        records = self.lookup(name, kind)
        if records is None:
            return data[:2] + struct.pack(">HHHHH", 0x8183, 1, 0, 0, 0) + question
        body = b"".join(self.encode(*record) for record in records)
        return data[:2] + struct.pack(">HHHHH", 0x8180, 1, len(records), 0, 0) + question + body

    def lookup(self, name, kind):
        entry = self.table.get(name)
        if entry is None:
            return None
        if callable(entry):
            with self.record.lock:
                count = self.counts[(name, kind)] = self.counts.get((name, kind), 0) + 1
            entry = entry(count)
        found = []
        for type_name, value in entry:
            if type_name == "CNAME":
                found.append((name, 5, value))
                found += self.lookup(value, kind) or []
            elif self.TYPES[type_name] == kind:
                found.append((name, kind, value))
        return found

    @staticmethod
    def wire(name):
        return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"

    def encode(self, name, kind, value):
        data = self.wire(value) if kind == 5 else ipaddress.ip_address(value).packed
        return self.wire(name) + struct.pack(">HHIH", kind, 1, 0, len(data)) + data
