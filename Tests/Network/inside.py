"""What the tests do inside of a session: a copy of this file is its /agent/inside.py. For controls it also runs on the
host. Standard library only.

    python3 inside.py FUNCTION JSON-ARGUMENTS       prints JSON
    python3 inside.py table JSON-ROWS               many of them at once
"""

import base64
import concurrent.futures
import hashlib
import json
import os
import select
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.request

PROXY = ("127.0.0.1", 3128)
CA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ca.pem")
PATIENCE = 3


def raw(text):
    """Arguments are texts whose characters are bytes."""
    return text.encode("latin-1") if isinstance(text, str) else text


def read_all(connection, limit=1 << 20):
    data = b""
    try:
        while len(data) < limit and (more := connection.recv(65536)):
            data += more
    except OSError:
        pass
    return data


def read_head(connection):
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        more = connection.recv(1)
        if not more:
            break
        data += more
    return data


def read_response(connection):
    """Head and body of one answer with a length, or all there is."""
    head = read_head(connection)
    return head + read_body(connection, head)


def read_body(connection, head):
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    body = b""
    while len(body) < length and (more := connection.recv(length - len(body))):
        body += more
    return body


# --- ways out: each gives a connected socket, or raises -------------------------------------------

class Refused(Exception):
    """Said by the way out, not by the other side."""


def to_proxy():
    return socket.create_connection(PROXY, PATIENCE)


def by_connect(authority):
    connection = to_proxy()
    connection.sendall(b"CONNECT " + raw(authority) + b" HTTP/1.1\r\nHost: " + raw(authority) + b"\r\n\r\n")
    head = read_head(connection)
    if b" 200 " not in head.split(b"\r\n")[0] + b" ":
        raise Refused((head + read_body(connection, head)).decode("latin-1")[:300] or "closed")
    return connection


def by_socks(authority, kind=3, command=1):
    host, _, port = authority.rpartition(":")
    connection = to_proxy()
    connection.sendall(b"\x05\x01\x00")
    if connection.recv(2) != b"\x05\x00":
        raise Refused("greeting")
    if kind == 1:
        name = socket.inet_aton(host)
    elif kind == 4:
        name = socket.inet_pton(socket.AF_INET6, host)
    else:
        name = bytes([len(host)]) + raw(host)
    connection.sendall(bytes([5, command, 0, kind]) + name + struct.pack(">H", int(port)))
    answer = connection.recv(10)
    if answer[:2] != b"\x05\x00":
        raise Refused(f"reply {answer[1:2].hex() or 'none'}")
    return connection


def by_itself(authority):
    """As a program does that knows no proxy."""
    host, _, port = authority.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), PATIENCE)


WAYS = {"connect": by_connect, "socks": by_socks, "itself": by_itself}


def reach(way, authority):
    connection = WAYS[way](authority)
    connection.settimeout(PATIENCE)
    return connection


# --- attempts: each gives what the other side said, as text ---------------------------------------

def get(way, authority, token, host=None):
    """A request over some way to some place."""
    with reach(way, authority) as connection:
        name = raw(host if host is not None else authority.rpartition(":")[0])
        connection.sendall(b"GET /" + raw(token) + b" HTTP/1.1\r\nHost: " + name + b"\r\nConnection: close\r\n\r\n")
        return read_all(connection)


def say(way, authority, data):
    """Any bytes over some way, and all that comes back."""
    with reach(way, authority) as connection:
        connection.sendall(raw(data))
        return read_all(connection)


def exchange(data, end=False):
    """Any bytes to the proxy itself."""
    with to_proxy() as connection:
        connection.sendall(raw(data))
        if end:
            connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def fill(data, more, count):
    """The same with a part that is repeated; stops when the other side does."""
    with to_proxy() as connection:
        try:
            connection.sendall(raw(data))
            for _ in range(count):
                connection.sendall(raw(more))
        except OSError:
            pass
        return read_all(connection)


def second(way, authority, first, then):
    """Two requests on one connection, the second after the answer to the first."""
    with (to_proxy() if way == "proxy" else reach(way, authority)) as connection:
        connection.sendall(raw(first))
        before = read_response(connection)
        if b" 200 " not in before:
            raise Refused(before.decode("latin-1")[:300])
        connection.sendall(raw(then))
        return read_all(connection)


