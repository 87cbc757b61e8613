"""Model servers of the other side, over TLS: they note which keys came, and say them back, as some servers do."""

import gzip
import hashlib
import os
import ssl
import threading
import time

import servers

GOOD, SELF_SIGNED, WRONG_NAME = 8444, 8445, 8446


class Origin:
    def __init__(self):
        self.lock = threading.Lock()
        self.heads = []

    def keys(self, path=None):
        """What stood in the headers for keys, of requests for `path`."""
        with self.lock:
            heads = list(self.heads)
        found = []
        for head in heads:
            lines = head.decode("latin-1").split("\r\n")
            if path is None or lines[0].split(" ")[1].split("?")[0] == path:
                fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
                lower = {name.lower(): value for name, value in fields.items()}
                found.append(lower.get("authorization", lower.get("x-key", lower.get("x-api-key"))))
        return found

    def has(self, token):
        with self.lock:
            return any(token.encode() in head for head in self.heads)

    def over_tls(self, certificate, key):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)

        def serve(connection):
            with context.wrap_socket(connection, server_side=True) as secured:
                self.serve(secured)
        return serve

    def serve(self, connection):
        connection.settimeout(60)
        while head := servers.read_head(connection):
            with self.lock:
                self.heads.append(head)
            name = head.split(b" ")[1].split(b"?")[0].rsplit(b"/", 1)[-1].decode()
            if name != "sink":
                servers.read_body(connection, head.lower())
            handler = getattr(self, "do_" + name, self.do_echo)
            if handler(connection, head) == "end":
                return

    def do_echo(self, connection, head):
        key = head.lower().split(b"authorization: ")[-1].split(b"\r\n")[0]
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Said: %s\r\nContent-Length: %d\r\n\r\n" % (key, len(head)) + head)

    def do_events(self, connection, head):
        """Each event in a chunk of its own; the key comes in three pieces."""
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        lines = head.split(b"\r\n")
        key = next(line.split(b": ", 1)[1] for line in lines if line.lower().startswith(b"authorization: "))
        pieces = [b"data: 0\n\n", b"data: " + key[:12], key[12:20], key[20:] + b"\n\n", b"data: 4\n\n"]
        for piece in pieces:
            connection.sendall(b"%x\r\n" % len(piece) + piece + b"\r\n")
            time.sleep(0.15)
        connection.sendall(b"0\r\n\r\n")

    def do_sink(self, connection, head):
        total, digest = 0, hashlib.sha256()
        lower = head.lower()
        if b"expect: 100-continue" in lower:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = int(lower.split(b"content-length: ")[1].split(b"\r\n")[0])
        while total < length:
            data = connection.recv(min(1 << 18, length - total))
            if not data:
                return "end"
            total += len(data)
            digest.update(data)
        servers.answer(connection, f"{total} {digest.hexdigest()}".encode())

    def do_big(self, connection, head):
        size = int(head.split(b"?")[1].split(b" ")[0])
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for block in servers.pattern(size):
            connection.sendall(block)

    def do_upgrade(self, connection, head):
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhi ")
        while data := connection.recv(65536):
            connection.sendall(data)
        return "end"

    def do_packed(self, connection, head):
        body = gzip.compress(head)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
                           b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def do_away(self, connection, head):
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: https://evil.example:8444/\r\nContent-Length: 0\r\n\r\n")

    def do_completions(self, connection, head):
        body = b'{"model": "test-model", "usage": {"prompt_tokens": 100, "completion_tokens": 5}}'
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def do_cut(self, connection, head):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot all of it")
        return "end"


def start(net):
    """On the tools' address: a good server, one with a certificate of its own, one with a good one for another name."""
    import internet
    where = {"cwd": net.dir}
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    internet.run("openssl", "req", "-x509", *ec, "-keyout", "self.key", "-out", "self.pem", "-days", "2", "-subj",
                 "/CN=api.example", "-addext", "subjectAltName=DNS:api.example", **where)
    internet.run("openssl", "req", *ec, "-keyout", "wrong.key", "-out", "wrong.csr", "-subj",
                 "/CN=wrong.example", **where)
    with open(os.path.join(net.dir, "wrong.ext"), "w") as file:
        file.write("subjectAltName=DNS:wrong.example\n")
    internet.run("openssl", "x509", "-req", "-in", "wrong.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                 "-days", "2", "-extfile", "wrong.ext", "-out", "wrong.pem", **where)
    origin, acceptor = Origin(), servers.Acceptor()
    for port, name in ((GOOD, "site"), (SELF_SIGNED, "self"), (WRONG_NAME, "wrong")):
        serve = origin.over_tls(*(os.path.join(net.dir, f"{name}.{kind}") for kind in ("pem", "key")))
        for address in (internet.TOOLS, internet.EVIL):
            acceptor.add(net.there(lambda a=address, p=port: servers.listen(a, p)), serve)
    acceptor.add(net.there(lambda: servers.listen("10.9.8.7", 8447)), origin.serve)
    acceptor.add(net.there(lambda: servers.listen(internet.TOOLS, 8447)), origin.serve)
    return origin
