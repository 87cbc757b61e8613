"""A keeper with its launcher in directories of its own, and sessions in it, for tests.

Everything that is made is unmade in reverse order, whatever happens.
"""

import contextlib
import os
import pwd
import secrets
import signal
import subprocess
import tempfile
import time

import wire

SERVICE_ID = 1900000000  # what root's keeper takes by default


class Session:
    """A spawned session; `connect` as often as wanted."""

    def __init__(self, world, ident, block):
        self.world = world
        self.id = ident
        self.block = block
        self.nonce = secrets.token_bytes(wire.NONCE_SIZE)
        self.path = os.path.join(world.runtime, "s", ident + ".sock")
        self.tree = os.path.join(world.state, "sessions", ident)
        self.pid = None
        self.start_time = None
        self.connections = []

    def spawn(self, launcher=None, **options):
        pairs = [("SESSION", self.id), ("BLOCK", self.block), ("NONCE", self.nonce)]
        for mount in options.pop("mounts", []):
            pairs.append(("MOUNT", mount))
        for port in options.pop("ports", []):
            pairs.append(("PORT", port))
        pairs += [(name.upper(), value) for name, value in options.items()]
        answer = dict((launcher or self.world.launcher).ask(wire.SPAWN, *pairs))
        self.pid, self.start_time = answer["PID"], answer["START_TIME"]
        self.measures, self.landlock = answer["MEASURES"], answer["LANDLOCK"]
        self.enforced, self.note = wire.enforced(answer["ENFORCED"]), answer.get("DETAIL", "")
        return self

    def connect(self, **options):
        init = wire.Init(self.path, self.nonce, **options)
        init.session = self
        self.connections.append(init)
        return init

    def alive(self):
        return self.pid is not None and start_time(self.pid) == self.start_time

    def wait_gone(self, timeout=wire.DEADLINE):
        deadline = time.monotonic() + timeout
        while self.alive():
            if time.monotonic() > deadline:
                raise TimeoutError("init is still there")
            time.sleep(0.01)  # it is nobody's child here: no event

    def end(self):
        for connection in self.connections:
            connection.close()
        with self.world.fresh_launcher() as launcher:
            if self.alive():
                launcher.ask(wire.KILL, ("PID", self.pid), ("START_TIME", self.start_time))
            launcher.ask(wire.DESTROY, ("SESSION", self.id))


def start_time(pid):
    """Field 22 of /proc/<pid>/stat; None when there is no such process (or only its zombie)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            rest = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if rest[0] == b"Z" else int(rest[19])


def status_field(pid, name):
    """A line of /proc/<pid>/status."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        for line in file:
            if line.startswith(name + ":"):
                return line.partition(":")[2].strip()
    return None


def ids_of(pid):
    """Real, effective, saved and file-system uid, as the host sees them."""
    return [int(word) for word in status_field(pid, "Uid").split()]


def outside_ids(pid):
    """Host ids of the ids in the process's user namespace."""
    with open(f"/proc/{pid}/uid_map", encoding="ascii") as file:
        lines = [[int(word) for word in line.split()] for line in file]
    return {inside: outside for inside, outside, _ in lines}