def tls(way, authority, name, token, host=None):
    context = ssl.create_default_context(cafile=CA)
    context.check_hostname = False
    with reach(way, authority) as plain, context.wrap_socket(plain, server_hostname=name) as connection:
        head = raw(host or name or authority.rpartition(":")[0])
        connection.sendall(b"GET /" + raw(token) + b" HTTP/1.1\r\nHost: " + head + b"\r\nConnection: close\r\n\r\n")
        return read_all(connection)


def hello(way, authority, names, token):
    """A TLS hello made by hand, with the server names in one list; the token if a server answers to it."""
    entries = b"".join(b"\0" + struct.pack(">H", len(raw(n))) + raw(n) for n in names)
    def extension(kind, value):
        return struct.pack(">HH", kind, len(value)) + value
    extensions = b"".join([
        extension(0, struct.pack(">H", len(entries)) + entries) if names else b"",
        extension(10, bytes.fromhex("00020017")), extension(11, b"\x01\x00"),
        extension(13, bytes.fromhex("000604030804 0401"))])
    body = (b"\x03\x03" + bytes(32) + b"\0" + struct.pack(">H", 4) + bytes.fromhex("c02bc02f") + b"\x01\x00"
            + struct.pack(">H", len(extensions)) + extensions)
    message = b"\x01" + struct.pack(">I", len(body))[1:] + body
    with reach(way, authority) as connection:
        connection.sendall(b"\x16\x03\x01" + struct.pack(">H", len(message)) + message)
        answer = connection.recv(100)
        return raw(token) if answer[:1] == b"\x16" else answer


def rebind(way, name, token):
    """Again and again to one name, as its address changes."""
    said = b""
    for number in range(6):
        try:
            said += get(way, f"{name}:80", "before" if number == 0 else token)
        except (OSError, Refused) as error:
            said += str(error).encode()
    return said


def socks_get(authority, kind, token):
    """SOCKS with an address instead of a name."""
    with by_socks(authority, kind) as connection:
        connection.sendall(b"GET /" + raw(token) + b" HTTP/1.0\r\n\r\n")
        return read_all(connection)


def redirected(url):
    return urllib.request.urlopen(url, timeout=PATIENCE).read()


def question(name, kind=1, flags=0x0100, number=7):
    labels = b"".join(bytes([len(part)]) + raw(part) for part in name.split(".") if part)
    return struct.pack(">HHHHHH", number, flags, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)


def ask(name, kind=1, server="127.0.0.1", stream=False, token=None):
    """A name query; the token if an answer with records comes."""
    if stream:
        with socket.create_connection((server, 53), PATIENCE) as connection:
            data = question(name, kind)
            connection.sendall(struct.pack(">H", len(data)) + data)
            answer = connection.recv(2)
            answer = connection.recv(4096)
    else:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(PATIENCE)
            asker.connect((server, 53))
            asker.send(question(name, kind))
            answer = asker.recv(4096)
    code, count = answer[3] & 15, struct.unpack(">H", answer[6:8])[0]
    return raw(token) if token and count else f"code {code}, {count} answers".encode()


def ask_through(way, authority, name):
    """A name query to another name server over some way."""
    with reach(way, authority) as connection:
        data = question(name)
        connection.sendall(struct.pack(">H", len(data)) + data)
        return connection.recv(4096)[:0]


def datagram_name(name, port, token):
    """A datagram to the address that the session's resolver gives."""
    return datagram(socket.getaddrinfo(name, 80, socket.AF_INET)[0][4][0], port, token)


