"""The launcher and the trees of sessions: made, measured, listed, destroyed, however hostile."""

import contextlib
import errno
import os
import secrets
import stat
import subprocess
import time

import wire
import world as fixtures
from steps import ENV, launcher_pid, need_root, own_world, refused
from wire import Disconnected


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
