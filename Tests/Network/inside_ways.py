"""Ways out of a session, each a connected socket; and how answers are read. Part of inside.py."""

import os
import socket
import struct

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
