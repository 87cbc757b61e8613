"""Control groups of sessions and the limits in them. Where cgroup v2 has no controllers, everything but their effect
is tried; what the limits do is tried in the virtual machine (Tests/VM/limits.py)."""

import contextlib
import errno
import os
import signal
import struct
import subprocess
import time

import wire
from steps import ENV, children, group_of, groups, launcher_pid, need_groups, own_world, refused, wait_until

MEBI = 1 << 20
SHOW = "cat /proc/self/cgroup | grep 0::; exec sleep 1000"


def controllers(top, name):
    """Of those that limits need, what a group has."""
    with open(os.path.join(top, name), encoding="ascii") as file:
        return set(file.read().split()) & {"memory", "pids", "cpu", "io"}


def processes(*path):
    with open(os.path.join(*path, "cgroup.procs"), encoding="ascii") as file:
        return [int(line) for line in file]


def usage(world, session):
    return wire.usage(dict(world.launcher.ask(wire.USAGE, ("SESSION", session.id)))["USAGE"])


def start(session):
    """An agent with a child; what it sees of its group."""
    init = session.connect()
    init.start(1, ["sh", "-c", f"sleep 1000 & {SHOW}"], ENV)
    init.until(lambda: init.output().endswith(b"\n"))
    return init


def test_agents_and_init_sit_apart(world):
    need_groups(world)
    with world.session() as session:
        init = start(session)
        assert init.output() == b"0::/\n", init.output()
        group = group_of(session)
        assert processes(group, "init") == [session.pid]
        family = wait_until(lambda: (found := children(session.pid)) and len(found) == 2 and found)
        assert sorted(processes(group, "agent")) == sorted(family), family
        assert processes(group) == []
        # A transfer is no part of the agent: a fork bomb must not hold it up.
        frame = init.ask(wire.FILES_GET, ("PATH", "/usr"))
        helpers = wait_until(lambda: [pid for pid in processes(group, "init") if pid != session.pid])
        assert len(helpers) == 1 and sorted(processes(group, "agent")) == sorted(family)
        os.close(frame.fd)
    wait_until(lambda: not os.path.exists(group))


def test_the_agent_has_no_group_to_write(world):
    need_groups(world)
    look = ("find / -xdev -name 'cgroup.*' 2>/dev/null; ls /proc/self/fd; "
            "mount | grep -c cgroup; ls /sys 2>&1 | head -1")
    with world.session() as session:
        init = session.connect()
        ended, out, _ = init.run(1, ["sh", "-c", look], ENV)
        words = out.decode().split()
        # 0, 1, 2, that of ls for the directory; no mount
        assert words[:5] == ["0", "1", "2", "3", "0"], out


def test_limits_are_said(world):
    """What can be enforced here is, and the rest is named with its cause."""
    asked = wire.limits(memory=64 * MEBI, swap=0, pids=64, cpu=50000, cpu_weight=50)
    answer = dict(world.launcher.ask(wire.LAUNCHER_HELLO))
    possible = wire.enforced(answer["ENFORCED"])
    with world.session(limits=asked) as session:
        wanted = {"memory", "pids", "cpu", "cpu_weight"}
        assert session.enforced & wanted == possible & wanted, (session.enforced, possible)
        assert bool(session.note) == bool(wanted - session.enforced), session.note
        assert session.connect().run(1, ["true"], ENV)[0][0] == 0
    if not {"memory", "pids", "cpu"} <= possible:
        assert "group" in answer["DETAIL"], answer


def test_required_limits_that_are_not_possible_refuse_the_start(world):
    possible = wire.enforced(dict(world.launcher.ask(wire.LAUNCHER_HELLO))["ENFORCED"])
    for name, value in ("memory", 64 * MEBI), ("pids", 64), ("cpu", 50000):
        session = world.prepare()
        asked = wire.limits(required=[name], **{name: value})
        if name in possible:
            session.spawn(limits=asked)
        else:
            with refused(errno.ENOTSUP, stage="limits"):
                session.spawn(limits=asked)
            assert not os.path.exists(session.path), "its control socket is left"
        session.end()


