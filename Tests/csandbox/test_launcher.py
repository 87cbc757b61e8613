"""What keeper and launcher promise: requests, trees, mounts, and what is left when things end."""

import contextlib
import errno
import os
import random
import secrets
import select
import shutil
import signal
import socket
import stat
import subprocess
import time
import unittest

import wire
import world as fixtures
from test_isolation import ENV
from wire import Disconnected, Failed

STOP = 8


@contextlib.contextmanager
def refused(*errnos, stage=None):
    """The block must end in FAILED with one of these errnos."""
    try:
        yield
    except Failed as failure:
        assert failure.errno in errnos, failure
        assert stage is None or failure.stage == stage, failure
        assert failure.detail, "a failure without detail"
        return
    raise AssertionError("was not refused")


@contextlib.contextmanager
def own_world(world, **options):
    """Another keeper, for tests that end it."""
    with fixtures.World(world.program, world.as_user, **options) as fresh:
        yield fresh


def need_root():
    if os.geteuid() != 0:
        raise unittest.SkipTest("needs root to look into trees of other ids")


def need_groups(world):
    """Root's keepers make groups wherever cgroup v2 is mounted."""
    mounted = any(os.path.ismount(path) for path in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"))
    if not world.root or not mounted:
        raise unittest.SkipTest("no cgroup of our own to write")


def group_of(session):
    """The one directory of the session's group."""
    places = (os.path.join(top, session.id) for top in groups())
    found = [path for path in places if os.path.isdir(path)]
    assert len(found) == 1, found
    return found[0]


def children(pid):
    """Every descendant."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/stat", "rb") as file:
                parents.setdefault(int(file.read().rpartition(b")")[2].split()[1]), []).append(
                    int(name)
                )
    found, waiting = [], [pid]
    while waiting:
        direct = parents.get(waiting.pop(), [])
        found += direct
        waiting += direct
    return found


def wait_until(condition, timeout=wire.DEADLINE):
    """For what no descriptor tells."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(0.005)


def launcher_pid(world):
    return dict(world.launcher.ask(wire.LAUNCHER_HELLO))["PID"]


def groups():
    """Session groups in any cgroup v2 hierarchy."""
    return {
        os.path.join(place, name)
        for place, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if name.startswith("superserve-sessions.")
    }


# --- requests -------------------------------------------------------------------------------------


def test_hello_tells_the_pool(world):
    answer = dict(world.launcher.ask(wire.LAUNCHER_HELLO))
    assert answer["BLOCKS"] >= 1
    assert fixtures.start_time(answer["PID"]) == answer["START_TIME"]


def test_hello_tells_the_state_directory(world):
    with own_world(world, state_link=True) as other:
        # A supervisor that reached the wrong launcher sees it, however either was named.
        answer = dict(other.launcher.ask(wire.LAUNCHER_HELLO))
        assert answer["STATE_DIR"] == os.path.realpath(other.state) != other.state
    assert dict(world.launcher.ask(wire.LAUNCHER_HELLO))["STATE_DIR"] == os.path.realpath(world.state)


def test_unknown_and_malformed_requests(world):
    with refused(wire.ENOSYS, stage="request"):
        world.launcher.ask(31)
    with world.fresh_launcher() as launcher:
        launcher.send(0, raw=b"no frame at all, but long enough for a header")
        try:
            launcher.receive()
            raise AssertionError("stayed connected")
        except Disconnected:
            pass
    for bad in "", "x" * 32, "A" * 32, "0" * 31, "0" * 33, "../" + "0" * 29, "." * 32:
        for kind in wire.PREPARE, wire.DESTROY, wire.MEASURE, wire.SPAWN:
            with refused(wire.EINVAL, stage="request"):
                world.launcher.ask(kind, ("SESSION", bad), ("BLOCK", 0), ("NONCE", bytes(16)))
    good = secrets.token_hex(16)
    with refused(wire.EINVAL):
        world.launcher.ask(wire.PREPARE, ("SESSION", good))
    with refused(errno.ERANGE, stage="id range"):
        world.launcher.ask(wire.PREPARE, ("SESSION", good), ("BLOCK", 1 << 40))
    with refused(wire.EINVAL):
        world.launcher.ask(wire.KILL, ("PID", 1))
    session = world.prepare()
    for nonce in b"", bytes(15), bytes(17):
        with refused(wire.EINVAL):
            world.launcher.ask(
                wire.SPAWN, ("SESSION", session.id), ("BLOCK", session.block), ("NONCE", nonce)
            )
    session.end()


def test_only_the_service_may_connect(world):
    need_root()
    # As host root, which passes every directory: the credentials are what is checked.
    connection = wire.Connection(os.path.join(world.runtime, "launcher.sock"))
    try:
        connection.send(wire.LAUNCHER_HELLO, b"", 1)
        connection.receive()
        raise AssertionError("root was served")
    except Disconnected:
        pass
    finally:
        connection.close()
    assert stat.S_IMODE(os.stat(os.path.join(world.runtime, "launcher.sock")).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.join(world.runtime, "s")).st_mode) == 0o700


def test_random_requests_do_no_harm(world):
    generator = random.Random(20250)
    pid = launcher_pid(world)
    for _ in range(20):
        with world.fresh_launcher() as launcher, contextlib.suppress(Disconnected):
            for _ in range(100):
                payload = bytearray()
                for _ in range(generator.randrange(6)):
                    value = generator.randbytes(generator.choice([0, 1, 8, 16, 32, 200]))
                    if generator.random() < 0.3:
                        value = secrets.token_hex(16).encode()
                    length = (
                        len(value) if generator.random() < 0.9 else generator.randrange(1 << 32)
                    )
                    payload += wire.FIELD.pack(generator.randrange(1, 30), 0, length) + value
                # Not STOP, which would be obeyed.
                kind = generator.choice(
                    [
                        wire.LAUNCHER_HELLO,
                        wire.PREPARE,
                        wire.SPAWN,
                        wire.KILL,
                        wire.DESTROY,
                        wire.MEASURE,
                    ]
                )
                launcher.send(kind, bytes(payload), generator.randrange(1 << 32))
    assert launcher_pid(world) == pid


