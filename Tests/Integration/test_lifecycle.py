"""Idle timeouts for real, restarts, and what stays."""

import json
import os
import pwd
import shutil
import signal
import socket
import time

from harness import BIN, SLOWNESS, check, equal, eventually, text_of


def test_idle_timeout_of_ten_seconds(world):
    world.start()
    session = world.create("shell", idle_timeout_seconds=10)
    equal(world.ask(session, "echo kept | tee file"), "kept\n")
    began = time.monotonic()
    eventually(lambda: world.show(session)["status"] == "timeout", "the session times out", 30)
    check(9 < time.monotonic() - began < 10 + 4 * SLOWNESS, "after ten seconds")
    eventually(lambda: not os.path.exists(world.tree(session)), "the tree is gone")
    history = world.get(f"/v1/sessions/{session['id']}/messages").json
    equal([m["content"] for m in history["messages"]], ["echo kept | tee file", "kept\n"])
    resumed = world.post(f"/v1/sessions/{session['id']}/resume")
    equal(resumed.status, 409)
    equal(
        resumed.error["message"],
        f"Session '{session['short_id']}' has status 'timeout' and cannot be resumed")
    equal(world.post(f"/v1/sessions/{session['id']}/end").json["status"], "ended")
    equal(world.get(f"/v1/sessions/{session['id']}/messages").status, 409)


def test_a_turn_longer_than_the_timeout_is_not_killed(world):
    world.start()
    session = world.create("shell", idle_timeout_seconds=10)
    equal(world.ask(session, "sleep 13; echo awake"), "awake\n")
    equal(world.show(session)["status"], "idle")


def test_the_deadline_holds_over_a_restart(world):
    world.start()
    session = world.create("shell", idle_timeout_seconds=10)
    world.ask(session, "true")
    world.kill()
    time.sleep(11)  # the idle time itself, not a wait for something
    world.start()
    eventually(lambda: world.show(session)["status"] == "timeout", "overdue at once", 5)


def test_a_session_without_messages_is_removed(world):
    world.start()
    session = world.create("shell", idle_timeout_seconds=10)
    equal(world.request("DELETE", f"/v1/sessions/{session['id']}").status, 204)
    equal(world.get(f"/v1/sessions/{session['id']}").status, 404)
    check(not os.path.exists(world.tree(session)), "the tree is gone")
    forgotten = world.create("shell", idle_timeout_seconds=10)
    eventually(
        lambda: world.get(f"/v1/sessions/{forgotten['id']}").status == 404, "removed by timeout", 20)


def test_stop_fails_the_turn_and_keeps_the_session(world):
    world.start()
    session = world.create("shell")
    world.ask(session, "echo kept > file")
    stream = iter(world.send(session, "echo start; sleep 60"))
    next(stream), next(stream)
    equal(world.post("/v1/supervisor/stop").status, 202)
    world.process.wait(30 * SLOWNESS)
    world.process = None
    world.start()
    events = list(world.stream("GET", f"/v1/sessions/{session['id']}/events?follow=0"))
    equal(events[-1]["type"], "run.failed")
    equal(events[-1]["error"]["code"], "stopped")
    equal(world.show(session)["status"], "idle")
    equal(world.ask(session, "cat file"), "kept\n")


def test_sigterm_leaves_agents_running(world):
    world.start()
    session = world.create("shell")
    world.post(
        f"/v1/sessions/{session['id']}/messages",
        {"content": "for i in 1 2 3 4 5 6; do echo $i; sleep 0.5; done", "detach": True})
    equal(world.kill(15), 0, "exit status of a drained supervisor")
    world.start()
    eventually(lambda: world.show(session)["status"] == "idle", "the turn ends")
    events = list(world.stream("GET", f"/v1/sessions/{session['id']}/events?follow=0"))
    equal(text_of(events), "1\n2\n3\n4\n5\n6\n")
    equal(events[-1]["type"], "run.completed")


def stalled_reader(world, session):
    """Asks for a long answer, and for all events so far, and reads nothing."""
    body = json.dumps({"content": "head -c 50000000 /dev/zero | tr '\\0' x; sleep 30"})
    request = (f"POST /v1/sessions/{session['id']}/messages HTTP/1.1\r\nHost: x\r\n"
               f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}")
    client = socket.socket(socket.AF_UNIX)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(world.socket)
    client.sendall(request.encode())
    eventually(lambda: world.show(session)["last_seq"] > 50, "the answer is under way")
    return client


def test_a_client_that_never_reads_cannot_hold_up_the_end(world):
    world.start()
    session = world.create("shell")
    with stalled_reader(world, session):
        begun = time.monotonic()
        equal(world.kill(signal.SIGTERM), 0)
        check(time.monotonic() - begun < 12 * SLOWNESS, f"{time.monotonic() - begun} s")
        world.start()
        equal(world.show(session)["status"], "active", "the agent has not noticed")
    with stalled_reader(world, world.create("shell")):
        equal(world.post("/v1/supervisor/stop").status, 202)
        equal(world.process.wait(20 * SLOWNESS), 0)


def test_history_comes_in_pages(world):
    world.start()
    session = world.create("shell")
    for number in range(5):
        world.ask(session, f"echo {number}")
    path = f"/v1/sessions/{session['id']}/messages?limit=2"
    page = world.get(path).json
    equal(([m["turn"] for m in page["messages"]], page["next_after"]), ([1, 1, 2, 2], 2))
    page = world.get(path + "&after=4").json
    equal(([m["turn"] for m in page["messages"]], page.get("next_after")), ([5, 5], None))
    # Pages end by size as well; the command line reads them all.
    for _ in range(3):
        world.ask(session, "head -c 5000000 /dev/zero | tr '\\0' x")
    page = world.get(f"/v1/sessions/{session['id']}/messages").json
    equal((page["messages"][-1]["turn"], page["next_after"]), (7, 7))
    whole = json.loads(world.cli("sessions", "history", session["id"], "--json").stdout)
    equal([m["turn"] for m in whole["messages"]], [n for n in range(1, 9) for _ in range(2)])
    equal(len(whole["messages"][-1]["content"]), 5000000)


def test_programs_in_a_closed_directory(world):
    """Root's clone lies in root's home, which the service cannot enter."""
    closed = os.path.join(world.dir, "closed")
    os.makedirs(os.path.join(closed, "bin"))
    for program in ("superserved", "superserve-launcher"):
        shutil.copy2(os.path.join(BIN, program), os.path.join(closed, "bin"))
    shutil.copytree(os.path.join(os.path.dirname(__file__), "../../config/agents"),
                    os.path.join(closed, "share/superserve/agents"))
    if world.user:
        entry = pwd.getpwnam(world.user)
        os.chown(closed, entry.pw_uid, entry.pw_gid)
    os.chmod(closed, 0o700)
    world.start(program=os.path.join(closed, "bin/superserved"))
    equal(world.ask(world.create("shell"), "echo works"), "works\n")