def test_malformed_limits(world):
    session = world.prepare()
    good = wire.limits(memory=MEBI)
    bad = [
        (errno.EPROTO, b""), (errno.EPROTO, good[:-1]), (errno.EPROTO, good + b"\0"),
        (errno.EPROTO, wire.limits(version=2)), (errno.EINVAL, struct.pack("=II", 1, 1 << 8) + good[8:]),
        (errno.EINVAL, wire.limits(memory=0)), (errno.EINVAL, wire.limits(pids=0)),
        (errno.EINVAL, wire.limits(memory_high=0)), (errno.EINVAL, wire.limits(cpu=999)),
        (errno.ERANGE, wire.limits(cpu_weight=0)), (errno.ERANGE, wire.limits(io_weight=10001)),
    ]
    for error, value in bad:
        with refused(error, stage="limits"):
            session.spawn(limits=value)
    session.spawn(limits=good)
    session.end()


def test_usage(world):
    with world.session() as session:
        init = session.connect()
        init.run(1, ["sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"], ENV)
        used = usage(world, session)
        if world.root:
            assert used["cpu_us"] > 20000 and used["populated"] == 0, used
            init.start(2, ["sleep", "1000"], ENV)
            wait_until(lambda: usage(world, session)["populated"] == 1)
    assert usage(world, session) == {}
    with refused(errno.EINVAL):
        world.launcher.ask(wire.USAGE, ("SESSION", "../.."))


def test_limits_stay_with_the_group_and_a_new_launcher_finds_them(world):
    need_groups(world)
    with own_world(world) as fresh, fresh.session(limits=wire.limits(pids=64, memory=64 * MEBI)) as session:
        group = group_of(session)
        with own_world(world) as other, other.session() as bare:
            assert not os.listxattr(group_of(bare))
        kept = os.getxattr(group, "user.superserve.limits")
        assert kept == wire.limits(pids=64, memory=64 * MEBI)
        limited = controllers(group, "cgroup.subtree_control")
        os.kill(launcher_pid(fresh), signal.SIGKILL)
        fresh.launcher.close()
        fresh.launcher = fresh.connect()
        fresh.launcher.ask(wire.LAUNCHER_HELLO)
        assert controllers(group, "cgroup.subtree_control") == limited
        assert os.getxattr(group, "user.superserve.limits") == kept
        assert session.alive()


def test_a_tree_left_by_a_crash_is_swept(world):
    need_groups(world)
    with own_world(world) as fresh, fresh.session() as session:
        group = group_of(session)
        top = os.path.dirname(group)
        old = [f"{number:032x}" for number in range(100)]
        for name in old:
            for path in "", "init", "agent":
                os.mkdir(os.path.join(top, name, path))
                os.chown(os.path.join(top, name, path), fresh.uid, fresh.gid)
        os.kill(launcher_pid(fresh), signal.SIGKILL)
        fresh.launcher.close()
        fresh.launcher = fresh.connect()
        fresh.launcher.ask(wire.LAUNCHER_HELLO)
        wait_until(lambda: not set(old) & set(os.listdir(top)))
        assert session.alive() and processes(group, "init") == [session.pid]
        # Empty as its agent's group is, it is in use.
        assert session.connect().run(1, ["true"], ENV)[0][0] == 0


@contextlib.contextmanager
def lingering(group, seconds):
    """A process in a session's group that is not the session's, as one that the kernel has not switched away yet."""
    with subprocess.Popen(["sleep", str(seconds)]) as process:
        with open(os.path.join(group, "init", "cgroup.procs"), "w", encoding="ascii") as file:
            file.write(str(process.pid))
        yield process


def test_a_group_goes_after_its_last_process(world):
    need_groups(world)
    with own_world(world) as fresh, fresh.session() as session:
        group = group_of(session)
        with lingering(group, 1000) as process:
            os.kill(session.pid, signal.SIGKILL)
            wait_until(lambda: processes(group, "init") == [process.pid])
            time.sleep(0.5)  # the first look is over
            process.kill()
        wait_until(lambda: not os.path.exists(group))


def test_a_keeper_that_ends_leaves_no_group(world):
    """Whoever is in it."""
    need_groups(world)
    before = groups()
    with own_world(world) as fresh, lingering(group_of(fresh.prepare().spawn()), 0.5):
        fresh.stop_keeper()
        assert groups() <= before