def test_many_connections(world):
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(world.fresh_launcher()) for _ in range(15)]
        for connection in connections:
            assert connection.ask(wire.LAUNCHER_HELLO)
        # One more than there are slots waits, and is served when another leaves.
        waiting = stack.enter_context(world.fresh_launcher())
        request = waiting.begin(wire.LAUNCHER_HELLO)
        connections[0].close()
        assert waiting.answer(request)


# --- trees ----------------------------------------------------------------------------------------


def outer_id(world, slot, block):
    """Host id of a slot of a block, by the launcher's own map."""
    with open(f"/proc/{launcher_pid(world)}/uid_map", encoding="ascii") as file:
        first = next(int(line.split()[1]) for line in file if line.split()[0] == "1")
    return first + 4 * block + slot


def test_prepare_makes_a_tree_of_the_agent(world):
    need_root()
    session = world.prepare()
    world.launcher.ask(wire.PREPARE, ("SESSION", session.id), ("BLOCK", session.block))
    agent = outer_id(world, 1, session.block)
    top = os.stat(session.tree)
    assert (top.st_uid, stat.S_IMODE(top.st_mode)) == (world.uid, 0o700)
    for name in "workspace", "home":
        status = os.stat(os.path.join(session.tree, name))
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (agent, agent, 0o700)
    with refused(wire.EEXIST):
        world.launcher.ask(wire.PREPARE, ("SESSION", session.id), ("BLOCK", session.block + 1))
    with refused(wire.EPERM):
        world.launcher.ask(
            wire.SPAWN, ("SESSION", session.id), ("BLOCK", session.block + 1), ("NONCE", bytes(16))
        )
    session.end()
    assert not os.path.exists(session.tree)
    world.launcher.ask(wire.DESTROY, ("SESSION", session.id))


def test_planted_links_are_refused(world):
    need_root()
    decoy = world.make_directory("decoy-" + secrets.token_hex(4))
    before = os.stat(decoy)
    session = world.prepare()
    for name in "workspace", "home":
        place = os.path.join(session.tree, name)
        os.rmdir(place)
        os.symlink(decoy, place)
        with refused(wire.ENOTDIR, wire.ELOOP):
            world.launcher.ask(wire.PREPARE, ("SESSION", session.id), ("BLOCK", session.block))
        with refused(wire.ENOTDIR, wire.ELOOP):
            session.spawn()
        os.unlink(place)
    world.launcher.ask(wire.DESTROY, ("SESSION", session.id))
    os.symlink(decoy, session.tree)
    for kind in wire.PREPARE, wire.DESTROY, wire.MEASURE:
        with refused(wire.ENOTDIR, wire.ELOOP):
            world.launcher.ask(kind, ("SESSION", session.id), ("BLOCK", session.block))
    os.unlink(session.tree)
    after = os.stat(decoy)
    assert (before.st_uid, before.st_mode, before.st_mtime_ns) == (
        after.st_uid,
        after.st_mode,
        after.st_mtime_ns,
    )


# From the bottom up, a piece at a time: Landlock looks at every directory above a new one.
DEEP = """
import os, sys
top = os.open('/workspace', os.O_RDONLY)
for piece in range(int(sys.argv[1]) // 500):
    os.chdir(top)
    os.mkdir(f'{piece}')
    os.chdir(f'{piece}')
    for level in range(499):
        os.mkdir('d')
        os.chdir('d')
    if piece == 0: open('bottom', 'w').write('x' * 5000)
    else: os.rename(f'{piece - 1}', 'd', src_dir_fd=top)
"""


def test_destroy_of_hostile_trees(world):
    with world.session() as session:
        init = session.connect()
        script = (
            "mkdir -p ~/a/b ~/c; touch ~/a/b/f ~/.1 ~/.2; mkdir -p ~/.3/.0/.1; ln -s / ~/link; ln -s /etc/passwd ~/c/p; mkfifo ~/c/q; "
            "for i in $(seq 300); do mkdir -p ~/w/$i/x; touch ~/w/$i/x/f ~/w/g$i; done; "
            "touch ~/$(printf 'n%.0s' $(seq 255)); chmod 0 ~/a/b ~/a ~/.3 ~"
        )
        result, _, err = init.run(1, ["bash", "-c", script], ENV, timeout=300 * wire.SLOWNESS)
        assert result[0] == 0, err
        result, _, err = init.run(2, ["python3", "-c", DEEP, "20000"], ENV, timeout=300 * wire.SLOWNESS)
        assert result[0] == 0, err
        found = dict(world.launcher.ask(wire.MEASURE, ("SESSION", session.id), timeout=300 * wire.SLOWNESS))
        assert found["FILES"] > 20000 + 1200 and found["BYTES"] >= 5000, found
        with refused(wire.EBUSY):
            world.launcher.ask(wire.DESTROY, ("SESSION", session.id))
        world.launcher.ask(wire.KILL, ("PID", session.pid), ("START_TIME", session.start_time))
        started = time.monotonic()
        request = world.launcher.begin(wire.DESTROY, ("SESSION", session.id))
        # Meanwhile others are served.
        with world.session() as other:
            other.connect()
            meanwhile = time.monotonic() - started
        world.launcher.answer(request, 300 * wire.SLOWNESS)
        print(
            f"        20,000 levels deleted in {time.monotonic() - started:.1f} s; a session meanwhile: {meanwhile:.2f} s"
        )
        assert not os.path.lexists(session.tree) or os.geteuid() != 0
    assert os.path.exists("/etc/passwd")


