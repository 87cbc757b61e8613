"""What happens when something runs out: descriptors, processes, inodes, readers."""

import contextlib
import http.client
import json
import os
import pwd
import resource
import socket
import subprocess
import threading
import time

from agents import NATIVE
from harness import SLOWNESS, check, connect, equal, eventually, text_of

#: Whom root's supervisor becomes
# An id that no other supervisor has: what runs outside of this process namespace counts too and is not seen.
SERVICE = 1_899_999_000

FLOOD = '''
import json, sys
print(json.dumps({"type": "ready"}), flush=True)
for line in sys.stdin:
    if json.loads(line)["type"] == "cancel":
        continue
    text = json.dumps({"type": "text", "content": "flood " * 1000}) + "\\n"
    while True:
        sys.stdout.write(text)
'''

DEAF = '''
import json, signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print(json.dumps({"type": "ready"}), flush=True)
time.sleep(3600)
'''


def resident_kib(pid):
    return int(next(line.split()[1] for line in open(f"/proc/{pid}/status") if line.startswith("VmRSS")))


def test_a_thousand_clients_that_never_read(world):
    world.start()
    session = world.create("shell")
    world.ask(session, "head -c 3000000 /dev/zero | tr '\\0' x")
    request = f"GET /v1/sessions/{session['id']}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    before = resident_kib(world.process.pid)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    with contextlib.ExitStack() as clients:
        clients.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for number in range(1000):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(20 * SLOWNESS)
            connect(client, world.socket)
            if number % 2:
                client.sendall(request)
        began = time.monotonic()
        equal(world.ask(session, "echo served"), "served\n")
        check(time.monotonic() - began < 20 * SLOWNESS, f"served after {time.monotonic() - began:.1f} s")
        grown = (resident_kib(world.process.pid) - before) // 1024
        check(grown < 700, f"500 streams that nobody reads cost {grown} MiB")
    if os.geteuid() == 0:  # nobody else may look
        eventually(lambda: len(os.listdir(f"/proc/{world.process.pid}/fd")) < 100, "their descriptors are closed", 30)
    equal(world.ask(session, "echo still"), "still\n")


def test_a_flood_costs_bounded_memory(world):
    world.config += "max_turn_output: 512MiB\n"
    world.write(world.config_file, f"agents_directory: {world.agents}\nmax_turn_output: 512MiB\n")
    world.agent("flood", "command: [/usr/bin/python3, /agent/flood.py]", {"flood.py": FLOOD})
    world.start()
    other, flood = world.create("shell"), world.create("flood")
    # Nobody reads the answer either.
    equal(world.post(f"/v1/sessions/{flood['id']}/messages", {"content": "go", "detach": True}).status, 202)
    seconds = float(os.environ.get("SUPERSERVE_FLOOD_SECONDS", "8"))
    before, slowest, most = resident_kib(world.process.pid), 0.0, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end and world.show(flood)["status"] == "active":
        began = time.monotonic()
        equal(world.ask(other, "echo here"), "here\n")
        slowest = max(slowest, time.monotonic() - began)
        most = max(most, resident_kib(world.process.pid))
    check(slowest < 5 * SLOWNESS, f"another session waited {slowest:.1f} s")
    check(most - before < 200 << 10, f"the supervisor grew by {(most - before) >> 10} MiB")
    world.post(f"/v1/sessions/{flood['id']}/cancel")
    eventually(lambda: world.show(flood)["status"] == "idle", "the flood can be cancelled", 30)
    print(f"     flood: {world.show(flood)['last_seq']} events; the other session's slowest turn {slowest:.2f} s; "
          f"the supervisor grew by {(most - before) >> 10} MiB")


def test_an_agent_that_never_reads(world):
    world.agent("deaf", "command: [/usr/bin/python3, /agent/deaf.py]\ncancel_grace: 1s", {"deaf.py": DEAF})
    world.start()
    deaf, other = world.create("deaf"), world.create("shell")
    large = "x" * (900 << 10)
    equal(world.post(f"/v1/sessions/{deaf['id']}/messages", {"content": large, "detach": True}).status, 202)
    equal(world.ask(other, "echo here"), "here\n")
    world.kill()
    world.start()  # what the pipe did not take is stored, and sent again
    world.post(f"/v1/sessions/{deaf['id']}/cancel")
    eventually(lambda: world.show(deaf)["status"] == "idle", "it can be cancelled", 20)
    events = [e for e in world.stream("GET", f"/v1/sessions/{deaf['id']}/events?follow=0")]
    equal(events[-1]["type"], "run.cancelled")