def datagram(address, port, token):
    """A datagram to an echo server."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.settimeout(2)
        sender.connect((address, port))
        sender.send(raw(token))
        return sender.recv(1000)


def ping(address, token, kind="raw"):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW if kind == "raw" else socket.SOCK_DGRAM, 1) as sender:
        sender.settimeout(2)
        message = bytes([8, 0, 0, 0, 0, 1, 0, 1]) + raw(token)
        total = sum(struct.unpack(f">{len(message) // 2}H", message[:len(message) // 2 * 2]))
        total += message[-1] << 8 if len(message) % 2 else 0
        total = (total & 0xffff) + (total >> 16)
        total = (total & 0xffff) + (total >> 16)
        sender.sendto(message[:2] + struct.pack(">H", ~total & 0xffff) + message[4:], (address, 0))
        end = time.monotonic() + 2
        while time.monotonic() < end:
            packet = sender.recv(1000)
            if raw(token) in packet and packet[20 if packet[0] >> 4 == 4 else 0] == 0:
                return packet
        return b""


def packet_socket(token):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW):
        return raw(token)


def unix(path, token):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM if path.endswith(".sock") else socket.SOCK_SEQPACKET) as client:
        client.settimeout(2)
        client.connect("\0" + path[1:] if path.startswith("@") else path)
        return raw(token)


def multicast(token):
    """Towards another network over every interface there is."""
    for _, name in socket.if_nameindex():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.settimeout(1)
            sender.setsockopt(socket.SOL_SOCKET, 25, name.encode())
            sender.sendto(raw(token), ("203.0.113.20", 7))
            try:
                return sender.recv(1000)
            except OSError:
                pass
    return b""


# --- tools of the tests of what must work ---------------------------------------------------------

def pattern(size):
    block = bytes(range(256)) * 256
    for start in range(0, size, len(block)):
        yield (struct.pack(">Q", start) + block[8:])[:min(len(block), size - start)]


def upload(way, authority, size):
    """Half-close of the client with much before it: what the server counted and hashed, and what was sent."""
    digest = hashlib.sha256()
    with reach(way, authority) as connection:
        connection.settimeout(60)
        for block in pattern(size):
            digest.update(block)
            connection.sendall(block)
        connection.shutdown(socket.SHUT_WR)
        return {"said": read_all(connection).decode(), "sent": f"{size} {digest.hexdigest()}\n"}


def half_close(way, authority, data):
    """The client's end at once, before the tunnel can be there; what comes back."""
    if way == "itself":
        with by_itself(authority) as connection:
            connection.sendall(raw(data))
            connection.shutdown(socket.SHUT_WR)
            return read_all(connection)
    with reach(way, authority) as connection:
        connection.sendall(raw(data))
        connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def left(count, data):
    """Clients that say a part of something to the proxy, or nothing, and leave."""
    for _ in range(count):
        with to_proxy() as connection:
            connection.sendall(raw(data))


def download(way, authority, size, slow=False):
    """Half-close of the server with much before it, while the client may still write."""
    digest, total = hashlib.sha256(), 0
    with reach(way, authority) as connection:
        connection.settimeout(60)
        if slow:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        connection.sendall(f"{size}\n".encode())
        while data := connection.recv(16384 if slow else 1 << 18):
            digest.update(data)
            total += len(data)
            if slow and total < 1 << 20:
                time.sleep(0.005)
        connection.sendall(b"still here")
        return {"total": total, "hash": digest.hexdigest()}


def fate(way, authority):
    """What is read until the connection ends, and how it ends."""
    with reach(way, authority) as connection:
        connection.sendall(b"\x01go\n")
        data = b""
        try:
            while more := connection.recv(1000):
                data += more
            return {"data": data.decode(), "end": "end"}
        except OSError as error:
            return {"data": data.decode(), "end": type(error).__name__}


def tunnels(count, authority, hold=0.0):
    """Many tunnels at once, each with a byte there and back; then all are held open for a while."""
    began, failed, opened = time.monotonic(), [], []
    lock = threading.Lock()

    def one(number):
        try:
            connection = reach("socks" if number % 2 else "connect", authority)
            connection.settimeout(60)
            data = b"\x01" + struct.pack(">I", number)
            connection.sendall(data)
            if connection.recv(5) != data:
                raise Refused("other bytes")
            with lock:
                opened.append(connection)
        except Exception as error:  # noqa: BLE001 - counted
            with lock:
                failed.append(f"{type(error).__name__}: {error}")

    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        list(pool.map(one, range(count)))
    took = time.monotonic() - began
    time.sleep(hold)
    alive = 0
    for connection in opened:
        try:
            connection.sendall(b"\x02")
            alive += connection.recv(1) == b"\x02"
        except OSError:
            pass
    return {"opened": len(opened), "alive": alive, "failed": failed[:5], "seconds": took}