@contextlib.contextmanager
def mounted(world, *arguments):
    """A mount that the launcher sees, as one of the host's would be."""
    place = ["nsenter", f"--mount=/proc/{launcher_pid(world)}/ns/mnt"]
    subprocess.run([*place, "mount", *arguments], check=True)
    try:
        yield
    finally:
        # It may have been moved, with the directory that it hangs on.
        with open(f"/proc/{launcher_pid(world)}/mountinfo", encoding="utf-8") as file:
            points = [line.split()[4] for line in file]
        point = next(point for point in points if point.startswith(world.state + "/sessions/"))
        subprocess.run([*place, "umount", point], check=True)


def test_destroy_stays_on_the_sessions_file_system(world):
    need_root()
    session = world.prepare()
    canary = os.path.join(world.base, "canary")
    os.makedirs(os.path.join(canary, "deep"))
    open(os.path.join(canary, "deep", "file"), "w").close()
    agent = outer_id(world, 1, session.block)
    inside = os.path.join(session.tree, "workspace", "a", "b", "mount")

    def make(path):
        """A directory of the agent, and those above it."""
        if not os.path.isdir(path):
            make(os.path.dirname(path))
            os.mkdir(path)
            os.chown(path, agent, agent)

    # A bind of the same file system, and another one over a directory of the top.
    for arguments in (
        ["--bind", canary, inside],
        ["--bind", canary, os.path.join(session.tree, "workspace")],
        ["-t", "tmpfs", "none", os.path.join(session.tree, "home")],
        ["--bind", canary, session.tree],
    ):
        make(inside)
        make(arguments[-1])
        with mounted(world, *arguments):
            with refused(errno.EXDEV, stage="destroy"):
                world.launcher.ask(wire.DESTROY, ("SESSION", session.id))
            assert os.listdir(os.path.join(canary, "deep")) == ["file"]
    world.launcher.ask(wire.DESTROY, ("SESSION", session.id))
    assert not os.path.lexists(session.tree)
    assert os.listdir(os.path.join(canary, "deep")) == ["file"]


def test_measure_counts_once(world):
    with world.session() as session:
        init = session.connect()
        base = dict(world.launcher.ask(wire.MEASURE, ("SESSION", session.id)))
        script = "head -c 1000000 /dev/urandom >/workspace/f; for i in $(seq 9); do ln /workspace/f /workspace/l$i; done; ln -s f /workspace/s; sync"
        init.run(1, ["bash", "-c", script], ENV)
        found = dict(world.launcher.ask(wire.MEASURE, ("SESSION", session.id)))
        assert found["FILES"] - base["FILES"] == 11
        assert 1000000 <= found["BYTES"] - base["BYTES"] < 1100000, (base, found)
        with refused(wire.ENOENT):
            world.launcher.ask(wire.MEASURE, ("SESSION", "0" * 32))


def test_list_in_fragments(world):
    with own_world(world) as fresh:
        wanted = {secrets.token_hex(16) for _ in range(5000)}
        sessions = os.path.join(fresh.state, "sessions")
        for name in wanted | {"not-a-session"}:
            os.mkdir(os.path.join(sessions, name), 0o700)
        assert {value for _, value in fresh.launcher.ask(wire.LIST)} == wanted


def test_a_silent_client_holds_nobody_up(world):
    with own_world(world) as fresh:
        for _ in range(3000):
            os.mkdir(os.path.join(fresh.state, "sessions", secrets.token_hex(16)), 0o700)
        with fresh.fresh_launcher() as silent:
            with contextlib.suppress(Disconnected, TimeoutError):
                for _ in range(200):  # far more answers than may wait
                    silent.begin(wire.LIST)
            assert fresh.launcher.ask(wire.LAUNCHER_HELLO, timeout=5 * wire.SLOWNESS)
        assert fixtures.status_field(launcher_pid(fresh), "VmRSS").split()[0] < "9" * 5


# --- spawn ----------------------------------------------------------------------------------------


def test_spawn_needs_a_tree_and_a_free_block(world):
    with refused(wire.ENOENT):
        world.launcher.ask(
            wire.SPAWN, ("SESSION", secrets.token_hex(16)), ("BLOCK", 9), ("NONCE", bytes(16))
        )
    with world.session() as session:
        with refused(wire.EBUSY):
            session.spawn()
        other = world.prepare()
        with refused(wire.EBUSY):
            world.launcher.ask(
                wire.SPAWN, ("SESSION", other.id), ("BLOCK", session.block), ("NONCE", bytes(16))
            )
        other.end()


def test_many_at_once(world):
    sessions = [world.prepare() for _ in range(100)]
    requests = [
        world.launcher.begin(
            wire.SPAWN, ("SESSION", session.id), ("BLOCK", session.block), ("NONCE", session.nonce)
        )
        for session in sessions
    ]
    for session, request in zip(sessions, requests):
        answer = dict(world.launcher.answer(request))
        session.pid, session.start_time = answer["PID"], answer["START_TIME"]
    assert len({session.pid for session in sessions}) == 100
    for session in sessions:
        assert session.connect().run(1, ["echo", "hello"], ENV)[1] == b"hello\n"
        session.end()


@contextlib.contextmanager
def host_directory(world, mode=0o755):
    """A directory with a file, outside the supervisor's own, that the service can read."""
    path = os.path.join(world.base, "host-" + secrets.token_hex(4))
    os.makedirs(os.path.join(path, "sub"))
    with open(os.path.join(path, "file"), "w", encoding="ascii") as file:
        file.write("from the host\n")
    os.chmod(os.path.join(path, "file"), 0o666)  # only the mount protects it
    os.chmod(path, mode)
    try:
        yield os.path.realpath(path)
    finally:
        shutil.rmtree(path)


