"""Sandboxes and launchers that hang, die, or die often, and what is left then."""

import contextlib
import errno
import os
import signal
import time
import unittest

import wire
import world as fixtures
from steps import ENV, children, group_of, launcher_pid, need_groups, own_world, refused, wait_until
from wire import Disconnected


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
