"""What the tests of what must work do inside of a session. Part of inside.py."""

import concurrent.futures
import hashlib
import os
import select
import socket
import struct
import threading
import time

import inside_ways as ways
from inside_ways import PROXY, Refused, by_itself, raw, reach, read_all, read_head, read_response, to_proxy
from inside_attempts import exchange, get, question, tls


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
    ways.PATIENCE = 60
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
        connection.settimeout(ways.PATIENCE)

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
        connection.settimeout(ways.PATIENCE)
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
        connection.settimeout(ways.PATIENCE)
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
        connection.settimeout(ways.PATIENCE)
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
