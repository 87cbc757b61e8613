"""What uses up budgets and keeps tunnels busy, inside of a session. Part of inside.py."""

import concurrent.futures
import json
import socket
import time

import inside_ways as ways
from inside_ways import Refused, raw, reach, read_all, read_body, read_head, read_response, to_proxy


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
    ways.PATIENCE = 60
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        refused = sum(pool.map(one, range(count)))
    return {"refused": refused, "seconds": time.monotonic() - began}


def paced(url, seconds, pause=0.02):
    """Small requests, each on a connection of its own and then on one that is kept: how long each took."""
    times, kept_times, end = [], [], time.monotonic() + seconds
    ways.PATIENCE = 30
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