def living():
    """(pid, parent) of every process that is more than its zombie."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"/proc/{name}/stat", "rb") as file:
                rest = file.read().rpartition(b")")[2].split()
            if rest[0] not in b"ZX":
                yield int(name), int(rest[1])


def children_of(pid):
    return [child for child, parent in living() if parent == pid]


class World:
    """`with World(path) as world:` runs a keeper; `as_user` names the account it runs under.

    `state_link`: the keeper hears of its state directory by a symbolic link."""

    def __init__(self, program, as_user=None, state_link=False):
        self.program = os.path.abspath(program)
        self.stack = contextlib.ExitStack()
        self.next_block = 0
        if as_user is not None:
            account = pwd.getpwnam(as_user)
            self.uid, self.gid, self.home = account.pw_uid, account.pw_gid, account.pw_dir
        elif os.geteuid() == 0:
            self.uid = self.gid = SERVICE_ID
            self.home = "/"
        else:
            self.uid, self.gid, self.home = os.geteuid(), os.getegid(), os.path.expanduser("~")
        self.as_user = as_user
        self.state_link = state_link
        self.root = os.geteuid() == 0 and as_user is None

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.stack = stack
            self.base = tempfile.mkdtemp(prefix="csandbox-test-")
            # Not shutil.rmtree: it recurses, and hostile trees are deep.
            stack.callback(subprocess.run, ["rm", "-rf", "--one-file-system", self.base], check=False)
            os.chmod(self.base, 0o711)
            self.state = self.make_directory("state")
            self.runtime = self.make_directory("run")
            if self.root:
                self.make_directory("state/sessions")
                self.make_directory("run/s")
            if self.state_link:
                os.symlink("state", os.path.join(self.base, "link"))
                self.state = os.path.join(self.base, "link")
            self.log = open(os.path.join(self.base, "log"), "ab+")
            stack.callback(self.log.close)
            self.start_keeper()
            stack.callback(self.stop_keeper)
            self.launcher = self.connect()
            stack.callback(lambda: self.launcher.close())
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *exception):
        return self.stack.__exit__(*exception)

    def make_directory(self, name):
        path = os.path.join(self.base, name)
        os.mkdir(path, 0o700)
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)
        return path

    def keeper_command(self, ready_fd, runtime=None, state=None):
        return [self.program, "keeper", "--state-dir", state or self.state, "--runtime-dir",
                runtime or self.runtime, "--ready-fd", str(ready_fd)]

    def run_keeper(self, *extra, **directories):
        """(process, what it said on its ready descriptor)."""
        reading, writing = os.pipe()
        account = {}
        if self.as_user is not None:
            account = {"user": self.uid, "group": self.gid, "extra_groups": []}
        process = subprocess.Popen(
            self.keeper_command(writing, **directories) + list(extra), pass_fds=[writing],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.log, cwd="/",
            env={"PATH": "/usr/local/bin:/usr/bin:/bin"}, start_new_session=True, **account)
        os.close(writing)
        with os.fdopen(reading, "r", encoding="utf-8") as ready:
            return process, ready.read()

    def start_keeper(self):
        self.keeper, said = self.run_keeper()
        if said != "ready\n":
            self.keeper.wait()
            raise RuntimeError(f"keeper: {said!r}")

    def stop_keeper(self):
        if self.keeper.poll() is None:
            self.keeper.send_signal(signal.SIGTERM)
            try:
                self.keeper.wait(wire.DEADLINE)
            except subprocess.TimeoutExpired:
                self.keeper.kill()
                self.keeper.wait()
                raise
        return self.keeper.returncode

    @contextlib.contextmanager
    def as_service(self):
        """The launcher serves the service's own user only, as of connect()."""
        if os.geteuid() != 0:
            yield
            return
        groups = os.getgroups()
        os.setgroups([])
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)

    def connect(self):
        with self.as_service():
            return wire.Launcher(os.path.join(self.runtime, "launcher.sock"))

    @contextlib.contextmanager
    def fresh_launcher(self):
        connection = self.connect()
        try:
            yield connection
        finally:
            connection.close()

    def prepare(self):
        """A session with its tree, not spawned."""
        session = Session(self, secrets.token_hex(16), self.next_block)
        self.next_block += 1
        self.launcher.ask(wire.PREPARE, ("SESSION", session.id), ("BLOCK", session.block))
        return session

    @contextlib.contextmanager
    def session(self, **options):
        """A spawned session that is gone afterwards."""
        session = self.prepare()
        try:
            yield session.spawn(**options)
        finally:
            session.end()

    @contextlib.contextmanager
    def init(self, **options):
        """A spawned session's first connection."""
        with self.session(**options) as session:
            yield session.connect()