def crowd(count, authority):
    """Tunnels that all come at once, each for a moment."""
    failed = []

    def one(number):
        try:
            with reach("connect", authority) as connection:
                connection.settimeout(60)
                connection.sendall(b"\x01")
                if connection.recv(1) != b"\x01":
                    raise Refused("no echo")
                time.sleep(0.1)
        except Exception as error:  # noqa: BLE001 - counted
            failed.append(f"{number}: {type(error).__name__}: {error}")
    global PATIENCE
    PATIENCE = 60
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        list(pool.map(one, range(count)))
    return {"served": count - len(failed), "failed": failed[:5]}


def hold(authorities, path):
    """Opens tunnels, says so in a file, and waits until they are cut: how each ended."""
    connections = [reach(way, authority) for way, authority in authorities]
    for connection in connections:
        connection.sendall(b"\x01")
        connection.recv(1)
        connection.settimeout(60)
    with open(path, "w") as file:
        file.write(str(len(connections)))
    ends = []
    for connection in connections:
        try:
            ends.append("end" if connection.recv(1) == b"" else "data")
        except OSError as error:
            ends.append(type(error).__name__)
    return {"ends": ends}


def keep_trying(authority, path, host):
    """One process over a restart of the supervisor: a tunnel, then new connections by a name and by an address that
    the name had before, until all work again."""
    old = reach("connect", authority)
    old.sendall(b"\x01")
    old.recv(1)
    resolved = socket.getaddrinfo(host, 80, socket.AF_INET)[0][4][0]
    with open(path, "w") as file:
        file.write("ready")
    old.settimeout(60)
    try:
        cut = old.recv(1) == b""
    except OSError:
        cut = True
    result, end = {"cut": cut, "resolved": resolved}, time.monotonic() + 60
    steps = {
        "connect": lambda: get("connect", f"{host}:80", "after-connect"),
        "itself": lambda: get("itself", f"{host}:80", "after-itself"),
        "address": lambda: get("itself", f"{resolved}:80", "after-address", host),
        "tls": lambda: tls("itself", f"{resolved}:443", host, "after-tls"),
        "name": lambda: socket.getaddrinfo(host, 80, socket.AF_INET)[0][4][0].encode() + b" 200 ",
    }
    for name, step in steps.items():
        while time.monotonic() < end:
            try:
                said = step()
                if b" 200 " in said:
                    result[name] = "ok"
                    break
                result[name] = said.decode("latin-1")[:200]
            except (OSError, Refused) as error:
                result[name] = str(error)
            time.sleep(0.05)
    return result


