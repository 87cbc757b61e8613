"""What must hold after any crash, as one list."""

import contextlib
import os
import shutil
import socket
import sqlite3
import struct

from client import ENDS
from harness import check, children_named, equal, eventually


def hex_of(session):
    return session["id"][4:].replace("-", "")


def init_of(world, digits):
    """Pid of the init behind a control socket, None where nobody listens."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(5)
        client.connect(f"{world.runtime}/s/{digits}.sock")
        return struct.unpack("iII", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    return None


def processes_of(world):
    """Inits whose workspace lies in this world, also those that nobody remembers."""
    found = []
    for pid in children_named("superserve-launcher\0init"):
        with contextlib.suppress(OSError):
            if os.path.basename(world.dir) in open(f"/proc/{pid}/mountinfo").read():
                found.append(pid)
    return found


def transcript_is_whole(patient, record):
    """Numbers without a gap, one end for each accepted message, the text that the agent logged."""
    session = record["session"]
    events = patient.events(session)
    short = session["short_id"]
    equal([e["seq"] for e in events], list(range(1, len(events) + 1)), f"{short}: numbers")
    starts = [e["turn"] for e in events if e["type"] == "run.started"]
    equal(starts, list(range(1, len(starts) + 1)), f"{short}: turns")
    check(set(record["turns"]) <= set(starts), f"{short}: accepted {record['turns']}, stored {starts}")
    for turn in starts:
        ends = [e for e in events if e["type"] in ENDS and e["turn"] == turn]
        equal(len(ends), 1, f"{short}: ends of turn {turn}")
        text = "".join(e["content"] for e in events if e["type"] == "message.delta" and e.get("turn") == turn)
        logged = patient.file(session, f"log-{turn}").decode()
        if ends[0]["type"] == "run.completed":
            equal(text, logged, f"{short}: text of turn {turn}")
        else:
            check(logged.startswith(text), f"{short}: text of failed turn {turn}: {text[-80:]!r} {logged[-80:]!r}")
    return len(starts)


def nothing_is_orphaned(world, live):
    """Trees, sockets and processes belong to live sessions, one process each at most."""
    known = {hex_of(session) for session in live}
    trees = os.path.join(world.state, "sessions")
    eventually(lambda: set(os.listdir(trees)) == known, f"trees of {len(known)} sessions", 30)
    sockets = {name[:-5] for name in os.listdir(os.path.join(world.runtime, "s")) if name.endswith(".sock")}
    check(sockets <= known, f"sockets that no session has: {sockets - known}")

    def matches():
        listening = {init_of(world, digits) for digits in known} - {None}
        return set(processes_of(world)) == listening
    eventually(matches, "every init belongs to a session", 30)


def store_is_sound(world):
    """`PRAGMA integrity_check` and the schema's own conditions, on a copy of the files."""
    copy = os.path.join(world.dir, "copy")
    shutil.rmtree(copy, ignore_errors=True)
    os.mkdir(copy)
    for suffix in ("", "-wal"):
        source = os.path.join(world.state, "superserve.sqlite" + suffix)
        if os.path.exists(source):
            shutil.copy(source, os.path.join(copy, "db" + suffix))
    with contextlib.closing(sqlite3.connect(os.path.join(copy, "db"))) as database:
        equal(database.execute("PRAGMA integrity_check").fetchall(), [("ok",)], "integrity")
        equal(database.execute("PRAGMA foreign_key_check").fetchall(), [], "foreign keys")
        gaps = database.execute(
            "SELECT session_id FROM event GROUP BY session_id HAVING count(*) != max(seq)").fetchall()
        equal(gaps, [], "numbers in the store")
    shutil.rmtree(copy)


def deadlines_are_kept(sessions):
    for session in sessions:
        if session["status"] == "idle":
            check(session.get("expires_at"), f"{session['short_id']} has no deadline")


def all_hold(world, patient, records):
    """Checks everything; returns how many turns were looked at."""
    def nothing_runs():
        return not world.sessions("&status=active&limit=10000")
    eventually(nothing_runs, "every turn has ended", 90)
    live = [s for s in world.sessions("&limit=10000") if s["status"] in ("active", "idle")]
    deadlines_are_kept(live)
    turns = 0
    for record in records:
        session = record["session"]
        if session["id"] in {s["id"] for s in live}:
            turns += transcript_is_whole(patient, record)
            accepted = patient.send(session, "alive")
            end = patient.follow(session, accepted)[-1]
            equal(end["type"], "run.completed", f"{session['short_id']} answers")
        elif record["over"]:
            shown = patient.request("GET", f"/v1/sessions/{session['id']}", final=(404,))
            check(shown.status == 404 or shown.json["status"] in ("ended", "timeout"), "the session is over")
    nothing_is_orphaned(world, live)
    store_is_sound(world)
    return turns