def test_source_is_read_only(world):
    with host_directory(world) as path, world.init(source=path) as init:
        result, out, err = init.run(
            1, ["bash", "-c", "cat /agent/file; touch /agent/new /agent/file"], ENV
        )
        assert out == b"from the host\n" and err.count(b"Read-only file system") == 2, (out, err)
        assert sorted(os.listdir(path)) == ["file", "sub"]


def test_sources_that_are_refused(world):
    session = world.prepare()
    with host_directory(world) as path:
        os.symlink(path, path + "-link")
        try:
            cases = [
                ("missing", path + "/absent", wire.ENOENT),
                ("a link", path + "-link", wire.ELOOP),
                ("below a link", path + "-link/sub", wire.ELOOP),
                ("a file", path + "/file", wire.ENOTDIR),
                ("relative", "etc", wire.EINVAL),
                ("dots", path + "/../etc", wire.EINVAL),
                ("slash", path + "/", wire.EINVAL),
                ("the state", os.path.realpath(world.state), wire.EPERM),
                ("above it", os.path.realpath(world.base), wire.EPERM),
                ("the host's root", "/", wire.EPERM),
                ("the sockets", os.path.realpath(world.runtime), wire.EPERM),
                ("below them", os.path.realpath(world.runtime) + "/s", wire.EPERM),
                ("all sessions", os.path.realpath(world.state) + "/sessions", wire.EPERM),
                ("a session", os.path.realpath(session.tree), wire.EPERM),
                ("a magic link", "/proc/self/root", wire.ELOOP),
                ("a device", "/dev/null", wire.ENOTDIR),
            ]
            for what, place, expected in cases:
                for option in (
                    {"source": place},
                    {"root": place},
                    {"mounts": [place.encode() + b"\0/data"]},
                ):
                    if what == "a file" and "mounts" in option:
                        continue
                    with refused(expected):
                        session.spawn(**option)
                    assert not os.path.exists(session.path), (what, option)
        finally:
            os.unlink(path + "-link")
    # The agents directory may live in the state directory.
    agents = world.make_directory("state/agent-" + secrets.token_hex(4))
    with refused(wire.EPERM):
        session.spawn(mounts=[os.path.realpath(agents).encode() + b"\0/data"])
    session.spawn(source=os.path.realpath(agents))
    session.end()
    os.rmdir(agents)


def test_a_source_that_the_service_cannot_enter(world):
    need_root()
    with host_directory(world, 0o700) as path:
        session = world.prepare()
        os.chown(path, 0, 0)
        os.makedirs(os.path.join(path, "inner"))
        with refused(wire.EACCES):
            session.spawn(source=os.path.join(path, "inner"))
        session.end()


def test_mounts(world):
    with host_directory(world) as path:
        mounts = [
            path.encode() + b"\0/data",
            path.encode() + b"\0/deep/er/place",
            (path + "/file").encode() + b"\0/conf/one.txt",
            path.encode() + b"\0/usr/share",
            path.encode() + b"\0/run/shared",
        ]
        with world.init(mounts=mounts) as init:
            script = (
                "cat /data/file /deep/er/place/file /conf/one.txt /usr/share/file /run/shared/file; "
                "touch /data/x /conf/one.txt /deep/y /z /usr/z; ls /; ls /bin/bash; echo ok >/tmp/t && cat /tmp/t; "
                "touch /workspace/w ~/h; cat /etc/passwd | wc -l; grep -c ' / ' /proc/self/mountinfo"
            )
            result, out, err = init.run(1, ["bash", "-c", script], ENV)
            assert out.count(b"from the host") == 5, (out, err)
            assert err.count(b"Read-only file system") == 5, err
            assert b"ok\n" in out and b"/bin/bash" in out
        assert sorted(os.listdir(path)) == ["file", "sub"]


def test_mounts_that_are_refused(world):
    session = world.prepare()
    with host_directory(world) as path:
        for target in (
            "/proc",
            "/proc/sys",
            "/dev/x",
            "/workspace",
            "/workspace/sub",
            "/home/agent/x",
            "/home",
            "/agent",
            "/",
            "/usr",
            "/etc",
            "/tmp",
            "relative",
            "/a/../b",
            "/a//b",
            "/a/",
            "",
        ):
            with refused(wire.EINVAL):
                session.spawn(mounts=[path.encode() + b"\0" + target.encode()])
        with refused(wire.EINVAL):
            session.spawn(mounts=[path.encode()])
        with refused(errno.E2BIG):
            session.spawn(mounts=[path.encode() + b"\0/data/%d" % i for i in range(33)])
        # No place for a mount point: found out in the child, after the clone.
        with refused(wire.EROFS, stage="mount point"):
            session.spawn(mounts=[path.encode() + b"\0/usr/share/superserve-absent"])
    assert not os.path.exists(session.path)
    session.spawn()
    session.end()


@contextlib.contextmanager
def root_tree(world):
    """A root file system of its own with a few programs."""
    tree = os.path.join(world.base, "root-" + secrets.token_hex(4))
    for name in "usr/bin", "etc", "proc", "dev", "tmp", "var/tmp", "opt/own":
        os.makedirs(os.path.join(tree, name))
    for program in "bash", "cat", "ls", "id", "touch":
        path = shutil.which(program, path="/usr/bin:/bin")
        shutil.copy(path, os.path.join(tree, "usr/bin", program))
        for line in subprocess.run(
            ["ldd", path], capture_output=True, text=True, check=True
        ).stdout.splitlines():
            for word in line.split():
                if word.startswith("/"):
                    real = os.path.join(
                        tree, "usr", os.path.realpath(word).removeprefix("/usr").lstrip("/")
                    )
                    named = os.path.join(tree, "usr", word.removeprefix("/usr").lstrip("/"))
                    for target in {real, named}:
                        os.makedirs(os.path.dirname(target), exist_ok=True)
                        shutil.copy(os.path.realpath(word), target)
    for name in "bin", "lib", "lib64":
        os.symlink("usr/" + name, os.path.join(tree, name))
    with open(os.path.join(tree, "etc/passwd"), "w", encoding="ascii") as file:
        file.write("root:x:0:0::/root:/bin/sh\n")
    with open(os.path.join(tree, "etc/own"), "w", encoding="ascii") as file:
        file.write("of the tree\n")
    os.symlink("/etc/passwd", os.path.join(tree, "etc/hosts"))
    for place, _, _ in os.walk(tree):
        os.chmod(place, 0o755)
    try:
        yield os.path.realpath(tree)
    finally:
        shutil.rmtree(tree)