def variety(host, authority):
    """Kept connection to the proxy with requests for several hosts, and the awkward kinds of answers."""
    found = {}
    with to_proxy() as connection:
        connection.settimeout(PATIENCE)

        def request(method, url, headers="", body=b"", head_only=False):
            connection.sendall(raw(f"{method} {url} HTTP/1.1\r\nHost: {url.split('/')[2]}\r\n{headers}\r\n") + body)
            answer = read_head(connection) if head_only else read_response(connection)
            return answer.decode("latin-1")
        for number, name in enumerate([host, "other.example", "a.good.example", host, "tools.example"]):
            found[f"kept{number}"] = request("GET", f"http://{name}/kept{number}")
        found["head"] = request("HEAD", f"http://{host}/head", head_only=True)
        found["nothing"] = request("GET", "http://tools.example/nothing", head_only=True)
        found["unchanged"] = request("GET", "http://tools.example/unchanged", head_only=True)
        found["options"] = request("OPTIONS", f"http://{host}/x?y=1")
        found["last"] = request("GET", f"http://{host}/last")
    with to_proxy() as connection:
        connection.settimeout(PATIENCE)
        connection.sendall(b"POST http://tools.example/continue HTTP/1.1\r\nHost: tools.example\r\nContent-Length: 5\r\n"
                           b"Expect: 100-continue\r\n\r\n")
        found["continue"] = read_head(connection).decode()
        connection.sendall(b"12345")
        found["continued"] = read_response(connection).decode()
    found["old"] = exchange(f"GET http://{host}/old HTTP/1.0\r\n\r\n").decode("latin-1")
    found["until-end"] = exchange("GET http://tools.example/until-end HTTP/1.0\r\n\r\n").decode("latin-1")
    found["until-end-11"] = exchange(
        "GET http://tools.example/until-end HTTP/1.1\r\nHost: tools.example\r\n\r\n").decode("latin-1")
    found["cut"] = exchange("GET http://tools.example/cut HTTP/1.1\r\nHost: tools.example\r\n\r\n").decode("latin-1")
    body = os.urandom(3 << 20)
    parts = b"".join(b"%x\r\n" % len(body[i:i + 100000]) + body[i:i + 100000] + b"\r\n" for i in range(0, len(body), 100000))
    for name, headers, data in (("chunked", "Transfer-Encoding: chunked", parts + b"0\r\n\r\n"),
                                ("large", f"Content-Length: {len(body)}", body)):
        with to_proxy() as connection:
            connection.settimeout(30)
            connection.sendall(raw(f"POST http://tools.example/sink HTTP/1.1\r\nHost: tools.example\r\n{headers}\r\n\r\n"))
            connection.sendall(data)
            found[name] = read_response(connection).decode("latin-1").rsplit("\r\n", 1)[1]
    found["expected"] = f"{len(body)} {hashlib.sha256(body).hexdigest()}"
    return found


def events(way):
    """Times at which the events of a stream come."""
    times = []
    with (to_proxy() if way == "proxy" else reach(way, "tools.example:80")) as connection:
        connection.settimeout(PATIENCE)
        target = "http://tools.example/events" if way == "proxy" else "/events"
        began = time.monotonic()
        connection.sendall(raw(f"GET {target} HTTP/1.1\r\nHost: tools.example\r\n\r\n"))
        data = b""
        while b"\r\n0\r\n\r\n" not in data:
            more = connection.recv(1000)
            if not more:
                break
            data += more
            times += [time.monotonic() - began] * more.count(b"data:")
    return {"times": times}


def upgrade(way):
    """A change of protocol: what comes back of bytes that are no HTTP."""
    with (to_proxy() if way == "proxy" else reach(way, "tools.example:80")) as connection:
        connection.settimeout(PATIENCE)
        target = "http://tools.example/upgrade" if way == "proxy" else "/upgrade"
        connection.sendall(raw(f"GET {target} HTTP/1.1\r\nHost: tools.example\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"))
        head = read_head(connection)
        greeting = connection.recv(3)
        connection.sendall(b"\x00\xff not HTTP\r\n\r\n")
        back = b""
        while len(back) < 14:
            more = connection.recv(100)
            if not more:
                break
            back += more
    return {"head": head.decode(), "greeting": greeting.decode(), "back": back.decode("latin-1")}


def single_bytes(way):
    """Words that end no line, each answered; then a request that comes in two pieces."""
    with reach(way, "tools.example:7") as connection:
        answers = b""
        for word in (b"1", b"GET", b" / HTTP/1.1\r\n"):
            connection.sendall(word)
            answers += connection.recv(100)
    with reach(way, "www.example:80") as connection:
        connection.sendall(b"GE")
        time.sleep(2)
        connection.sendall(b"T /pieces HTTP/1.1\r\nHost: www.example\r\nConnection: close\r\n\r\n")
        return {"answers": answers.decode(), "pieces": read_all(connection).decode("latin-1")}


def first_word(way):
    """A server that speaks first."""
    with reach(way, "tools.example:25") as connection:
        greeting = connection.recv(100)
        connection.sendall(b"EHLO me\r\n")
        return {"greeting": greeting.decode(), "answer": connection.recv(100).decode()}


def names(names):
    """What the session's resolver says, and how fast."""
    result = {}
    for name in names:
        began = time.monotonic()
        try:
            found = sorted({entry[4][0] for entry in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)})
        except OSError as error:
            found = [str(error)]
        result[name] = {"found": found, "seconds": time.monotonic() - began}
    return result


