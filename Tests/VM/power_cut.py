#!/usr/bin/env python3
"""In the VM: sessions whose acknowledged turns are told to the host, until the power goes; then a look at what is left.

    power_cut.py load       on a new disk; prints `accepted ID TURN` and `ended ID TURN` once a client knows it
    power_cut.py verify     on the same disk after the cut; prints what the store has, and that the sessions go on
"""

import contextlib
import http.client
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../Integration"))
from harness import Connection, Stream  # noqa: E402

DISK = "/dev/disk/by-id/virtio-data"
STATE, RUNTIME = "/data/state", "/run/power-cut"
SOCKET = f"{RUNTIME}/superserved.sock"
say_lock = threading.Lock()


def say(*words):
    """On the way to the host when this returns."""
    with say_lock:
        os.write(1, (" ".join(map(str, words)) + "\n").encode())


def request(method, path, body=None):
    connection = Connection(SOCKET, timeout=120)
    connection.request(method, path, body=json.dumps(body) if body else None)
    response = connection.getresponse()
    return response.status, json.loads(response.read() or b"null")


def start():
    os.makedirs("/data", exist_ok=True)
    subprocess.run(["mount", DISK, "/data"], check=True)
    subprocess.Popen(["superserved", "--foreground", "--state-dir", STATE, "--runtime-dir", RUNTIME],
                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if request("GET", "/healthz")[0] == 200:
                return
        time.sleep(0.2)


def talk(session, count):
    for _ in range(count):
        status, accepted = request("POST", f"/v1/sessions/{session['id']}/messages",
                                   {"content": "echo text | tee -a file", "detach": True})
        assert status == 202, accepted
        say("accepted", session["id"], accepted["turn"])
        connection = Connection(SOCKET, timeout=120)
        connection.request("GET", f"/v1/sessions/{session['id']}/events?after={accepted['first_seq']}")
        for event in Stream(connection, connection.getresponse()):
            if event["type"] in ("run.completed", "run.failed", "run.cancelled"):
                if event["type"] == "run.completed":
                    say("ended", session["id"], accepted["turn"])
                break


def load():
    subprocess.run(["mkfs.ext4", "-q", DISK], check=True, stdin=subprocess.DEVNULL)
    start()
    sessions = [request("POST", "/v1/sessions", {"agent": "shell", "idle_timeout_seconds": 86400})[1] for _ in range(3)]
    for session in sessions:
        say("created", session["id"], 0)
    for session in sessions:
        threading.Thread(target=talk, args=(session, 10_000)).start()


def verify():
    start()
    with contextlib.closing(sqlite3.connect(f"{STATE}/superserve.sqlite")) as store:
        say("integrity", store.execute("PRAGMA integrity_check").fetchone()[0])
        gaps = store.execute("SELECT count(*) FROM (SELECT 1 FROM event GROUP BY session_id "
                             "HAVING count(*) != max(seq))").fetchone()[0]
        say("gaps", gaps)
    status, answer = request("GET", "/v1/sessions?all=1&limit=100")
    assert status == 200, answer
    for session in answer["sessions"]:
        while request("GET", f"/v1/sessions/{session['id']}")[1]["status"] == "active":
            time.sleep(0.2)
        for message in request("GET", f"/v1/sessions/{session['id']}/messages")[1]["messages"]:
            if message["role"] == "agent":
                say("stored", session["id"], message["turn"], message["status"])
        talk(session, 1)
    request("POST", "/v1/supervisor/stop")
    say("the VM is done")


if __name__ == "__main__":
    {"load": load, "verify": verify}[sys.argv[1]]()
