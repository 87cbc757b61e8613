"""What the integration tests share: a private supervisor, its API, its command line, and clean-up.

Everything a test makes is in a World; leaving it removes it last-in-first-out whatever happened.
"""

import contextlib
import http.client
import io
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time

# How much slower than an ordinary machine this one is; an emulated processor is many times.
SLOWNESS = float(os.environ.get("SUPERSERVE_TEST_SLOWNESS", "1"))
BIN = os.environ.get("SUPERSERVE_BIN") or os.path.join(os.getcwd(), ".build/debug")


class Failure(Exception):
    """A check that did not hold."""


def check(condition, message):
    if not condition:
        raise Failure(message)


def equal(found, expected, what=""):
    check(found == expected, f"{what}: found {found!r}, expected {expected!r}")


def eventually(probe, what, seconds=20.0):
    """Waits until `probe` returns something true; the deadline is the test's, not the machine's."""
    seconds *= SLOWNESS
    end = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > end:
            raise Failure(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def connect(client, path):
    """Waits while the queue of connections that nobody has accepted yet is full."""
    def connected():
        with contextlib.suppress(BlockingIOError):
            client.connect(path)
            return True
    eventually(connected, "a connection", 30)


class Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path, timeout=60 * SLOWNESS):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        connect(self.sock, self.path)


class Answer:
    def __init__(self, status, body):
        self.status = status
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]


class Stream:
    """A Server-Sent Events stream, read event by event."""

    def __init__(self, connection, response):
        self.connection = connection
        self.response = response

    def __iter__(self):
        fields = {}
        while True:
            line = self.response.readline()
            if not line:
                return
            line = line.decode().rstrip("\n")
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                event = json.loads(fields["data"])
                if fields.get("id") is not None:
                    equal(int(fields["id"]), event["seq"], "id and seq")
                fields = {}
                if event["type"] != "heartbeat":
                    yield event

    def close(self):
        self.connection.close()


