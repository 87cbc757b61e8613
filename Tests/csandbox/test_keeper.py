"""What the keeper promises: ids, directories, starts that fail, and an end that leaves nothing."""

import contextlib
import os
import secrets
import signal
import subprocess
import time
import unittest

import wire
import world as fixtures
from steps import ENV, children, group_of, groups, launcher_pid, need_groups, need_root, own_world, wait_until

STOP = 8


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


def test_a_stop_ends_what_an_earlier_keeper_left(world):
    """Sessions of a keeper that was killed are nobody's children; their groups are this one's."""
    need_groups(world)
    before = groups()
    with own_world(world) as fresh:
        session = fresh.prepare().spawn()
        fresh.keeper.kill()
        fresh.keeper.wait()
        fresh.start_keeper()
        assert session.alive()
        fresh.stop_keeper()
        wait_until(lambda: not session.alive())
        assert groups() <= before


def test_a_session_without_its_agents_group_is_ended(world):
    """As systemd leaves an idle one behind, when the keeper was killed."""
    need_groups(world)
    with own_world(world) as fresh:
        torn, whole = fresh.prepare().spawn(), fresh.prepare().spawn()
        fresh.keeper.kill()
        fresh.keeper.wait()
        group = group_of(torn)
        os.rmdir(os.path.join(group, "agent"))
        fresh.start_keeper()
        fresh.launcher = fresh.connect()
        wait_until(lambda: not torn.alive() and not os.path.exists(group))
        assert whole.alive()
        torn.spawn(fresh.launcher)
        assert torn.connect().run(1, ["true"], ENV)[0][0] == 0


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
