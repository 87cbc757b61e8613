"""What the isolation tests share: the programs that are tried, worlds to try them in, and what lies on the host.

A world is the integration tests' one: a private supervisor in directories of its own, whose leaving removes all.
"""

import contextlib
import ctypes
import glob
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "Tests", "Integration"))

import harness  # noqa: E402
from harness import Failure, check, equal, eventually  # noqa: E402,F401

WARNINGS = ["-std=gnu17", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Wshadow", "-Wstrict-prototypes", "-Werror"]
AGENT = """protocol: exec
command: [/bin/sh, -c, "exec 2>&1; {message}"]
turn_timeout: 2m
"""
MARK = 0x53530000  # System V keys of these tests lie from here on
libc = ctypes.CDLL(None, use_errno=True)


def attempt(suite, name, function, *arguments):
    """Calls a test with the suite; an exception is a failure of it. Prints how it went."""
    before, began = len(suite.failures), time.monotonic()
    try:
        function(suite, *arguments)
    except Exception as error:  # noqa: BLE001 - every failure is reported
        suite.fail(f"{name}: {str(error)[:3000]}")
        if not isinstance(error, Failure):
            traceback.print_exc()
    word = "ok  " if len(suite.failures) == before else "FAIL"
    print(f"{word} {name} ({time.monotonic() - began:.1f}s)", flush=True)


class Programs:
    """Compiled once, where every account can read them; removed at the end."""

    def __init__(self, stack, launcher=None):
        self.directory = tempfile.mkdtemp(prefix="superserve-isolation-", dir="/tmp")
        stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        os.chmod(self.directory, 0o755)
        self.launcher = launcher or os.path.join(harness.BIN, "superserve-launcher")
        self.probe = os.path.join(self.directory, "probe")
        # Where no compiler can make it, it comes from elsewhere.
        given = os.environ.get("SUPERSERVE_WEAK_LAUNCHER")
        self.weak = given or os.path.join(self.directory, "superserve-launcher")
        compile_c(self.probe, glob.glob(os.path.join(HERE, "probe", "*.c")), ["-Wconversion"])
        self.doors = doors(self.probe)

    def make_weak(self):
        """The launcher with the switch that the installed one does not have."""
        if not os.path.exists(self.weak):
            compile_weak(self.weak)
        return self.weak


def compile_weak(target):
    module = os.path.join(ROOT, "CSandbox")
    sources = glob.glob(os.path.join(module, "*.c"))
    sources.append(os.path.join(ROOT, "Sources", "superserve-launcher", "main.c"))
    compile_c(target, sources, ["-DCSANDBOX_WEAKEN=1", "-I", os.path.join(module, "include"), "-lseccomp", "-lcap"])


def compile_c(target, sources, options):
    libraries = [word for word in options if word.startswith("-l")]
    flags = [word for word in options if not word.startswith("-l")]
    # The launcher's headers need clang, which comes with Swift; the probe is for either.
    done = subprocess.run(
        [shutil.which("clang") or "gcc", *WARNINGS, *flags, "-static", "-o", target, *sorted(sources), *libraries],
        capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"{os.path.basename(target)} does not compile:\n{done.stderr[-3000:]}")
    os.chmod(target, 0o755)


class Door:
    def __init__(self, line):
        self.name, self.group, bare, cves = line.split("\t")
        self.bare = bare == "1"
        self.cves = cves.split()


def doors(probe):
    listed = subprocess.run([probe, "list"], capture_output=True, text=True, check=True)
    return {door.name: door for door in map(Door, listed.stdout.splitlines())}


class Verdicts(dict):
    """What a run of the probe said: door -> (verdict, detail)."""

    def __init__(self, output):
        super().__init__()
        for line in output.splitlines():
            fields = line.split("\t")
            if len(fields) == 3 and fields[0] in ("SHUT", "OPEN", "BROKEN"):
                self[fields[1]] = (fields[0], fields[2])

    def named(self, verdict):
        return {name for name, found in self.items() if found[0] == verdict}

    @property
    def open(self):
        return self.named("OPEN")


class Host:
    """Things of the host that a session must not reach, and their names as parameters of the probe."""

    def __init__(self, world, stack):
        self.parameters = {"host.name": os.uname().nodename}
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.parameters["host.port"] = server.getsockname()[1]
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        self.parameters["host.abstract"] = f"superserve-isolation-{os.getpid()}"
        abstract.bind("\0" + self.parameters["host.abstract"])
        abstract.listen()
        named = stack.enter_context(socket.socket(socket.AF_UNIX))
        self.parameters["host.socket"] = os.path.join(world.dir, "host.sock")
        named.bind(self.parameters["host.socket"])
        named.listen()
        os.chmod(self.parameters["host.socket"], 0o777)
        self.parameters["host.file"] = world.write(os.path.join(world.dir, "canary"), "of the host")
        self.parameters["host.state"] = world.state
        self.keep_memory(stack)
        sleeper = subprocess.Popen(["sleep", "3600"], stdin=subprocess.DEVNULL)
        stack.callback(sleeper.wait)
        stack.callback(sleeper.kill)
        self.parameters["host.pid"], self.parameters["host.comm"] = sleeper.pid, "sleep"
        primary, secondary = os.openpty()
        stack.callback(os.close, primary)
        stack.callback(os.close, secondary)
        self.parameters["host.pts"] = os.ttyname(secondary)

    def keep_memory(self, stack):
        """Shared memory and a message queue that everybody on the host may use."""
        key = MARK + os.getpid() % 0x10000
        memory = libc.shmget(key, 4096, 0o1666)
        queue = libc.msgget(key, 0o1666)
        check(memory >= 0 and queue >= 0, "System V objects of the host")
        stack.callback(libc.shmctl, memory, 0, None)
        stack.callback(libc.msgctl, queue, 0, None)
        self.parameters["host.shmkey"] = self.parameters["host.msgkey"] = key

    def words(self):
        return [f"{name}={value}" for name, value in self.parameters.items()]


class Setting(harness.World):
    """A world with the probe as an agent's source."""

    def __init__(self, programs, user=None, weak=False, config=""):
        super().__init__(user=user, config=config)
        self.programs = programs
        self.weak = weak

    def __enter__(self):
        super().__enter__()
        source = os.path.join(self.agents, "probe")
        os.mkdir(source, 0o755)
        shutil.copy(self.programs.probe, source)
        self.agent("probe", AGENT + "source: probe")
        self.host = Host(self, self.stack)
        return self

    def start(self, *more):
        launcher = self.programs.make_weak() if self.weak else self.programs.launcher
        return super().start("--launcher", launcher, *more)

    def environment(self, *fault):
        # What must not come through to a session.
        return {**super().environment(*fault), "AWS_SECRET_ACCESS_KEY": "of the host", "LD_LIBRARY_PATH": "/nonexistent"}

    def weaken(self, walls):
        """What the weak launcher leaves out of the sessions that it starts from now on."""
        path = os.path.join(self.runtime, "weaken")
        with open(path + ".new", "w") as file:
            file.write("\n".join(walls))
        os.chmod(path + ".new", 0o644)
        os.rename(path + ".new", path)

    def run(self, session, script):
        """The output of a shell script, run as the agent."""
        return self.ask(session, script + "\ntrue")

    def python(self, session, script, *arguments):
        quoted = " ".join("'" + str(word).replace("'", "'\\''") + "'" for word in arguments)
        body = script.replace("'", "'\\''")
        return self.run(session, f"python3 -c '{body}' {quoted}")

    def probe(self, session, *words):
        """Verdicts of the doors, tried from inside."""
        every = self.host.words() + list(words)
        return Verdicts(self.run(session, "/agent/probe run " + " ".join(f"'{word}'" for word in every)))

    @contextlib.contextmanager
    def session(self, agent="probe"):
        session = self.create(agent)
        try:
            yield session
        finally:
            with contextlib.suppress(OSError):
                self.post(f"/v1/sessions/{session['id']}/end")


def is_root():
    return os.geteuid() == 0


if __name__ == "__main__":  # PATH: the launcher with the switch, for where there is no compiler
    compile_weak(sys.argv[1])