def mischief(seed, seconds):
    """Random bytes and changed requests at every entry, as many as fit into the time."""
    import random
    chance = random.Random(seed)
    samples = [
        b"GET http://www.example/x HTTP/1.1\r\nHost: www.example\r\n\r\n", b"CONNECT www.example:443 HTTP/1.1\r\n\r\n",
        b"CONNECT www.example:80 HTTP/1.1\r\nHost: www.example:80\r\n\r\nGET / HTTP/1.1\r\nHost: www.example\r\n\r\n",
        b"POST http://tools.example/sink HTTP/1.1\r\nHost: tools.example\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
        b"POST http://tools.example/sink HTTP/1.1\r\nHost: tools.example\r\nContent-Length: 4\r\n\r\nabcd",
        b"GET http://tools.example/upgrade HTTP/1.1\r\nHost: tools.example\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nabc",
        b"GET http://tools.example/events HTTP/1.1\r\nHost: tools.example\r\n\r\n",
        b"HEAD http://www.example/ HTTP/1.0\r\n\r\n", b"GET http://tools.example/cut HTTP/1.1\r\nHost: tools.example\r\n\r\n",
        b"\x05\x01\x00\x05\x01\x00\x03\x0bwww.example\x00\x50GET / HTTP/1.1\r\nHost: www.example\r\n\r\n",
        b"\x05\x01\x00\x05\x01\x00\x01\xcb\x00\x71\x0a\x00\x50", b"\x05\x02\x00\x02\x05\x03\x00\x03\x01a\x00\x07",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes.fromhex("160301002a010000260303") + bytes(32) + b"\0\0\2\x13\1\1\0",
        b"GET / HTTP/1.1\r\nHost: www.example\r\n\r\n", b"GET / HTTP/1.1\r\nHost: tools.example\r\n\r\nGET /cut HTTP/1.1\r\n\r\n",
        question("www.example"), struct.pack(">H", 29) + question("www.example"), question("x" * 63 + ".good.example", 255),
    ]
    places = [PROXY, PROXY, PROXY, ("127.0.0.1", 53), ("198.18.0.5", 80), ("198.18.0.5", 443), ("127.0.0.1", 80)]
    for name in ("www.example", "tools.example"):
        places.append((socket.getaddrinfo(name, 80, socket.AF_INET)[0][4][0], 80))
    end, count, kept = time.monotonic() + seconds, 0, []

    def spoil(data):
        data = bytearray(data)
        for _ in range(chance.choice([0, 1, 1, 2, 5, 30])):
            what = chance.randrange(5)
            at = chance.randrange(len(data) + 1)
            if what == 0:
                data[at:at] = os.urandom(0) + bytes(chance.randrange(256) for _ in range(chance.choice([1, 2, 9, 400])))
            elif what == 1:
                del data[at:at + chance.choice([1, 2, 20])]
            elif what == 2 and data:
                data[at % len(data)] = chance.randrange(256)
            elif what == 3:
                data[at:at] = data[:chance.randrange(len(data) + 1)]
            else:
                other = chance.choice(samples)
                data[at:] = other[chance.randrange(len(other)):]
        return bytes(data)
    while time.monotonic() < end:
        count += 1
        data = spoil(chance.choice(samples)) if chance.randrange(8) else bytes(
            chance.randrange(256) for _ in range(chance.choice([1, 5, 100, 5000])))
        try:
            if chance.randrange(6) == 0:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
                    asker.sendto(data[:4000], ("127.0.0.1", 53))
                continue
            connection = socket.create_connection(chance.choice(places), 5)
            connection.settimeout(chance.choice([0.001, 0.01, 0.05]))
            for start in range(0, len(data), step := chance.choice([1 << 20, 1 << 20, 7, 64])):
                connection.sendall(data[start:start + step])
                if count % 7 == 0:
                    select.select([connection], [], [], 0.001)
            end_kind = chance.randrange(5)
            if end_kind == 0:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif end_kind == 1:
                connection.shutdown(socket.SHUT_WR)
            elif end_kind == 2:
                kept.append(connection)
                if len(kept) > 200:
                    kept.pop(chance.randrange(200)).close()
                continue
            if end_kind != 3:
                read_all(connection)
            connection.close()
        except OSError:
            pass
    for connection in kept:
        connection.close()
    return {"count": count}


