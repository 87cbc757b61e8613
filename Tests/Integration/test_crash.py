"""kill -9 in mid-turn: the same agent, the same turn, every line once."""

import contextlib
import http.client
import os
import random
import signal
import threading
import time

from agents import NATIVE
from harness import SLOWNESS, Failure, check, children_named, equal, eventually, text_of


def follow(world, session, seen):
    """Reads events into `seen` until the stream ends, however it ends."""
    after = seen[-1]["seq"] if seen else 0
    path = f"/v1/sessions/{session['id']}/events?after={after}"
    with contextlib.suppress(OSError, http.client.HTTPException, Failure):
        for event in world.stream("GET", path):
            seen.append(event)
            if event["type"].startswith("run.c") or event["type"] == "run.failed":
                return True
    return False


def test_supervisor_killed_in_mid_turn(world):
    world.agent("bot", "command: [/usr/bin/python3, /agent/bot.py]", {"bot.py": NATIVE})
    world.start()
    session = world.create("bot")
    pid = world.ask(session, "pid")
    last = world.show(session)["last_seq"]
    stream = iter(world.send(session, "count 600"))
    seen = [next(stream) for _ in range(20)]
    host_pids = agents_of(world)
    for _ in range(3):
        world.kill()
        world.start()
        more = iter(world.stream("GET", f"/v1/sessions/{session['id']}/events?after={seen[-1]['seq']}"))
        seen += [next(more) for _ in range(20)]
    finished = False
    while not finished:
        finished = follow(world, session, seen)
    equal([e["seq"] for e in seen], list(range(last + 1, last + 1 + len(seen))), "numbers")
    equal(text_of(seen), "".join(f"{i}\n" for i in range(600)))
    equal(seen[-1]["type"], "run.completed")
    equal(len(host_pids), 1, "one agent")
    equal(agents_of(world), host_pids, "the same agent process")
    equal(world.ask(session, "pid"), pid)


def test_launcher_killed(world):
    world.start()
    session = world.create("shell")
    world.ask(session, "echo kept > file")
    killed = [p for p in children_named(world.runtime) if is_launcher(p)]
    check(killed, "there is a launcher")
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    equal(world.ask(session, "cat file"), "kept\n", "the session goes on")
    equal(world.ask(world.create("shell"), "echo new"), "new\n", "new sessions are possible")
    equal(world.post(f"/v1/sessions/{session['id']}/end").status, 200)
    check(not os.path.exists(world.tree(session)), "also after its launcher died")


def is_launcher(pid):
    """The keeper's child: same program, not the keeper."""
    try:
        command = open(f"/proc/{pid}/cmdline").read().split("\0")
        return command[0].endswith("superserve-launcher") and command[1] not in ("keeper", "init")
    except (OSError, IndexError):
        return False


def test_init_killed_in_mid_turn(world):
    world.start()
    session = world.create("shell")
    world.ask(session, "echo kept > file")
    stream = iter(world.send(session, "echo start; sleep 60"))
    next(stream), next(stream)
    sleeper = eventually(lambda: children_named("sleep\x0060"), "the command runs")[-1]
    status = dict(
        line.split(":", 1) for line in open(f"/proc/{sleeper}/status").read().splitlines() if ":" in line)
    check(status["NSpid"].split()[-1] != str(sleeper), "it has a pid of its own namespace")
    parent = sleeper
    while True:
        fields = open(f"/proc/{parent}/status").read()
        if "\nNSpid:" in fields and fields.split("NSpid:")[1].split("\n")[0].split()[-1] == "1":
            break
        parent = int(fields.split("PPid:")[1].split()[0])
    os.kill(parent, signal.SIGKILL)
    rest = list(stream)
    equal(rest[-1]["error"]["code"], "sandbox_lost", str(rest))
    equal(world.ask(session, "cat file"), "kept\n", "a new sandbox on the same workspace")


def test_supervisor_killed_while_creating_and_ending(world):
    """Twenty kills at any step of create and end: afterwards each live session has one init, and nothing
    that no session knows is left."""
    world.start()
    stop = threading.Event()

    def churn():
        random_ = random.Random(threading.get_ident())
        while not stop.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException, Failure, ValueError):
                session = world.post("/v1/sessions", {"agent": "shell"}).json
                if "id" in session and random_.random() < 0.7:
                    world.post(f"/v1/sessions/{session['id']}/end")
    threads = [threading.Thread(target=churn) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for round_ in range(20):
            time.sleep(0.05 + round_ % 7 * 0.03)  # lets the load reach some step; which one is chance
            world.kill()
            world.start()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    world.kill()
    world.start()
    live = [s for s in world.sessions("&limit=1000") if s["status"] in ("active", "idle")]
    for session in live:
        equal(world.ask(session, "echo alive"), "alive\n")
    trees = sorted(os.listdir(os.path.join(world.state, "sessions")))
    equal(trees, sorted(s["id"][4:].replace("-", "") for s in live), "trees on disk")
    eventually(lambda: len(inits_of(world)) == len(live), f"{len(live)} inits", 20)
    for session in live:
        equal(world.post(f"/v1/sessions/{session['id']}/end").status, 200)
    equal(os.listdir(os.path.join(world.state, "sessions")), [])
    eventually(lambda: not inits_of(world), "every init is gone", 20)


def agents_of(world):
    """Host pids of the processes that this world's inits have started."""
    inits = set(inits_of(world))
    found = []
    for pid in children_named("/agent/"):
        with contextlib.suppress(OSError):
            if int(open(f"/proc/{pid}/status").read().split("PPid:")[1].split()[0]) in inits:
                found.append(pid)
    return found


def inits_of(world):
    """Inits whose parent is this world's launcher or keeper."""
    family = set(children_named(world.runtime))
    found = []
    for pid in children_named("superserve-launcher\0init"):
        with contextlib.suppress(OSError):
            parent = int(open(f"/proc/{pid}/status").read().split("PPid:")[1].split()[0])
            if parent in family:
                found.append(pid)
    return found


def test_leftover_trees_are_swept(world):
    world.start()
    session = world.create("shell")
    world.ask(session, "mkdir -p a/b/c; echo x > a/b/c/d")
    world.post("/v1/supervisor/stop")
    world.process.wait(30 * SLOWNESS)
    world.process = None
    for name in ("superserve.sqlite", "superserve.sqlite-wal", "superserve.sqlite-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(world.state, name))
    world.start()
    eventually(lambda: not os.path.exists(world.tree(session)), "the unknown tree is removed")
