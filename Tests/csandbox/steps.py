"""What the tests of the C half share beside `world`: small steps, refusals, waiting, groups, processes."""

import contextlib
import json
import os
import secrets
import shutil
import time
import unittest

import wire
import world as fixtures
from wire import Disconnected, Failed

ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/agent"}


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


def probe(init, script, generation=1, timeout=wire.DEADLINE):
    """The JSON value that a Python program prints in the session."""
    result, out, err = init.run(generation, ["python3", "-c", script], ENV, timeout=timeout)
    assert result[:2] == (0, 0), (result, out[-2000:], err[-2000:])
    return json.loads(out)


@contextlib.contextmanager
def disconnects():
    try:
        yield
    except Disconnected:
        return
    raise AssertionError("stayed connected")


def shell(script):
    return ["bash", "-c", script]


def python(script):
    return ["python3", "-c", script]
