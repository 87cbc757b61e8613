"""A client that lives through crashes of the supervisor: every request has a key and is repeated until answered."""

import contextlib
import http.client
import io
import os
import random
import sys
import tarfile
import threading
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../Integration"))
from harness import SLOWNESS, Connection, Failure, Stream, check  # noqa: E402

PATIENCE = 60.0 * SLOWNESS
BROKEN = (OSError, http.client.HTTPException)


class Patient:
    """Speaks to a world whose supervisor may die at any moment. `revive` is called when it does not answer."""

    def __init__(self, world, revive=None):
        self.world = world
        self.revive = revive or (lambda: time.sleep(0.1))

    def request(self, method, path, body=None, expected=(200, 201, 202, 204), key=False, final=()):
        """Repeats until an expected status comes; those in `final` are returned as well."""
        headers = {"Idempotency-Key": str(uuid.uuid4())} if key else {}
        deadline = time.monotonic() + PATIENCE
        answer = None
        while time.monotonic() < deadline:
            try:
                answer = self.world.request(method, path, body, headers)
            except BROKEN:
                self.revive()
                continue
            if answer.status in expected or answer.status in final:
                return answer
            check(answer.status >= 500, f"{method} {path}: {answer.status} {answer.body[:300]!r}")
            time.sleep(0.1)
        raise Failure(f"{method} {path}: no good answer in {PATIENCE} s; the last: {answer and answer.body[:300]!r}")

    def create(self, agent="crash", **options):
        return self.request("POST", "/v1/sessions", {"agent": agent, **options}, key=True).json

    def send(self, session, content):
        """The accepted message: `turn` and `first_seq`."""
        return self.request("POST", f"/v1/sessions/{session['id']}/messages",
                            {"content": content, "detach": True}, key=True).json

    def follow(self, session, accepted):
        """The events of a turn, joined over as many connections as it takes."""
        seen, deadline = [], time.monotonic() + 2 * PATIENCE
        while time.monotonic() < deadline:
            after = seen[-1]["seq"] if seen else accepted["first_seq"] - 1
            try:
                for event in self.stream(f"/v1/sessions/{session['id']}/events?after={after}"):
                    if "seq" not in event:
                        continue
                    seen.append(event)
                    if event["type"] in ENDS and event["turn"] == accepted["turn"]:
                        return seen
            except BROKEN:
                self.revive()
        raise Failure(f"turn {accepted['turn']} of {session['short_id']} has no end; {len(seen)} events")

    def stream(self, path):
        connection = Connection(self.world.socket, timeout=30)
        connection.request("GET", path)
        response = connection.getresponse()
        if response.status != 200:
            raise ConnectionError(f"{path}: {response.status}")
        return Stream(connection, response)

    def events(self, session):
        """Everything that is stored."""
        while True:
            with contextlib.suppress(*BROKEN):
                return [e for e in self.stream(f"/v1/sessions/{session['id']}/events?follow=0") if "seq" in e]
            self.revive()

    def file(self, session, name):
        """A file of the workspace, b"" where there is none."""
        answer = self.request("GET", f"/v1/sessions/{session['id']}/files?path={name}", final=(404,))
        if answer.status == 404:
            return b""
        with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
            return archive.extractfile(archive.next()).read()

    def deploy(self, name):
        """Registers an agent with a source."""
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            for path, text in (("superserve.yaml", f"name: {name}\ncommand: [sh, /agent/x.sh]\nprotocol: exec\n"
                                                   "source: source\n"), ("source/x.sh", "cat\n")):
                entry = tarfile.TarInfo(path)
                entry.size = len(text)
                entry.mode = 0o755
                archive.addfile(entry, io.BytesIO(text.encode()))
        return self.request("POST", "/v1/agents", data.getvalue()).json


ENDS = ("run.completed", "run.failed", "run.cancelled")


class Load(threading.Thread):
    """One user: creates sessions, has turns, ends sessions. Remembers what was accepted."""

    def __init__(self, patient, stop, seed):
        super().__init__(daemon=True)
        self.patient, self.stop_, self.random = patient, stop, random.Random(seed)
        self.sessions = {}  # id -> (session, [accepted turns], over)
        self.failure = None

    def run(self):
        try:
            while not self.stop_.is_set():
                self.one_session()
        except Exception as error:  # noqa: BLE001 - told by the main thread
            self.failure = error

    def one_session(self):
        patient, random_ = self.patient, self.random
        session = patient.create(idle_timeout_seconds=3600)
        if random_.random() < 0.1:
            patient.request("DELETE", f"/v1/sessions/{session['id']}", final=(404,))
            return
        record = self.sessions[session["id"]] = {"session": session, "turns": [], "over": False}
        for _ in range(random_.randint(1, 6)):
            if self.stop_.is_set():
                return
            accepted = patient.send(session, f"say {random_.randint(5, 60)} {random_.choice([0, 1, 20])}")
            record["turns"].append(accepted["turn"])
            patient.follow(session, accepted)
        if random_.random() < 0.8:
            record["over"] = True
            patient.request("POST", f"/v1/sessions/{session['id']}/end", final=(409,))