def listing(tree):
    return sorted(
        os.path.join(place, name) for place, names, files in os.walk(tree) for name in names + files
    )


def test_root_of_its_own(world):
    with root_tree(world) as tree, host_directory(world) as path:
        before = listing(tree)
        with world.init(root=tree, source=path, mounts=[path.encode() + b"\0/data"]) as init:
            script = (
                "id -un; cat /etc/own /agent/file /data/file; ls / /opt; touch /usr/x /x /opt/x /etc/x; "
                "for d in /workspace ~ /tmp /var/tmp /dev/shm /run/user/1000; do touch $d/f && echo wrote $d; done; "
                "echo $$ >/dev/null; [[ -d /proc/self ]] && ls /proc/self/fd"
            )
            result, out, err = init.run(1, ["bash", "-c", script], ENV)
            text = out.decode()
            assert text.startswith("agent\nof the tree\nfrom the host\nfrom the host\n"), (
                text,
                err,
            )
            assert text.count("wrote") == 6, (text, err)
            assert err.count(b"Read-only file system") == 4, err
            top = text.split("/:\n")[1].split("\n\n")[0].split()
            assert set(top) == {
                "agent",
                "bin",
                "data",
                "dev",
                "etc",
                "home",
                "lib",
                "lib64",
                "opt",
                "proc",
                "run",
                "tmp",
                "usr",
                "var",
                "workspace",
            }, top
            assert not os.path.exists("/superserve-x")
            # The template is not below it.
            result, out, _ = init.run(
                2,
                [
                    "bash",
                    "-c",
                    "cat /usr/bin/python3 >/dev/null || while read -r line; do echo $line; done "
                    "</proc/self/mountinfo",
                ],
                ENV,
            )
            assert b" template " not in b"".join(
                line for line in out.splitlines() if b" / / " in line
            ), out
        assert listing(tree) == before
    session = world.prepare()
    with root_tree(world) as tree:
        shutil.rmtree(os.path.join(tree, "usr"))
        init = session.spawn(root=tree).connect()
        init.start(1, ["bash"], ENV)
        assert init.start_failure(1).errno == wire.ENOENT
    session.end()


def test_kill(world):
    with world.session() as session:
        world.launcher.ask(wire.KILL, ("PID", session.pid), ("START_TIME", session.start_time + 1))
        assert session.alive(), "killed in spite of another start time"
        world.launcher.ask(wire.KILL, ("PID", session.pid), ("START_TIME", session.start_time))
        event = world.launcher.wait_exited(session.pid)
        assert event["SESSION"] == session.id and os.WTERMSIG(event["STATUS"]) == 9
        assert not session.alive() and not os.path.exists(session.path)
        world.launcher.ask(wire.KILL, ("PID", session.pid), ("START_TIME", session.start_time))
        session.spawn()
        session.connect().ask(wire.SHUTDOWN)
        event = world.launcher.wait_exited(session.pid)
        assert os.WIFEXITED(event["STATUS"])


def test_killing_cannot_reach_others(world):
    need_root()
    bystander = subprocess.Popen(["sleep", "1000"])
    try:
        started = fixtures.start_time(bystander.pid)
        with world.fresh_launcher() as launcher:
            request = launcher.begin(wire.KILL, ("PID", bystander.pid), ("START_TIME", started))
            with refused(wire.EPERM, stage="kill"):
                launcher.answer(request)
        assert bystander.poll() is None, "the launcher killed a process of root"
    finally:
        bystander.kill()
        bystander.wait()


# --- ends -----------------------------------------------------------------------------------------


