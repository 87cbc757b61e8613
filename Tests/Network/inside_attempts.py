"""Attempts to get somewhere from inside of a session: each gives what the other side said. Part of inside.py."""

import socket
import ssl
import struct
import time
import urllib.request

import inside_ways as ways
from inside_ways import CA, Refused, by_socks, raw, reach, read_all, read_response, to_proxy


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
    return urllib.request.urlopen(url, timeout=ways.PATIENCE).read()


def question(name, kind=1, flags=0x0100, number=7):
    labels = b"".join(bytes([len(part)]) + raw(part) for part in name.split(".") if part)
    return struct.pack(">HHHHHH", number, flags, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)


def ask(name, kind=1, server="127.0.0.1", stream=False, token=None):
    """A name query; the token if an answer with records comes."""
    if stream:
        with socket.create_connection((server, 53), ways.PATIENCE) as connection:
            data = question(name, kind)
            connection.sendall(struct.pack(">H", len(data)) + data)
            answer = connection.recv(2)
            answer = connection.recv(4096)
    else:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(ways.PATIENCE)
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
