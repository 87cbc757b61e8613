#!/usr/bin/env python3
"""How long does a session take to start?

    python3 Benchmarks/start-time.py [--count N] [--bin DIR] [--json]

From the request that creates a session to the first byte that its agent says, over the API of a private supervisor:
the sandbox, two HTTP requests, the stored turn, the agent's process. Beside it, in the same run and taken in turns,
the time to the first byte of the same program in bubblewrap and in runc, and without any sandbox. What they do not do
(keep a workspace, a history, an owner) is in our time and not in theirs. Only the ratios mean anything: absolute
times are the machine's.
"""

import argparse
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from peers import Unavailable, find, system_directories

AGENT = ["/bin/echo", "ready"]
WARM_UP = 3  # runs that are not counted
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Superserve:
    """A supervisor with directories of its own and one agent."""

    name = "superserve"

    def __init__(self, programs, stack):
        self.directory = tempfile.mkdtemp(prefix="superserve-bench-", dir="/tmp")
        stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        os.chmod(self.directory, 0o755)
        agents = os.path.join(self.directory, "agents")
        os.mkdir(agents)
        self.write("agents/bench.yaml", "name: bench\nprotocol: exec\ncommand: " + json.dumps(AGENT) + "\n")
        config = self.write("superserved.yaml", f"agents_directory: {agents}\nlog_level: error\n")
        self.socket = os.path.join(self.directory, "run", "superserved.sock")
        self.log = open(os.path.join(self.directory, "log"), "wb")
        stack.callback(self.log.close)
        self.process = subprocess.Popen(
            [os.path.join(programs, "superserved"), "--foreground", "--config", config,
             "--state-dir", os.path.join(self.directory, "state"), "--runtime-dir", os.path.dirname(self.socket)],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True)
        stack.callback(self.stop)
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.request("GET", "/healthz")[0] == 200:
                    return
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(self.log.name, encoding="utf-8", errors="replace") as log:
                    sys.exit("superserved did not start: " + log.read()[-2000:])
            time.sleep(0.02)

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def request(self, method, path, body=None):
        connection = Connection(self.socket)
        try:
            connection.request(method, path, body=json.dumps(body) if body is not None else None)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def measure(self):
        began = time.perf_counter()
        connection = Connection(self.socket)
        try:
            connection.request("POST", "/v1/sessions", body=json.dumps({"agent": "bench"}))
            answer = connection.getresponse()
            session = json.loads(answer.read())
            if answer.status != 201:
                sys.exit(f"no session: {session}")
            path = f"/v1/sessions/{session['id']}"
            connection.request("POST", f"{path}/messages", body=json.dumps({"content": "go"}))
            events = connection.getresponse()
            while True:
                line = events.readline()
                if not line:
                    sys.exit("the stream ended without an answer")
                if line.strip() == b"event: message.delta":
                    break
            took = time.perf_counter() - began
            events.read()
        finally:
            connection.close()
        self.request("POST", f"{path}/end")
        return took

    def stop(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.request("POST", "/v1/supervisor/stop")
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


class Command:
    """A program that prints one line and ends."""

    def __init__(self, name, words):
        self.name = name
        self.words = words

    def measure(self):
        began = time.perf_counter()
        process = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        first = process.stdout.read(1)
        took = time.perf_counter() - began
        _, errors = process.communicate()
        if not first or process.returncode != 0:
            raise Unavailable(f"it fails here: {errors.decode(errors='replace').strip()[-200:]}")
        return took


def bubblewrap(_stack):
    words = [find("bwrap", "bubblewrap"), "--unshare-all", "--die-with-parent", "--new-session",
             "--cap-drop", "ALL", "--ro-bind", "/usr", "/usr"]
    for path, link in system_directories():
        words += ["--symlink", link, path] if link else ["--ro-bind", path, path]
    return Command("bubblewrap", words + ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"] + AGENT)


class Runc:
    """runc with its own default namespaces, on a root made of the host's system directories."""

    name = "runc"

    def __init__(self, stack):
        self.program = find("runc", "runc")
        self.bundle = tempfile.mkdtemp(prefix="superserve-bench-runc-", dir="/tmp")
        stack.callback(shutil.rmtree, self.bundle, ignore_errors=True)
        root = os.path.join(self.bundle, "rootfs")
        for name in ("usr", "proc", "dev", "sys", "tmp"):
            os.makedirs(os.path.join(root, name))
        words = [self.program, "spec"] + ([] if os.geteuid() == 0 else ["--rootless"])
        subprocess.run(words, cwd=self.bundle, check=True)
        path = os.path.join(self.bundle, "config.json")
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        config["process"].update(terminal=False, args=AGENT)
        config["root"]["readonly"] = True
        bind = {"type": "bind", "options": ["rbind", "ro", "nosuid", "nodev"]}
        config["mounts"].append({"destination": "/usr", "source": "/usr", **bind})
        for host, link in system_directories():
            if link:
                os.symlink(link, root + host)
            else:
                os.mkdir(root + host)
                config["mounts"].append({"destination": host, "source": host, **bind})
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)
        self.count = 0

    def measure(self):
        self.count += 1
        words = [self.program, "--root", os.path.join(self.bundle, "state"), "run", "--bundle", self.bundle,
                 f"bench-{os.getpid()}-{self.count}"]
        return Command(self.name, words).measure()


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def run(arguments, stack):
    ours = Superserve(arguments.bin, stack)
    subjects, missing = [ours], {}
    for name, make in (("bubblewrap", bubblewrap), ("runc", Runc)):
        try:
            subject = make(stack)
            subject.measure()
            subjects.append(subject)
        except (Unavailable, OSError, subprocess.CalledProcessError) as reason:
            missing[name] = str(reason)
    subjects.append(Command("no sandbox", AGENT))
    times = {subject.name: [] for subject in subjects}
    for turn in range(arguments.count + WARM_UP):
        for subject in subjects:
            took = subject.measure() * 1000
            if turn >= WARM_UP:
                times[subject.name].append(took)
    base = statistics.median(times[ours.name])
    rows = []
    for name, values in times.items():
        rows.append({"name": name, "median_ms": round(statistics.median(values), 2),
                     "p99_ms": round(percentile(values, 0.99), 2),
                     "superserve_takes": round(base / statistics.median(values), 2)})
    return rows, missing


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--bin", default=os.path.join(ROOT, ".build", "release"), help="directory of the programs")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.count < 1:
        parser.error("--count must be at least 1")
    if not os.access(os.path.join(arguments.bin, "superserved"), os.X_OK):
        parser.error(f"{arguments.bin} has no superserved; build it with: make build, or scripts/build release")
    with contextlib.ExitStack() as stack:
        rows, missing = run(arguments, stack)
    if arguments.json:
        print(json.dumps({"count": arguments.count, "results": rows, "missing": missing}))
        return
    print(f"Time to the first byte of {AGENT[0]}, {arguments.count} runs each, in turns\n")
    print(f"{'':14}{'median':>11}{'p99':>11}   superserve takes")
    for row in rows:
        ratio = "" if row["name"] == Superserve.name else f"   {row['superserve_takes']:.2f} times as long"
        print(f"{row['name']:14}{row['median_ms']:8.1f} ms{row['p99_ms']:8.1f} ms{ratio}")
    for name, reason in missing.items():
        print(f"{name:14}not measured: {reason}")


if __name__ == "__main__":
    main()