def test_out_of_descriptors(world):
    world.start(limits=["--nofile=90:90"])
    session = world.create("shell")
    world.ask(session, "true")
    with contextlib.ExitStack() as clients:
        for _ in range(100):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(1)
            with contextlib.suppress(OSError):
                client.connect(world.socket)
        time.sleep(1)
        check(world.process.poll() is None, "it has not ended")

    def answers():
        with contextlib.suppress(OSError, http.client.HTTPException):
            return world.get("/healthz").status == 200
    eventually(answers, "it answers once clients have gone", 30)
    equal(world.ask(session, "echo here"), "here\n", "the session that was there goes on")
    fill_up(world, 80, "Too many open files")


def test_no_more_processes(world):
    """clone is refused (EAGAIN) at some point: what runs goes on, and there is room again later."""
    user = pwd.getpwnam(world.user).pw_uid if world.user else os.geteuid() or SERVICE
    if user == SERVICE:
        world.write(world.config_file, f"agents_directory: {world.agents}\nservice_uid: {SERVICE}\n")
    running = sum(tasks(pid) for pid in os.listdir("/proc") if pid.isdigit() and owner(pid) == user)
    world.start(limits=[f"--nproc={running + 60}:{running + 60}"])
    fill_up(world, 200, "Resource temporarily unavailable")


def tasks(pid):
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/task"))
    return 0


def owner(pid):
    with contextlib.suppress(OSError):
        return os.stat(f"/proc/{pid}").st_uid
    return None


def fill_up(world, most, cause):
    """Creates sessions until there is no room, and sees that nothing else suffers."""
    created = []
    while (answer := world.post("/v1/sessions", {"agent": "shell"})).status == 201:
        created.append(answer.json)
        check(len(created) < most, f"more than {most} sessions")
    check(cause in answer.error["message"], f"after {len(created)}: {answer.body!r}")
    equal(answer.error["code"], "sandbox_failed")
    check(world.process.poll() is None, "the supervisor is up")
    for one in created[len(created) // 2:]:
        equal(world.post(f"/v1/sessions/{one['id']}/end").status, 200)
    equal(world.ask(created[0], "echo here"), "here\n")
    equal(world.ask(world.create("shell"), "echo new"), "new\n")
    trees = os.path.join(world.state, "sessions")
    live = [s for s in world.sessions("&limit=1000") if s["status"] == "idle"]
    eventually(lambda: len(os.listdir(trees)) == len(live), "nothing of the refused one is left", 30)


def test_no_more_inodes(world):
    disk = os.path.join(world.dir, "disk")
    os.mkdir(disk)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=120,mode=755", "tmpfs", disk], check=True)
    world.stack.callback(subprocess.run, ["umount", "-l", disk])
    world.state = os.path.join(disk, "state")
    world.start()
    fill_up(world, 120, "No space left")


test_no_more_inodes.root_only = True


def test_requests_that_come_twice(world):
    """A client that got no answer asks again with the same key, also after a crash."""
    world.agent("bot", "command: [/usr/bin/python3, /agent/bot.py]", {"bot.py": NATIVE})
    world.start()
    key = {"Idempotency-Key": "create-1"}
    body = json.dumps({"agent": "bot"})
    ids = []

    def create():
        ids.append(world.request("POST", "/v1/sessions", body, key).json["id"])
    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(len(set(ids)), 1, "one session")
    path = f"/v1/sessions/{ids[0]}/messages"
    key = {"Idempotency-Key": "message-1"}
    first = list(world.stream("POST", path, {"content": "hello"}, key))
    world.kill()
    world.start()
    again = list(world.stream("POST", path, {"content": "hello"}, key))
    equal(again, first, "the same events")
    equal(text_of(again), "hello")
    equal(world.request("POST", path, json.dumps({"content": "other"}), key).error["code"], "idempotency_mismatch")
    equal(world.request("POST", path, body, {"Idempotency-Key": "a b"}).status, 400)
    equal(len(world.sessions()), 1)