# --- budgets --------------------------------------------------------------------------------------

def spend(way, authority, size, piece=50000):
    """Sends bytes through a tunnel until it is cut or all went: whether it was cut, and what came back."""
    with reach(way, authority) as connection:
        connection.settimeout(20)
        cut, back = False, b""
        try:
            for start in range(0, size, piece):
                connection.sendall(bytes(min(piece, size - start)))
            connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(65536):
                back += data
        except OSError:
            cut = True
        return {"cut": cut or not back, "back": back.decode("latin-1")}


def receive(authority, size):
    """How many bytes of a flood arrive."""
    with reach("connect", authority) as connection:
        connection.settimeout(20)
        connection.sendall(b"%d\n" % size)
        return {"received": len(drain(connection))}


def drain(connection):
    data = bytearray()
    try:
        while more := connection.recv(1 << 20):
            data += more
    except OSError:
        pass
    return data


def say_http(method, url, body=b"", headers="", kept=None):
    """One request through the proxy, perhaps on a connection that is kept: status, headers, body."""
    connection = kept or to_proxy()
    connection.settimeout(30)
    host = url.split("/")[2]
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    connection.sendall(raw(f"{method} {url} HTTP/1.1\r\nHost: {host}\r\n{length}{headers}\r\n") + raw(body))
    head = read_head(connection)
    said = read_body(connection, head)
    if b"transfer-encoding: chunked" in head.lower():
        while not said.endswith(b"0\r\n\r\n") and (more := connection.recv(65536)):
            said += more
    if not kept:
        connection.close()
    status = int(head.split(b" ")[1]) if b" " in head else 0
    return {"status": status, "head": head.decode("latin-1"), "body": said.decode("latin-1")}


def chat(url, count=1, model="test-model", stream=False, usage=True, cut=False, headers="", words=5):
    """Calls of a model's API, one after the other: how each was answered."""
    answers = []
    for _ in range(count):
        request = {"messages": [{"role": "user", "content": "x" * 400}], "model": model, "stream": stream, "words": words}
        if stream and usage:
            request["stream_options"] = {"include_usage": True}
        body = json.dumps(request).encode()
        if cut:
            with to_proxy() as connection:
                connection.settimeout(30)
                connection.sendall(raw(f"POST {url} HTTP/1.1\r\nHost: {url.split('/')[2]}\r\nContent-Type: application/json\r\n"
                                       f"Content-Length: {len(body)}\r\n\r\n") + body)
                data = b""
                while data.count(b"data:") < words and (more := connection.recv(1000)):
                    data += more
            answers.append({"status": 200})
            continue
        answers.append(say_http("POST", url, body.decode(), "Content-Type: application/json\r\n" + headers))
    return {"statuses": [answer["status"] for answer in answers], "last": answers[-1]}


def all_refusals(host):
    """How each way is refused when nothing is left."""
    found = {"http": say_http("GET", f"http://{host}/beyond-budget")}
    with to_proxy() as connection:
        connection.settimeout(10)
        connection.sendall(raw(f"CONNECT {host}:80 HTTP/1.1\r\nHost: {host}:80\r\n\r\n"))
        head = read_head(connection)
        found["connect"] = (head + read_body(connection, head)).decode("latin-1")
    for way in ("socks", "itself"):
        try:
            with reach(way, f"{host}:80") as connection:
                connection.settimeout(10)
                connection.sendall(raw(f"GET /beyond-budget HTTP/1.1\r\nHost: {host}\r\n\r\n"))
                found[way] = read_all(connection).decode("latin-1")
        except (OSError, Refused) as error:
            found[way] = f"{type(error).__name__} {error}"
    return found


def upload_request(url, size):
    """A request whose body is made here."""
    return say_http("POST", url, "x" * size)


def kept_requests(urls):
    """Requests on one connection: their statuses."""
    with to_proxy() as connection:
        return {"statuses": [say_http("GET", url, kept=connection)["status"] for url in urls]}


