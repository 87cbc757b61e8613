#!/usr/bin/env python3
"""Bytes a second and delay of connections that leave a session, beside a direct connection and tinyproxy.

    python3 Benchmarks/tunnel.py [--megabytes 512] [--requests 500] [--rounds 5] [--bin .build/release]

One server on loopback, one client program. The client runs on the host (direct, and through tinyproxy), and in a session
(through its proxy by CONNECT). Prints MB/s of one connection and of 100 together, the milliseconds from the beginning of
a new connection to one byte of answer, and from one byte to the next one's answer on a connection that stays. Each round
measures all of them; medians over the rounds are printed, with their ratio to the direct way. Last come the processor's
times that the proxies themselves took, which do not depend on what else the machine is doing.
"""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../Tests/Integration"))

CLIENT = r'''
import select, socket, sys, time
proxy, host, port, mode, count, size = sys.argv[1:]
port, count, size = int(port), int(count), int(size)

def connect():
    if proxy == "direct":
        return socket.create_connection((host, port))
    name, _, number = proxy.partition(":")
    one = socket.create_connection((name, int(number)))
    one.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        more = one.recv(1)
        assert more, head
        head += more
    assert b" 200 " in head.split(b"\r\n")[0], head
    return one

if mode in ("delay", "kept"):
    times = []
    stays = connect() if mode == "kept" else None
    if stays:
        stays.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stays.sendall(b"k\n")
        assert stays.recv(1) == b"k"
    for _ in range(count):
        began = time.monotonic()
        if stays:
            stays.sendall(b"1")
            assert stays.recv(1) == b"1"
        else:
            with connect() as one:
                one.sendall(b"1\n")  # whole lines are passed on at once
                assert one.recv(1) == b"1"
        times.append((time.monotonic() - began) * 1000)
    times.sort()
    print(times[len(times) // 2], times[int(len(times) * 0.99)])
else:
    began = time.monotonic()
    left = {}
    for _ in range(count):
        one = connect()
        one.sendall(b"d" + size.to_bytes(8, "big"))
        left[one] = size
    buffer = bytearray(1 << 18)
    while left:
        for one in select.select(list(left), [], [])[0]:
            got = one.recv_into(buffer)
            assert got, "cut"
            left[one] -= got
            if left[one] == 0:
                one.close()
                del left[one]
    print(count * size / 1e6 / (time.monotonic() - began))
'''


def serve(listener):
    """`1` is answered with `1`; `d` and eight bytes with so many bytes; `k` and a line's end with `k`, and each byte from
    there on with itself."""
    block = bytes(1 << 18)

    def one(client):
        with client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            first = client.recv(1)
            if first == b"1":
                client.sendall(b"1")
                return
            if first == b"k":
                client.recv(1)
                while first:
                    client.sendall(first)
                    first = client.recv(1)
                return
            left = int.from_bytes(client.recv(8, socket.MSG_WAITALL), "big")
            while left > 0:
                left -= client.send(block[:left])
    while True:
        client, _ = listener.accept()
        threading.Thread(target=one, args=(client,), daemon=True).start()


def tinyproxy(directory):
    """Started on a free port of loopback."""
    program = shutil.which("tinyproxy")
    if program is None:
        return None, None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = os.path.join(directory, "tinyproxy.conf")
    with open(path, "w") as file:
        file.write(f"Port {port}\nListen 127.0.0.1\nMaxClients 200\nLogLevel Critical\nTimeout 600\n")
    process = subprocess.Popen([program, "-d", "-c", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True)  # as superserved: the kernel shares time between sessions
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return process, f"127.0.0.1:{port}"
        except OSError:
            time.sleep(0.05)
    process.kill()
    raise SystemExit("tinyproxy does not start")


def processor_seconds(pid):
    """Of user and system time (proc(5), /proc/pid/stat)."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def show_costs(costs, megabytes, requests, rounds):
    for kind, unit, factor in (("bytes", "s a GB", 1000 / (2 * megabytes * rounds)),
                               ("delay", "ms a connection", 1000 / (requests * rounds)),
                               ("kept", "ms a byte there and back", 1000 / (requests * rounds))):
        for way in ("tinyproxy", "superserve"):
            if (way, kind) in costs:
                print(f"processor time: {way:12} {costs[way, kind] * factor:8.3f} {unit}")


def show(title, unit, found):
    """A line for each way, with its ratio to the direct one."""
    print(title)
    base = statistics.median(found["direct"])
    for name, values in found.items():
        middle = statistics.median(values)
        print(f"  {name:12} {middle:10.3f} {unit}   {middle / base:6.2f} x direct", flush=True)


def compare(options, port):
    import harness
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        world = stack.enter_context(harness.World(config=f'private_destinations: ["127.0.0.1:{port}"]'))
        world.agent(
            "bench",
            'protocol: exec\ncommand: [/bin/sh, -c, "exec 2>&1; {message}"]\n'
            f'network: {{allow: ["127.0.0.1:{port}"]}}',
            {"client.py": CLIENT})
        world.start()
        session = world.create("bench")
        client = os.path.join(world.agents, "bench", "client.py")
        process, other = tinyproxy(directory)
        if process:
            stack.callback(lambda: (process.kill(), process.wait()))
        costs, pids = {}, {"superserve": world.process.pid, **({"tinyproxy": process.pid} if process else {})}
        ways = {"direct": ("direct", False)}
        if other:
            ways["tinyproxy"] = (other, False)
        ways["superserve"] = ("127.0.0.1:3128", True)

        def measure(way, *words):
            proxy, inside = ways[way]
            command = ["python3", "/agent/client.py" if inside else client, proxy, "127.0.0.1", str(port), *map(str, words)]
            before = processor_seconds(pids[way]) if way in pids else 0
            if inside:
                text = world.ask(session, " ".join(command))
            else:
                text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            if way in pids:
                costs[way, words[0]] = costs.get((way, words[0]), 0) + processor_seconds(pids[way]) - before
            return [float(word) for word in text.split()]

        size = options.megabytes * 1000 * 1000
        one, many, middle, late, kept, kept_late = ({way: [] for way in ways} for _ in range(6))
        for _ in range(options.rounds):
            for way in ways:
                one[way] += measure(way, "bytes", 1, size)
                many[way] += measure(way, "bytes", 100, size // 100)
                delays = measure(way, "delay", options.requests, 0)
                middle[way].append(delays[0])
                late[way].append(delays[1])
                delays = measure(way, "kept", options.requests, 0)
                kept[way].append(delays[0])
                kept_late[way].append(delays[1])
        show(f"One connection, {options.megabytes} MB", "MB/s", one)
        show(f"100 connections at once, {options.megabytes} MB in all", "MB/s", many)
        show(f"A new connection and one byte back, p50 of {options.requests}", "ms", middle)
        show("The same, p99", "ms", late)
        show(f"One byte there and back on a connection that stays, p50 of {options.requests}", "ms", kept)
        show("The same, p99", "ms", kept_late)
        show_costs(costs, options.megabytes, options.requests, options.rounds)
        if not process:
            print("tinyproxy is not installed (apt-get install tinyproxy)")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bin", default=os.path.join(HERE, "../.build/release"))
    options = parser.parse_args()
    os.environ["SUPERSERVE_BIN"] = os.path.abspath(options.bin)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leaves nothing running
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    port = listener.getsockname()[1]
    server = os.fork()
    if server == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        serve(listener)
    listener.close()
    try:
        compare(options, port)
    finally:
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)


if __name__ == "__main__":
    main()