def processor_time(pid):
    """Seconds of processor time that a process has used."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_sandbox_that_hangs_is_ended(world):
    need_groups(world)
    with own_world(world) as fresh, fresh.session() as first:
        top = os.path.dirname(group_of(first))
        hung = fresh.prepare()
        # Its child is born frozen, between clone and exec.
        group = os.path.join(top, hung.id)
        os.mkdir(group)
        for name in group, os.path.join(group, "cgroup.procs"):
            os.chown(name, fresh.uid, fresh.gid)
        with open(os.path.join(group, "cgroup.freeze"), "w", encoding="ascii") as file:
            file.write("1")
        pid, began = launcher_pid(fresh), time.monotonic()
        with fresh.fresh_launcher() as other:
            assert other.ask(wire.LAUNCHER_HELLO)
            request = fresh.launcher.begin(
                wire.SPAWN, ("SESSION", hung.id), ("BLOCK", hung.block), ("NONCE", hung.nonce)
            )
            assert fresh.launcher.ask(wire.LAUNCHER_HELLO)
        # The child holds copies of what this connection was; others are served meanwhile.
        before = processor_time(pid)
        with fresh.session() as second:
            assert second.connect().run(1, ["true"], ENV)[0][0] == 0
        with refused(errno.ETIMEDOUT, stage="timeout"):
            fresh.launcher.answer(request)
        assert 9 < time.monotonic() - began < 20
        assert processor_time(pid) - before < 1, "the launcher's loop spins"
        wait_until(lambda: not os.path.isdir(group))
        hung.spawn(fresh.launcher)
        assert hung.connect().run(1, ["true"], ENV)[0][0] == 0
        hung.end()


def test_an_init_that_does_not_end_is_told(world):
    freezer = "/sys/fs/cgroup/freezer"
    if os.geteuid() != 0 or not os.path.isdir(freezer):
        raise unittest.SkipTest("no freezer that holds up SIGKILL (cgroup v1)")
    group = os.path.join(freezer, f"csandbox-test-{os.getpid()}")

    def write(name, text):
        with open(os.path.join(group, name), "w", encoding="ascii") as file:
            file.write(text)

    with own_world(world) as fresh, fresh.session() as session:
        os.mkdir(group)
        try:
            write("cgroup.procs", str(session.pid))
            write("freezer.state", "FROZEN")
            asked = (("PID", session.pid), ("START_TIME", session.start_time))
            requests = [fresh.launcher.begin(wire.KILL, *asked) for _ in range(2)]
            began = time.monotonic()
            for request in requests:
                assert fresh.launcher.ask(wire.LAUNCHER_HELLO)
                with refused(errno.ETIMEDOUT, stage="kill"):
                    fresh.launcher.answer(request)
            assert 9 < time.monotonic() - began < 20
            # It still is what it was: in use.
            with refused(wire.EBUSY):
                fresh.launcher.ask(wire.DESTROY, ("SESSION", session.id))
            last = fresh.launcher.begin(wire.KILL, *asked)
            write("freezer.state", "THAWED")
            fresh.launcher.answer(last)
            fresh.launcher.wait_exited(session.pid)
        finally:
            write("freezer.state", "THAWED")
            wait_until(lambda: not open(os.path.join(group, "cgroup.procs")).read())
            os.rmdir(group)


def test_sessions_outlive_the_launcher(world):
    with own_world(world) as fresh, fresh.session() as session:
        init = session.connect()
        init.start(1, ["bash", "-c", "while read line; do echo $line; done"], ENV)
        init.input(b"one\n", 0)
        init.until(lambda: init.output() == b"one\n")
        before = launcher_pid(fresh)
        os.kill(before, signal.SIGKILL)
        began = time.monotonic()
        try:
            fresh.launcher.receive()
            raise AssertionError("the connection stayed")
        except Disconnected:
            fresh.launcher.close()
        init.input(b"two\n", 4)
        init.until(lambda: init.output() == b"one\ntwo\n")
        fresh.launcher = fresh.connect()
        with fresh.session() as other:
            other.connect()
            assert time.monotonic() - began < 1.0 * wire.SLOWNESS, "a new session took too long"
            assert launcher_pid(fresh) != before
            # The new launcher knows the old session by its socket, and ends it through the keeper.
            assert session.alive()
            with refused(wire.EBUSY):
                session.spawn(fresh.launcher)
            with refused(wire.EBUSY):
                fresh.launcher.ask(wire.DESTROY, ("SESSION", session.id))
            fresh.launcher.ask(wire.KILL, ("PID", session.pid), ("START_TIME", session.start_time))
            wait_until(lambda: not session.alive())  # its keeper reaps it
            session.spawn(fresh.launcher)
            assert session.connect().run(1, ["echo", "again"], ENV)[1] == b"again\n"


def test_launchers_that_die_while_spawning(world):
    with own_world(world) as fresh:
        sessions = [fresh.prepare() for _ in range(8)]
        for delay in (0, 0.002, 0.005, 0.01, 0.02):
            pid = launcher_pid(fresh)
            for session in sessions:
                fresh.launcher.begin(
                    wire.SPAWN,
                    ("SESSION", session.id),
                    ("BLOCK", session.block),
                    ("NONCE", session.nonce),
                )
            time.sleep(delay)  # any moment will do
            os.kill(pid, signal.SIGKILL)
            fresh.launcher.close()
            fresh.launcher = fresh.connect()
            assert launcher_pid(fresh) != pid

            def inits():
                """What is left must be whole sessions, reachable by their sockets."""
                found = [
                    child
                    for child in children(fresh.keeper.pid)
                    if fixtures.start_time(child) and child != launcher_pid(fresh)
                ]
                names = {fixtures.status_field(child, "Name") for child in found}
                return found if names <= {"superserve-init"} else None

            left = wait_until(lambda: inits() is not None and [inits()])[0]
            answering = 0
            for session in sessions:
                with contextlib.suppress(ConnectionRefusedError, FileNotFoundError, Disconnected):
                    init = wire.Init(session.path, session.nonce, patience=0)
                    answering += 1
                    init.close()
            assert answering == len(left), (answering, left)
            for child in left:
                fresh.launcher.ask(
                    wire.KILL, ("PID", child), ("START_TIME", fixtures.start_time(child))
                )
        for session in sessions:
            session.spawn(fresh.launcher)
            assert session.connect().run(1, ["true"], ENV)[0][0] == 0
            session.end()


def test_groups_of_adopted_sessions_go_too(world):
    need_groups(world)
    with own_world(world) as fresh, fresh.session() as session:
        group = group_of(session)
        os.kill(launcher_pid(fresh), signal.SIGKILL)
        fresh.launcher.close()
        fresh.launcher = fresh.connect()
        assert fresh.launcher.ask(wire.LAUNCHER_HELLO) and os.path.isdir(group)
        session.connect().send(wire.SHUTDOWN)
        wait_until(lambda: not os.path.isdir(group))


def test_launchers_that_die_often(world):
    with own_world(world) as fresh:
        for _ in range(5):
            os.kill(launcher_pid(fresh), signal.SIGKILL)
            fresh.launcher.close()
            fresh.launcher = fresh.connect()
            assert fresh.launcher.ask(wire.LAUNCHER_HELLO)


def test_sessions_outlive_the_keeper(world):
    with own_world(world) as fresh, fresh.session() as session:
        init = session.connect()
        fresh.keeper.kill()
        fresh.keeper.wait()
        fresh.launcher.close()
        assert init.run(1, ["echo", "alive"], ENV)[1] == b"alive\n"
        fresh.start_keeper()
        fresh.launcher = fresh.connect()
        fresh.launcher.ask(wire.KILL, ("PID", session.pid), ("START_TIME", session.start_time))
        session.wait_gone()
        session.spawn(fresh.launcher)


def test_state_below_a_closed_directory(world):
    if not world.root:
        raise unittest.SkipTest("only root can serve what its service cannot reach")
    with own_world(world) as fresh:
        fresh.launcher.close()
        fresh.stop_keeper()
        closed = os.path.join(fresh.base, "closed")
        os.mkdir(closed, 0o700)
        os.rename(fresh.state, os.path.join(closed, "state"))
        fresh.state = os.path.join(closed, "state")
        fresh.start_keeper()
        fresh.launcher = fresh.connect()
        with fresh.session() as session:
            init = session.connect()
            script = "echo kept >/workspace/f; cat /workspace/f"
            assert init.run(1, ["bash", "-c", script], ENV)[1] == b"kept\n"
            assert os.path.exists(os.path.join(session.tree, "workspace/f"))
        assert not os.path.exists(session.tree)


def test_one_keeper_a_runtime_directory(world):
    process, said = world.run_keeper()
    assert said.startswith("error lock 11 "), said
    assert process.wait(wire.DEADLINE) != 0
    assert world.launcher.ask(wire.LAUNCHER_HELLO)


def pool_of(world):
    """First host id and count of a world's sessions."""
    with open(f"/proc/{launcher_pid(world)}/uid_map", encoding="ascii") as file:
        return next(tuple(map(int, line.split()[1:])) for line in file if line.split()[0] == "1")