class World:
    """A supervisor with directories of its own, run as root or as a plain user."""

    def __init__(self, user=None, config="", state=None):
        self.stack = contextlib.ExitStack()
        self.user = user
        self.config = config
        self.given_state = state
        self.process = None

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="superserve-it-", dir="/tmp")
        self.stack.callback(self.remove)
        os.chmod(self.dir, 0o755)
        self.home = os.path.join(self.dir, "home")
        os.mkdir(self.home, 0o755)
        self.state = self.given_state or os.path.join(self.dir, "state")
        self.runtime = os.path.join(self.dir, "run")
        self.agents = os.path.join(self.dir, "agents")
        os.mkdir(self.agents, 0o755)
        self.config_file = os.path.join(self.dir, "superserved.yaml")
        self.write(self.config_file, f"agents_directory: {self.agents}\n{self.config}\n")
        if self.user:
            entry = pwd.getpwnam(self.user)
            for path in (self.dir, self.home, self.agents):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        self.socket = os.path.join(self.runtime, "superserved.sock")
        self.log = os.path.join(self.dir, "log")
        self.stack.callback(self.stop_everything)
        return self

    def __exit__(self, *exception):
        if exception[0] and os.path.exists(self.log) and os.environ.get("SUPERSERVE_TEST_LOG"):
            print(open(self.log).read()[-6000:])
        self.stack.close()

    def remove(self):
        """Deletes the world's directory, of which parts belong to ids of sandboxes."""
        if os.geteuid() != 0:
            subprocess.run(["unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", self.dir], check=True)
        shutil.rmtree(self.dir, ignore_errors=True)

    def write(self, path, text, mode=0o644):
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
        if self.user:
            entry = pwd.getpwnam(self.user)
            os.chown(path, entry.pw_uid, entry.pw_gid)
        return path

    def agent(self, name, yaml, files=None):
        """An operator's agent file, with a source directory for `files`."""
        if files:
            source = os.path.join(self.agents, name)
            os.makedirs(source, exist_ok=True)
            for file, text in files.items():
                self.write(os.path.join(source, file), text, 0o755)
            yaml += f"\nsource: {name}"
        self.write(os.path.join(self.agents, f"{name}.yaml"), f"name: {name}\n{yaml}\n")

    def environment(self, fault=None):
        """Of every program of this world; `fault` names the place where the supervisor is killed."""
        return {
            **({"SUPERSERVE_FAULT": fault} if fault else {}),
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": self.home, "LANG": "C.UTF-8", "TERM": "xterm-256color",
            "XDG_RUNTIME_DIR": os.path.join(self.home, "xdg-run"),
            "SUPERSERVE_HOST": f"unix://{self.socket}",
        }

    def demoted(self, user=None, groups=None):
        """subprocess arguments for running as the world's (or another) user."""
        name = user or self.user
        if not name:
            return {}
        entry = pwd.getpwnam(name)
        extra = os.getgrouplist(name, entry.pw_gid) if groups is None else groups
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": extra}

    def daemon_arguments(self, *more, program=f"{BIN}/superserved", limits=()):
        return [
            *(["prlimit", *limits] if limits else []), program, "--foreground", "--state-dir", self.state, "--runtime-dir",
            self.runtime, "--config", self.config_file, *more,
        ]

    def start(self, *more, fault=None, **which):
        """Starts the supervisor and waits until it answers."""
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                self.daemon_arguments(*more, **which), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.environment(fault), start_new_session=True, **self.demoted())

        def answers():
            if self.process.poll() is not None:
                raise Failure("superserved ended: " + open(self.log).read()[-2000:])
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self.get("/healthz").status == 200
        eventually(answers, "the supervisor answers", 60)
        return self

    def kill(self, number=signal.SIGKILL):
        """Ends the supervisor alone."""
        self.process.send_signal(number)
        status = self.process.wait(30 * SLOWNESS)
        self.process = None
        return status

    def stop_everything(self):
        """Stops supervisor, launcher and every sandbox of this world."""
        if self.process and self.process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException, Failure):
                self.post("/v1/supervisor/stop")
                self.process.wait(30 * SLOWNESS)
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait(30 * SLOWNESS)
        for pid in processes_with(self.runtime):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(Failure):
            eventually(lambda: not processes_with(self.runtime), "the keeper ends", 15)
        for pid in processes_with(self.runtime):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # The API

    def request(self, method, path, body=None, headers=None):
        connection = Connection(self.socket)
        try:
            data = json.dumps(body) if isinstance(body, (dict, list)) else body
            connection.request(method, path, body=data, headers=headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.read())
        finally:
            connection.close()

    def get(self, path):
        return self.request("GET", path)

    def post(self, path, body=None):
        return self.request("POST", path, body)

    def stream(self, method, path, body=None, headers=None):
        connection = Connection(self.socket, timeout=300 * SLOWNESS)
        connection.request(method, path, body=json.dumps(body) if body else None, headers=headers or {})
        response = connection.getresponse()
        check(response.status == 200, f"{path}: {response.status} {response.read() if response.status != 200 else ''}")
        return Stream(connection, response)

    def create(self, agent, **options):
        answer = self.post("/v1/sessions", {"agent": agent, **options})
        equal(answer.status, 201, f"create {agent}: {answer.body!r}")
        return answer.json

    def send(self, session, content):
        return self.stream("POST", f"/v1/sessions/{session['id']}/messages", {"content": content})

    def say(self, session, content):
        """One whole turn: its events."""
        return list(self.send(session, content))

    def ask(self, session, content):
        """One whole turn: the agent's text; anything but success is a failure."""
        events = self.say(session, content)
        equal(events[-1]["type"], "run.completed", f"{content}: {events[-1]}")
        return text_of(events)

    def sessions(self, query=""):
        """Everybody's sessions, newest activity first."""
        return self.get(f"/v1/sessions?all=1{query}").json["sessions"]

    def show(self, session):
        return self.get(f"/v1/sessions/{session['id']}").json

    def tree(self, session):
        return os.path.join(self.state, "sessions", session["id"][4:].replace("-", ""))

    # The command line

    def cli(self, *arguments, user=None, stdin=subprocess.DEVNULL, timeout=60, input=None):
        options = {"input": input} if input is not None else {"stdin": stdin}
        return subprocess.run(
            [f"{BIN}/superserve", *arguments], capture_output=True, text=True, timeout=timeout * SLOWNESS,
            env=self.environment(), cwd=self.dir, **options, **self.demoted(user))


def get_files(world, session, path):
    return world.get(f"/v1/sessions/{session['id']}/files?path={path}")


def put_files(world, session, path, members):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member, content in members:
            if content is not None:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content) if content is not None else None)
    return world.request(
        "PUT", f"/v1/sessions/{session['id']}/files?path={path}", data.getvalue(),
        {"Content-Type": "application/x-tar"})


def text_of(events):
    return "".join(e["content"] for e in events if e["type"] == "message.delta")


def processes_with(text):
    """Pids of processes that have `text` in their command line."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command = open(f"/proc/{name}/cmdline", "rb").read()
            if text.encode() in command and b"superserve" in command.split(b"\0")[0]:
                found.append(int(name))
    return found


def children_named(marker):
    """Host pids of processes whose command line contains `marker`."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if marker.encode() in open(f"/proc/{name}/cmdline", "rb").read():
                    found.append(int(name))
    return sorted(found)
