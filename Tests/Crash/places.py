"""Kills the supervisor at each named place of Sources/Sessions/FaultPoint.swift, which only debug builds have."""

import contextlib
import os
import re
import signal
import threading
import time
import traceback

from client import BROKEN, Patient
import harness
from invariants import all_hold

HERE = os.path.dirname(os.path.abspath(__file__))

POINTS = re.findall(r'reached\("([a-z.]+)"\)',
                    open(os.path.join(HERE, "../../Sources/Sessions/FaultPoint.swift")).read())
AT_START = ("recovery.begun", "recovery.attached", "sweep.found", "migration")
CONFIG = "idle_timeout: 10s\nmax_sessions: 4000"


def prepare(world):
    world.agent("crash", "command: [/usr/bin/python3, /agent/agent.py]",
                {"agent.py": open(os.path.join(HERE, "agent.py")).read()})


class Reviver:
    """Starts the supervisor again once it is dead."""

    def __init__(self, world):
        self.world, self.lock, self.deaths = world, threading.Lock(), []
        self.fault = lambda: None

    def __call__(self):
        with self.lock:
            process = self.world.process
            if process and process.poll() is None:
                return time.sleep(0.05)  # it lives; the connection broke for another reason, or it starts
            if process:
                self.deaths.append(process.returncode)
            self.world.process = None
            with contextlib.suppress(harness.Failure):  # died while starting: the next round counts it
                self.world.start(fault=self.fault())
            return None


def everything_once(world, patient):
    """A session of each kind and all that can happen to it; returns what the invariants need."""
    kept = patient.create(idle_timeout_seconds=600)
    record = {"session": kept, "turns": [], "over": False}
    for text in ("say 40 2", "say 3 0"):
        accepted = patient.send(kept, text)
        record["turns"].append(accepted["turn"])
        patient.follow(kept, accepted)
    ended = patient.create()
    accepted = patient.send(ended, "say 3 0")
    patient.follow(ended, accepted)
    patient.request("POST", f"/v1/sessions/{ended['id']}/end", final=(409,))
    unused = patient.create()
    patient.request("DELETE", f"/v1/sessions/{unused['id']}", final=(404,))
    patient.deploy("deployed")
    patient.deploy("deployed")
    return [record, {"session": ended, "turns": [], "over": True}]


def times_out(world, patient):
    session = patient.create(idle_timeout_seconds=10)
    patient.follow(session, patient.send(session, "say 2 0"))

    def is_over():
        return patient.request("GET", f"/v1/sessions/{session['id']}").json["status"] == "timeout"
    harness.eventually(is_over, "the session times out", 40)
    return {"session": session, "turns": [], "over": True}


def leftover(world):
    """A tree that no session has, as a supervisor of an older database would leave it."""
    sessions = os.path.join(world.state, "sessions")
    owner = os.stat(sessions)
    for path in ("f" * 32, "f" * 32 + "/workspace"):
        os.mkdir(os.path.join(sessions, path))
        os.chown(os.path.join(sessions, path), owner.st_uid, owner.st_gid)


def walk(world, point):
    """Kills at `point`, goes on, and looks whether everything holds."""
    prepare(world)
    reviver = Reviver(world)
    patient = Patient(world, reviver)
    records = []
    if point == "migration":
        with contextlib.suppress(harness.Failure):
            world.start(fault=point)
    else:
        world.start(fault=None if point in AT_START else point)
    if point in AT_START and point != "migration":
        record = {"session": patient.create(idle_timeout_seconds=600), "turns": [], "over": False}
        records.append(record)
        record["turns"].append(patient.send(record["session"], "say 400 5")["turn"])
        if point == "sweep.found":
            leftover(world)
        world.kill()
        reviver.fault = iter([point, None, None, None]).__next__
        with contextlib.suppress(*BROKEN, harness.Failure):
            reviver()
            time.sleep(0.5)  # the sweep goes on beside the first answers
    records += everything_once(world, patient)
    if point.startswith("timeout"):
        records.append(times_out(world, patient))
    harness.check(reviver.deaths == [-signal.SIGKILL], f"{point} was reached: {reviver.deaths}")
    all_hold(world, patient, records)


def walk_all(options):
    passed, failed = 0, []
    for point in POINTS:
        if options.only not in point:
            continue
        began = time.monotonic()
        try:
            with harness.World(user=options.user, config=CONFIG) as world:
                walk(world, point)
            passed += 1
            print(f"ok   killed at {point} ({time.monotonic() - began:.1f}s)", flush=True)
        except Exception as error:  # noqa: BLE001 - every failure is reported
            failed.append(point)
            print(f"FAIL killed at {point}: {str(error)[:1500]}", flush=True)
            if not isinstance(error, harness.Failure):
                traceback.print_exc()
    return passed, failed