def test_keepers_of_root_have_ids_of_their_own(world):
    if not world.root:
        raise unittest.SkipTest("ids that root hands out")
    with own_world(world) as one, own_world(world) as two:
        pools = sorted(map(pool_of, (world, one, two)))
        assert all(count == 65536 for _, count in pools), pools
        assert all(a + 65536 <= b for (a, _), (b, _) in zip(pools, pools[1:])), pools
        # A supervisor finds its sessions' ids again, even after all claims are forgotten.
        session, before = one.prepare(), pool_of(one)
        one.launcher.close()
        one.stop_keeper()
        one.start_keeper()
        one.launcher = one.connect()
        assert pool_of(one) == before
        assert session.spawn(one.launcher).connect().run(1, ["true"], ENV)[0][0] == 0
        session.end()


def test_trees_without_a_record_belong_to_the_first_slice(world):
    if not world.root:
        raise unittest.SkipTest("ids that root hands out")
    with own_world(world) as fresh:
        fresh.launcher.close()
        fresh.stop_keeper()
        os.unlink(os.path.join(fresh.state, "ids"))
        os.mkdir(os.path.join(fresh.state, "sessions", secrets.token_hex(16)))
        fresh.keeper, said = fresh.run_keeper()
        if said == "ready\n":
            fresh.launcher = fresh.connect()
            assert pool_of(fresh) == (1900000001, 65536)
        else:  # somebody else on this machine has it
            assert said.startswith("error id-range 16 ") and "1900000001-" in said, said


def refused_start(world, *options, record=None):
    """What a keeper in new directories says that must not start."""
    number = sum(name.startswith("other") for name in os.listdir(world.base))
    places = {
        name: world.make_directory(f"other-{name}{number}") for name in ("state", "runtime")
    }
    if record is not None:
        record(os.path.join(places["state"], "ids"))
    process, said = world.run_keeper(*options, **places)
    status = process.wait(wire.DEADLINE)
    assert status != 0 and said.startswith("error id-range "), (status, said)
    return said


def test_keepers_never_share_ids(world):
    if not world.root:
        raise unittest.SkipTest("ids that root hands out")
    first, count = pool_of(world)
    for low, length in (first, count), (first + 100, 8), (first - 100, 101), (first + count - 1, 9):
        pair = ["--sub-uid", f"{low}:{length}", "--sub-gid", f"{low}:{length}"]
        said = refused_start(world, *pair)
        # Both are named, and what to do.
        assert said.startswith("error id-range 16 ") and f"{low}-{low + length - 1}" in said, said
        assert world.base in said and f"{first}-{first + count - 1}" in said, said
        assert "subordinate_first" in said, said

    def record(text):
        def write(path):
            with open(path, "w", encoding="ascii") as file:
                file.write(text)

        return write

    assert world.base in refused_start(world, record=record(f"{first}:{count}\n"))
    for text in "", "1:65536", f"{first + 1}:{count}", f"{first}:1", "x" * 100, "4294900000:65536":
        assert "does not name a slice" in refused_start(world, record=record(text))
    refused_start(world, record=lambda path: os.symlink("/etc/passwd", path))
    refused_start(world, record=os.mkfifo)


def test_a_configured_range_is_free_again_afterwards(world):
    if not world.root:
        raise unittest.SkipTest("ids that root hands out")
    pair = ["--sub-uid", "1800000001:4096", "--sub-gid", "1800000001:4096"]
    places = {name: world.make_directory(f"configured-{name}") for name in ("state", "runtime")}
    process, said = world.run_keeper(*pair, **places)
    try:
        assert said == "ready\n", said
        assert "configured-state" in refused_start(world, *pair)
        process.kill()
        process.wait()
        # It did not end by itself: its sessions may live, so only the same supervisor may come back.
        assert "may still use" in refused_start(world, *pair)
        process, said = world.run_keeper(*pair, **places)
        assert said == "ready\n", said
    finally:
        process.terminate()
        process.wait(wire.DEADLINE)
    assert not os.path.exists("/run/superserve-ids/u1800000001:4096")


