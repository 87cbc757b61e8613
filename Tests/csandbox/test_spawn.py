"""What a session is started with: sources, mounts, root file systems; and how it is ended."""

import contextlib
import errno
import os
import secrets
import shutil
import subprocess

import wire
import world as fixtures
from steps import ENV, host_directory, need_root, refused


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
