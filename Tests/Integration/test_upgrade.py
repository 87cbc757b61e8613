"""Restarts that nobody should notice, and what must not be touched by them."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time

from agents import NATIVE
from harness import BIN, check, equal, eventually, text_of
from test_crash import agents_of, follow


def test_upgrade_in_mid_turn_three_times(world):
    """The programs are replaced and the supervisor is restarted while every session streams."""
    world.agent("bot", "command: [/usr/bin/python3, /agent/bot.py]", {"bot.py": NATIVE})
    installed = os.path.join(world.dir, "installed", "bin")
    os.makedirs(installed)

    def install():
        for name in ("superserved", "superserve-launcher"):
            shutil.copy2(os.path.join(BIN, name), os.path.join(installed, name + ".new"))
            os.rename(os.path.join(installed, name + ".new"), os.path.join(installed, name))
    install()
    program = os.path.join(installed, "superserved")
    world.start(program=program)
    sessions = [world.create("bot") for _ in range(5)]
    for session in sessions:
        body = {"content": "count 500", "detach": True}
        equal(world.post(f"/v1/sessions/{session['id']}/messages", body).status, 202)
    streams = [[] for _ in sessions]
    stop = threading.Event()

    def client(session, seen):
        while not follow(world, session, seen) and not stop.is_set():
            time.sleep(0.02)
    threads = [threading.Thread(target=client, args=pair, daemon=True) for pair in zip(sessions, streams)]
    for thread in threads:
        thread.start()
    eventually(lambda: all(len(seen) > 20 for seen in streams), "all stream")
    before = agents_of(world)
    for round_ in range(3):
        install()
        equal(world.kill(signal.SIGTERM), 0, "it leaves in peace")
        world.start(program=program)
        enough = 40 + 60 * round_
        eventually(lambda: all(len(seen) > enough for seen in streams), "the streams go on", 60)
    for thread in threads:
        thread.join(120)
    stop.set()
    equal(agents_of(world), before, "the same agents")
    for seen in streams:
        equal([e["seq"] for e in seen], list(range(1, len(seen) + 1)), "numbers")
        equal(text_of(seen), "".join(f"{n}\n" for n in range(500)))
        equal(seen[-1]["type"], "run.completed")


def test_a_start_touches_nothing_of_others(world):
    """A directory that is no session's, a process with our name, a process with an id of our range."""
    world.start()
    session = world.create("shell")
    world.ask(session, "echo kept > file")
    notes = os.path.join(world.state, "sessions", "notes")
    os.mkdir(notes)
    world.write(os.path.join(notes, "text"), "mine")
    with contextlib.ExitStack() as stack:
        def run(name, **options):
            process = subprocess.Popen([name, "600"], executable="/usr/bin/sleep", cwd="/", **options)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process
        others = [run("superserve-launcher")]
        if os.geteuid() == 0 and not world.user:
            # An id of this session's own block, as a neighbour's container with the same range would have it.
            owner = os.stat(os.path.join(world.tree(session), "workspace")).st_uid
            others.append(run("sleeper", user=owner))
        world.kill()
        world.start()
        equal(world.ask(session, "cat file"), "kept\n")
        equal(world.post(f"/v1/sessions/{session['id']}/end").status, 200)
        eventually(lambda: not os.path.exists(world.tree(session)), "the tree is gone")
        equal([other.poll() for other in others], [None] * len(others), "they live")
    check(os.path.exists(os.path.join(notes, "text")), "the directory is there")


def test_what_was_acknowledged_is_in_every_copy_of_the_files(world):
    """The database's files, taken at arbitrary moments, hold every accepted message and every ended turn."""
    world.start()
    acknowledged, lock, stop = set(), threading.Lock(), threading.Event()

    def talk():
        session = world.create("shell")
        digits = session["id"][4:].replace("-", "")
        turn = 0
        while not stop.is_set():
            turn += 1
            world.ask(session, "echo x")
            with lock:
                acknowledged.add((digits, turn))
    threads = [threading.Thread(target=talk) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(10):
            time.sleep(0.15)  # some moment
            copy = os.path.join(world.dir, f"copy{number}")
            os.mkdir(copy)
            with lock:
                known = set(acknowledged)
            world.process.send_signal(signal.SIGSTOP)
            for suffix in ("", "-wal"):
                shutil.copy(os.path.join(world.state, "superserve.sqlite" + suffix), os.path.join(copy, "db" + suffix))
            world.process.send_signal(signal.SIGCONT)
            with contextlib.closing(sqlite3.connect(os.path.join(copy, "db"))) as database:
                equal(database.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
                ended = set(database.execute("SELECT session_id, number FROM turn WHERE outcome IS NOT NULL"))
                equal(known - ended, set(), "turns whose end a client has seen")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    check(len(acknowledged) > 20, f"{len(acknowledged)} turns")