def nothing_left(fresh, session, before):
    assert not session.alive()
    assert not os.path.exists(os.path.join(fresh.runtime, "launcher.sock"))
    if os.geteuid() == 0:
        assert os.listdir(os.path.join(fresh.runtime, "s")) == []
        assert sorted(os.listdir(session.tree)) == ["home", "workspace"], "the tree must stay"
    assert groups() <= before, "control groups are left"
    if fresh.root and os.path.isdir("/run/superserve-ids"):
        for name in os.listdir("/run/superserve-ids"):
            with contextlib.suppress(FileNotFoundError):
                with open(os.path.join("/run/superserve-ids", name), encoding="utf-8") as file:
                    assert fresh.base not in file.read(), "its ids are still claimed"
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                assert fresh.base.encode() not in file.read(), f"process {pid} is left"


def end_by(world, stop):
    before = groups()
    with own_world(world) as fresh:
        session = fresh.prepare().spawn()
        init = session.connect()
        init.start(1, ["bash", "-c", "sleep 1000 & setsid sleep 1000 & echo up; wait"], ENV)
        init.until(lambda: init.output() == b"up\n")
        family = children(fresh.keeper.pid)
        assert len(family) >= 5
        stop(fresh)
        assert fresh.keeper.wait(wire.DEADLINE) == 0
        for pid in family:
            assert fixtures.start_time(pid) is None, f"process {pid} is left"
        nothing_left(fresh, session, before)
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            assert fresh.base not in file.read()


def test_stop_request_ends_everything(world):
    end_by(world, lambda fresh: fresh.launcher.ask(STOP))


def test_sigterm_ends_everything(world):
    end_by(world, lambda fresh: fresh.keeper.send_signal(signal.SIGTERM))


def test_failed_starts_say_why(world):
    with own_world(world) as fresh:
        cases = [
            (["--bogus"], {}, "error options 22 "),
            (["--ready-fd", "x"], {}, "error options 22 "),
            ([], {"state": "relative"}, "error options 22 "),
            ([], {"state": fresh.base + "/absent"}, "error directories 2 "),
            ([], {"runtime": fresh.base + "/absent"}, "error directories 2 "),
        ]
        if fresh.root:
            cases += [
                (["--sub-uid", "4294960000:65536"], {}, "error options 22 "),
                (["--service-uid", "0"], {}, "error service-ids 22 "),
                (["--sub-uid", "1899999999:65536"], {}, "error id-range 22 "),
                (["--sub-gid", "5:3"], {}, "error id-range 34 "),
            ]
        else:
            cases += [(["--service-uid", "5"], {}, "error options 1 ")]
        for extra, directories, expected in cases:
            process, said = fresh.run_keeper(*extra, **directories)
            assert process.wait(wire.DEADLINE) != 0
            # Options are read from the left: a later --ready-fd takes the answer elsewhere.
            assert said.startswith(expected) or extra == ["--ready-fd", "x"], (extra, said)
        long = fresh.make_directory("x" * 90)
        process, said = fresh.run_keeper(runtime=long)
        assert process.wait(wire.DEADLINE) != 0 and said.startswith("error socket 36 "), said


def test_a_user_without_subordinate_ids(world):
    need_root()
    with own_world(world) as fresh:
        # nobody has no line in /etc/subuid
        reading, writing = os.pipe()
        process = subprocess.Popen(
            fresh.keeper_command(writing),
            pass_fds=[writing],
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            user=65534,
            group=65534,
            extra_groups=[],
        )
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as ready:
            said = ready.read()
        assert process.wait(wire.DEADLINE) != 0
        assert said.startswith("error subordinate-ids 2 ") and "usermod --add-subuids" in said, said


def test_a_newuidmap_that_hangs(world):
    """As one does that asks a directory service which does not answer."""
    if world.as_user is None or os.geteuid() != 0 or not os.path.exists("/usr/bin/newuidmap"):
        raise unittest.SkipTest("only plain users need newuidmap, and only root can replace it")
    hanging = os.path.join(world.base, "newuidmap")
    with open(hanging, "w", encoding="ascii") as file:
        file.write("#!/bin/sh\nexec sleep 1000\n")
    os.chmod(hanging, 0o755)
    places = {name: world.make_directory(f"hang-{name}") for name in ("state", "runtime")}
    reading, writing = os.pipe()
    began = time.monotonic()
    process = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", f"mount --bind {hanging} /usr/bin/newuidmap && exec \"$@\"",
         "sh", "setpriv", "--reuid", str(world.uid), "--regid", str(world.gid), "--clear-groups",
         *world.keeper_command(writing, **places)],
        pass_fds=[writing], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
        env={"PATH": "/usr/bin:/bin"})
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as ready:
        said = ready.read()
    assert process.wait(wire.DEADLINE) != 0
    assert said.startswith("error newuidmap 110 ") and "directory service" in said, said
    assert 19 < time.monotonic() - began < 40


def test_groups_of_sessions(world):
    need_groups(world)
    with world.session() as session:
        with open(f"/proc/{session.pid}/cgroup", encoding="ascii") as file:
            own = [line.strip().partition("::")[2] for line in file if line.startswith("0::")]
        assert own and own[0].endswith(f"/{session.id}/init"), own
        group = group_of(session)
    wait_until(lambda: not os.path.exists(group))


def test_launcher_memory_and_descriptors_stay(world):
    def measure():
        pid = launcher_pid(world)
        with contextlib.suppress(PermissionError):
            return len(os.listdir(f"/proc/{pid}/fd"))
        raise unittest.SkipTest("needs root to look at the launcher")

    with world.session():
        before = measure()
    for _ in range(30):
        with world.session() as session:
            session.connect()
    with world.session():
        assert measure() <= before, "descriptors leak"
    with host_directory(world) as path:
        session = world.prepare()
        for _ in range(30):
            with refused(wire.EROFS):
                session.spawn(mounts=[path.encode() + b"\0/usr/share/superserve-absent"])
        session.spawn()
        assert measure() <= before, "descriptors leak"
        session.end()