def test_kill_reaches_a_frozen_session(world):
    need_groups(world)
    with own_world(world) as fresh, fresh.session() as session:
        start(session)
        group = group_of(session)
        with open(os.path.join(group, "cgroup.freeze"), "w", encoding="ascii") as file:
            file.write("1")
        fresh.launcher.ask(wire.KILL, ("PID", session.pid), ("START_TIME", session.start_time))
        assert not session.alive()
        wait_until(lambda: not os.path.exists(group))


def set_quotas(world, *arguments):
    """(exit status, what it says)"""
    done = subprocess.run([world.program, "set-quotas", *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_what_the_file_system_lets_an_agent_own(world):
    """Nothing is set for these ids, whatever the file system has; Tests/VM/quota.py has one that limits them."""
    session = world.prepare()
    answer = dict(world.launcher.ask(wire.PREPARE, ("SESSION", session.id), ("BLOCK", session.block)))
    assert (answer["QUOTA_BYTES"], answer["QUOTA_FILES"]) == (0, 0), answer
    session.spawn()  # the helper's ids are its own
    session.end()


def test_quotas_where_there_are_none(world):
    ids = ("--sub-uid", "1900000001:65536")
    # A file system that never has any, with every right and without.
    status, said = set_quotas(world, "--state-dir", "/proc/self", "--bytes", "1GiB", *ids)
    assert status == 1 and "no user quotas on the file system of /proc/self" in said and "tune2fs" in said, said
    status, said = set_quotas(world, "--state-dir", "/proc/self", "--bytes", "0", *ids)
    assert status == 1 and "no user quotas" in said, said
    status, said = set_quotas(world, "--state-dir", "/no/such/place", "--bytes", "1GiB", *ids)
    assert status == 1 and "/no/such/place: No such file" in said, said
    status, said = set_quotas(world, "--state-dir", "/", "--bytes", "1GiB")
    assert status == 1 and "belongs to root: name the sessions' ids with --sub-uid" in said, said
    status, said = set_quotas(world, "--state-dir", "/", "--bytes", "1GiB", "--sub-uid", "5000000:3")
    assert status == 1 and "fewer than 4 ids" in said, said
    if os.geteuid() == 0:
        os.chown(world.make_directory("strange"), 4000000000, -1)
        status, said = set_quotas(world, "--state-dir", os.path.join(world.base, "strange"), "--bytes", "1GiB")
        assert status == 1 and "(4000000000) in /etc/subuid: name its ids with --sub-uid" in said, said


def test_wrong_arguments_of_quotas(world):
    good = ("--state-dir", "/", "--sub-uid", "5000000:8")
    for arguments in [
        good, ("--bytes", "1GiB"), (*good, "--bytes"), (*good, "--bytes", ""), (*good, "--bytes", "-1"),
        (*good, "--bytes", "1GB"), (*good, "--bytes", "1023KiB"), (*good, "--bytes", "1025TiB"),
        (*good, "--bytes", "99999999999999999999"), (*good, "--bytes", "99999999999TiB"), (*good, "--bytes", "0x10"),
        (*good, "--bytes", "1 GiB"), (*good, "--bytes", "1GiB", "--files", "15"),
        (*good, "--bytes", "1GiB", "--files", "1GiB"), (*good, "--bytes", "1GiB", "--files", "4294967297"),
        (*good, "--bytes", "0", "--files", "100"), (*good, "--bytes", "1GiB", "more"), (*good, "--quota", "1GiB"),
        ("--state-dir", "/" + "x" * 5000, "--bytes", "1GiB"),
        ("--state-dir", "/", "--sub-uid", "0:8", "--bytes", "1GiB"),
        ("--state-dir", "/", "--sub-uid", "4294967290:8", "--bytes", "1GiB"),
    ]:
        status, said = set_quotas(world, *arguments)
        assert status == 2 and said.startswith("superserve-launcher: options: "), (arguments, status, said)


def test_nothing_is_left(world):
    before = groups()
    with own_world(world) as fresh, fresh.session(limits=wire.limits(pids=64)) as session:
        start(session)
    assert groups() <= before
