"""Connections of sessions: they arrive as they were meant, carry bytes both ways, and end."""

import contextlib
import os
import socket
import time

import wire
from networks import NAMES, PORTS, PROXY, Inside, guests, network, received, sockets_of


def test_connections_arrive_with_the_address_that_was_meant(world):
    places = [PROXY, NAMES, ("198.18.0.1", 443), ("198.18.7.9", 443), ("198.19.255.254", 80),
              ("198.18.0.255", 443), ("198.18.255.255", 443), ("198.19.0.0", 80), ("127.0.0.5", 8443)]
    with network(world) as (init, inside):
        init.admit(100)
        for number, place in enumerate(places, 1):
            mine = inside("s = connect(*place); result = s.getsockname()", place=place)
            guest = guests(init, number)[-1]
            assert guest.getsockname() == place, (place, guest.getsockname())
            assert guest.getpeername() == tuple(mine)
            assert guest.family == socket.AF_INET and guest.type == socket.SOCK_STREAM
        # A dual-stack client too.
        inside("s = socket.socket(socket.AF_INET6); s.connect(('::ffff:198.18.3.4', 443))")
        assert guests(init, len(places) + 1)[-1].getsockname() == ("198.18.3.4", 443)


def test_bytes_flow_both_ways(world):
    with network(world) as (init, inside):
        init.admit(1)
        inside("s = connect('198.18.0.9', 443); s.sendall(b'hello')")
        guest, = guests(init, 1)
        assert received(guest, 5) == b"hello"
        guest.sendall(b"and back")
        assert inside("result = s.recv(100).decode()") == "and back"
        # Each direction ends on its own.
        inside("s.shutdown(socket.SHUT_WR)")
        assert guest.recv(1) == b""
        guest.sendall(b"still open")
        assert inside("result = s.recv(100).decode()") == "still open"
        guest.shutdown(socket.SHUT_WR)
        assert inside("result = s.recv(100).decode()") == ""
        # A lot of it.
        inside("big = connect('198.18.0.9', 80)")
        init.admit(2)
        big = guests(init, 2)[1]
        inside.begin("""
def pour():
    for i in range(512): big.sendall(bytes([i % 256]) * 16384)
thread = threading.Thread(target=pour); thread.start()
n = 0
while n < 512 * 16384: n += len(big.recv(65536))
thread.join(); result = n""")
        for number in range(512):
            assert received(big, 16384) == bytes([number % 256]) * 16384
            big.sendall(bytes(16384))
        assert inside.wait() == 512 * 16384


def test_connection_outlives_agent_and_init_keeps_none(world):
    with network(world) as (init, inside):
        init.admit(10)
        inside("""
s = connect('198.18.0.9', 443)
if os.fork() == 0:
    os.setsid()
    for fd in 0, 1, 2: os.close(fd)
    while data := s.recv(100): s.sendall(data.upper())
    os._exit(0)
s.close()""")
        guest, = guests(init, 1)
        guest.sendall(b"first")
        assert received(guest, 5) == b"FIRST"
        assert inside.end()[:2] == (0, 0)
        guest.sendall(b"then")
        assert received(guest, 4) == b"THEN"
        # A later agent of the session has the same way out.
        later = Inside(init, 2)
        later("s = connect('127.0.0.1', 3128)")
        assert guests(init, 2)[1].getsockname() == PROXY
        if os.geteuid() == 0:  # nobody else may look
            later.end()
            # Control socket, connection, and what it listens on.
            assert sockets_of(init) == 2 + 3 + len(PORTS)
        guest.close()


def test_nothing_is_handed_over_that_was_not_admitted(world):
    with network(world) as (init, inside):
        # Each says which it is, and waits.
        inside("""
keep = []
for i in range(6):
    keep.append(connect('198.18.0.9', 443)); keep[-1].sendall(bytes([i]))""")
        init.quiet()
        assert not init.guests
        for admitted, expected in ((2, 2), (1, 2), (0, 2), (2, 2), (3, 3), (5, 5)):
            init.admit(admitted)
            init.quiet()
            assert len(init.guests) == expected, (admitted, len(init.guests))
        init.admit((1 << 64) - 1)
        assert [received(guest, 1)[0] for guest in guests(init, 6)] == list(range(6))
        inside("more = connect('198.18.0.9', 443)")
        guests(init, 7)


def test_ports_take_turns(world):
    ports = list(range(4000, 4012))  # more than init serves in a turn
    with network(world, ports) as (init, inside):
        inside("keep = [connect('198.18.0.9', port) for port in ports for i in range(3)]", ports=ports)
        inside("keep += [connect('198.18.0.9', 4000) for i in range(50)]")
        for rounds in range(1, 4):
            init.admit(rounds * len(ports))
            came = guests(init, rounds * len(ports))[-len(ports):]
            assert sorted(guest.getsockname()[1] for guest in came) == ports, came


def test_end_of_the_session_ends_its_connections(world):
    with network(world) as (init, inside):
        init.admit(2)
        inside("a = connect('198.18.0.9', 443); b = connect('127.0.0.1', 3128)")
        both = guests(init, 2)
        began = time.monotonic()
        init.send(wire.SHUTDOWN)
        for guest in both:
            with contextlib.suppress(ConnectionResetError):
                assert guest.recv(1) == b""
        assert time.monotonic() - began < 2 * wire.SLOWNESS