def single_requests(urls):
    """Requests on a connection each: their statuses."""
    return {"statuses": [say_http("GET", url)["status"] for url in urls]}


def idle_and_busy(authority, busy, size):
    """An idle tunnel, while another one uses everything up: whether the idle one was cut, and how fast."""
    idle = reach("connect", authority)
    idle.sendall(b"\x01")
    idle.recv(1)
    idle.settimeout(10)
    spend("connect", busy, size)
    began = time.monotonic()
    try:
        cut = idle.recv(1) == b""
    except ConnectionError:
        cut = True
    except OSError:
        cut = False
    return {"cut": cut, "seconds": time.monotonic() - began}


def denied(count, hosts):
    """Connections that are refused, as fast as they can be opened."""
    def one(number):
        try:
            with to_proxy() as connection:
                connection.settimeout(60)
                host = f"h{number % hosts}.evil.example"
                connection.sendall(raw(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n"))
                return b" 403 " in read_head(connection)
        except OSError:
            return False
    global PATIENCE
    PATIENCE = 60
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        refused = sum(pool.map(one, range(count)))
    return {"refused": refused, "seconds": time.monotonic() - began}


def paced(url, seconds, pause=0.02):
    """Small requests, each on a connection of its own and then on one that is kept: how long each took."""
    times, kept_times, end = [], [], time.monotonic() + seconds
    global PATIENCE
    PATIENCE = 30
    with to_proxy() as kept:
        while time.monotonic() < end:
            began = time.perf_counter()
            first = say_http("GET", url)
            middle = time.perf_counter()
            second = say_http("GET", url, kept=kept)
            kept_times.append(time.perf_counter() - middle)
            times.append(middle - began)
            if first["status"] != 200 or second["status"] != 200:
                return {"error": first["head"] + second["head"]}
            time.sleep(pause)
    return {"times": sorted(times), "kept": sorted(kept_times)}


def paced_direct(host, seconds, pause=0.02):
    """The same without a proxy."""
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        with socket.create_connection((host, 80), 30) as connection:
            connection.sendall(raw(f"GET /small HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            read_response(connection)
        times.append(time.perf_counter() - began)
        time.sleep(pause)
    return {"times": sorted(times)}


def busy(count, host, seconds, path):
    """Tunnels through which a large file comes again and again, as fast as it can."""
    import selectors
    selector, moved = selectors.DefaultSelector(), 0
    request = raw(f"GET /big HTTP/1.1\r\nHost: {host}\r\n\r\n")
    size, asked = 50 << 20, {}
    for _ in range(count):
        connection = reach("connect", f"{host}:80")
        connection.sendall(request)
        connection.setblocking(False)
        asked[connection] = 0
        selector.register(connection, selectors.EVENT_READ)
    with open(path, "w") as file:
        file.write("busy")
    buffer, end = bytearray(1 << 18), time.monotonic() + seconds
    while time.monotonic() < end:
        for key, _ in selector.select(0.1):
            count = key.fileobj.recv_into(buffer)
            moved += count
            asked[key.fileobj] += count
            if asked[key.fileobj] > size:
                asked[key.fileobj] -= size
                key.fileobj.sendall(request)
    return {"moved": moved}


# --- the frame ------------------------------------------------------------------------------------

def guarded(function, arguments):
    """What an attempt brought: `said` by the other side, or why it did not get there."""
    try:
        said = globals()[function](**arguments)
        return {"said": (said or b"").decode("latin-1")}
    except Exception as error:  # noqa: BLE001 - part of the result
        return {"said": "", "error": f"{type(error).__name__}: {error}"[:300]}


def table(rows):
    socket.setdefaulttimeout(PATIENCE)
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        return dict(zip(rows, pool.map(lambda row: guarded(*row), rows.values())))


def main():
    function = globals()[sys.argv[1]]
    arguments = json.loads(base64.b64decode(sys.argv[2]) if sys.argv[2] != "-" else sys.stdin.read())
    result = function(arguments) if function is table else function(**arguments)
    print(json.dumps(result.decode("latin-1") if isinstance(result, bytes) else result))


if __name__ == "__main__":
    main()
