#!/usr/bin/env python3
"""The wall for disk space, for real: needs root, systemd, and a kernel with ext4, loop devices and quotas.

    quota.py [--only TEXT]

The state directory is on a file system of its own, in a file. Prints `N passed, N failed`.
"""

import contextlib
import ctypes
import errno
import os
import pwd
import re
import struct
import subprocess
import sys
import tempfile
import threading
import time

from limits import EXEC, LAUNCHER, Keeper, attempt, limited, run  # also shows where harness is
import harness
from harness import check, equal, eventually

MEBI = 1 << 20
WALL, FILES = 32 * MEBI, 400
HERE = os.path.dirname(os.path.abspath(__file__))
UNIT = os.path.join(HERE, "../../config/systemd/superserve-quota.service")
# Space for pages of a file without any, as they are written to in memory; in advance; past the cache.
OTHER_WAYS = """rm -f big; python3 -c "
import mmap, os
fd = os.open('mapped', os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 1 << 27)
pages = mmap.mmap(fd, 1 << 27)
for at in range(0, 1 << 27, 4096): pages[at] = 1
print('no end')"
echo status $?; rm mapped
fallocate --length 64MiB reserved; echo status $?; rm -f reserved
dd if=/dev/zero of=direct bs=1M count=64 oflag=direct 2>&1 | grep -o 'Disk quota exceeded'; rm direct
"""
# Writes as much as there is room for; the error that ends it, and how much that was.
FILL = """python3 -c "
import os
fd, written = os.open('big', os.O_WRONLY | os.O_CREAT, 0o644), 0
try:
    while written < 1 << 28: written += os.write(fd, bytes(1 << 16))
    os.fsync(fd)
    print('no end', written)
except OSError as error:
    print('errno', error.errno, written)"
"""
MANY = """python3 -c "
import os
made = 0
try:
    while made < 5000:
        os.close(os.open('f%d' % made, os.O_WRONLY | os.O_CREAT))
        made += 1
    print('no end', made)
except OSError as error:
    print('errno', error.errno, made)"
"""


def limits_of(path, owner):
    """(bytes, bytes that are used, files, files that are used) of a user id on the file system of `path`."""
    block = ctypes.create_string_buffer(72)
    fd = os.open(path, os.O_RDONLY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syscall(443, fd, 0x800007 << 8, owner, block) < 0:  # quotactl_fd, Q_GETQUOTA of a user
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    finally:
        os.close(fd)
    blocks, _, space, files, _, inodes = struct.unpack_from("=6Q", block)
    return blocks * 1024, space, files, inodes


def set_quotas(state, size, *more):
    """(exit status, what it says)"""
    done = subprocess.run([LAUNCHER, "set-quotas", "--state-dir", state, "--bytes", size, *more],
                          capture_output=True, text=True, check=False, timeout=600)
    return done.returncode, done.stdout + done.stderr


@contextlib.contextmanager
def disk(options="loop,usrquota"):
    """A fresh ext4 in a file, mounted; a new directory for a state in it."""
    with contextlib.ExitStack() as stack:
        place = tempfile.mkdtemp(prefix="superserve-quota-", dir="/var/tmp")
        stack.callback(os.rmdir, place)
        os.chmod(place, 0o755)  # the service has to get through
        image, top = os.path.join(place, "image"), os.path.join(place, "top")
        with open(image, "wb") as file:
            file.truncate(768 * MEBI)
        stack.callback(os.unlink, image)
        run("mkfs.ext4", "-q", "-O", "quota", "-E", "lazy_itable_init=1,lazy_journal_init=1", image)
        os.mkdir(top)
        stack.callback(os.rmdir, top)
        run("mount", "-o", options, image, top)
        # The launcher's namespaces go a moment after its processes.
        stack.callback(eventually, lambda: subprocess.run(["umount", top], check=False).returncode == 0,
                       f"{top} is unmounted", 30)
        yield image, top


@contextlib.contextmanager
def world_on_a_disk():
    with disk() as (_, top), harness.World(state=os.path.join(top, "state")) as world:
        keeper = Keeper(world, "quota")
        world.stack.callback(keeper.stop)
        world.start()
        world.keeper = keeper
        with open(os.path.join(world.state, "ids"), encoding="ascii") as file:
            world.ids = file.read().strip()
        yield world


def owner_of(world, session):
    return os.stat(os.path.join(world.tree(session), "workspace")).st_uid


def stored(world, session):
    """Bytes on the disk, as the tree has them."""
    return int(run("du", "-sB1", os.path.join(world.tree(session), "workspace"),
                   os.path.join(world.tree(session), "home"), "--total").split("\n")[-1].split()[0])


def refused(world, name):
    world.agent(name, EXEC + "limits: {disk: hard}")
    answer = world.post("/v1/sessions", {"agent": name})
    equal((answer.status, answer.error["code"]), (500, "sandbox_failed"))
    check("required and not possible here: disk" in answer.error["message"], answer.error)
    equal([s for s in world.sessions() if s["agent"]["name"] == name], [], "sessions")
    return answer.error["message"]


# --- one world, in this order -----------------------------------------------------------------------------------------


def test_nothing_stands_before_root_has_set_it(world):
    print("     " + refused(world, "early"))
    plain = limited(world, "plain", "disk: 64MiB")
    equal(world.show(plain)["limits"].get("disk_quota"), None)


def test_root_sets_quotas_for_every_id(world):
    began = time.monotonic()
    status, said = set_quotas(world.state, "32MiB", "--files", str(FILES), "--sub-uid", world.ids)
    equal(status, 0, said)
    print(f"     {said.strip()} ({time.monotonic() - began:.1f} s)")
    first, count = map(int, world.ids.split(":"))
    for owner in first, first + 1, first + count - 1:
        bounds = limits_of(world.state, owner)
        equal((bounds[0], bounds[2]), (WALL, FILES), f"id {owner}")
    equal(limits_of(world.state, first + count)[0], 0, "the next id")
    began = time.monotonic()
    equal(set_quotas(world.state, "32MiB", "--files", str(FILES), "--sub-uid", world.ids)[0], 0)
    print(f"     once more: {time.monotonic() - began:.1f} s")


def test_the_wall(world):
    session = limited(world, "filler", "disk: hard")
    shown = world.show(session)["limits"]
    equal(shown["disk_quota"], {"bytes": WALL, "files": FILES})
    said = world.cli("sessions", "get", session["id"]).stdout
    check(f"disk 32MiB and {FILES} files (quota)" in said, said)
    words = world.ask(session, FILL).split()
    equal(words[:2], ["errno", str(errno.EDQUOT)], words)
    held, counted = stored(world, session), limits_of(world.state, owner_of(world, session))[1]
    check(WALL - MEBI < held <= WALL and counted <= WALL, f"{held} bytes on the disk, {counted} counted")
    print(f"     limit {WALL}: EDQUOT after {words[2]} bytes written, {held} on the disk, {counted} counted")
    # The session goes on, and its files cannot be another's.
    said = world.ask(session, "head -c 9999 /dev/zero | tee other >/dev/null; chown 1:1 big; chown 65534 big; echo on")
    check("Disk quota exceeded" in said and said.count("not permitted") == 2 and said.endswith("on\n"), said)
    check(limits_of(world.state, owner_of(world, session))[1] <= WALL, "more than the limit")
    world.filler = session


def test_other_ways_to_write(world):
    session = limited(world, "ways", "disk: hard")
    owner, most, over = owner_of(world, session), 0, threading.Event()

    def watch():
        nonlocal most
        while not over.wait(0.02):
            most = max(most, limits_of(world.state, owner)[1])
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        said = world.ask(session, OTHER_WAYS)
    finally:
        over.set()
        watcher.join()
    lines = said.split("\n")
    check("status 135" in lines and "no end" not in said, said)  # SIGBUS
    check("status 1" in lines and said.count("Disk quota exceeded") == 2, said)
    check(WALL // 2 < most <= WALL, f"{most} bytes counted at most")
    print(f"     mapped, reserved, direct: {most} bytes counted at most")


def test_uploads_meet_it_too(world):
    path = world.write(os.path.join(world.dir, "upload"), "x" * (8 * MEBI))
    done = world.cli("sessions", "cp", path, f"{world.filler['id']}:/workspace/upload")
    check(done.returncode != 0, done.stdout)
    check("quota" in done.stderr.lower(), done.stderr)
    check(limits_of(world.state, owner_of(world, world.filler))[1] <= WALL, "more than the limit")
    print("     " + done.stderr.strip().split("\n")[-1])


def test_the_next_session_is_not_hindered(world):
    session = limited(world, "neighbour", "disk: hard")
    equal(world.ask(session, "head -c 20000000 /dev/zero >big; stat -c %s big"), "20000000\n")
    equal(world.ask(world.filler, "rm -f big upload; head -c 20000000 /dev/zero >big; stat -c %s big"), "20000000\n")


def test_files_and_directories(world):
    session = limited(world, "many", "disk: hard")
    words = world.ask(session, MANY).split()
    equal(words[:2], ["errno", str(errno.EDQUOT)], words)
    check(FILES - 50 < int(words[2]) < FILES, words)
    print(f"     {words[2]} files beside what was there, of {FILES}")
    equal(world.ask(session, "rm -f f1*; mkdir d; echo fits"), "fits\n")


def test_a_watched_size_beside_it(world):
    session = limited(world, "both", "disk: 8MiB")
    said = world.cli("sessions", "get", session["id"]).stdout
    check("disk 8MiB" in said and "(quota)" in said, said)
    events = world.say(session, "head -c 30000000 /dev/zero >big; sleep 600")
    equal(events[-1]["error"]["code"], "disk_full", events[-1])


def test_it_stands_after_a_new_keeper(world):
    before = world.keeper.pid
    os.kill(before, 9)
    eventually(lambda: world.keeper.pid not in (0, before), "a new keeper", 60)
    session = eventually(lambda: created(world, "later"), "a session", 60)
    words = world.ask(session, FILL).split()
    equal(words[:2], ["errno", str(errno.EDQUOT)], words)
    check(stored(world, session) <= WALL, "bytes on the disk")
    owner = owner_of(world, session)
    equal(world.cli("sessions", "end", session["id"]).returncode, 0)
    eventually(lambda: limits_of(world.state, owner)[1] == 0, "what was stored is given back", 30)


def created(world, name):
    world.agent(name, EXEC + "limits: {disk: hard}")
    answer = world.post("/v1/sessions", {"agent": name})
    return answer.json if answer.status == 201 else None


def test_root_takes_them_away(world):
    session = limited(world, "freed", "disk: hard")
    equal(world.ask(session, FILL).split()[:2], ["errno", str(errno.EDQUOT)])
    began = time.monotonic()
    status, said = set_quotas(world.state, "0", "--sub-uid", world.ids)
    equal(status, 0, said)
    print(f"     {said.strip()} ({time.monotonic() - began:.1f} s)")
    first, count = map(int, world.ids.split(":"))
    equal([limits_of(world.state, owner)[0] for owner in (first, first + count - 1)], [0, 0], "limits")
    refused(world, "late")
    equal(world.ask(session, "head -c 50000000 /dev/zero >big; stat -c %s big"), "50000000\n")


# --- other places -----------------------------------------------------------------------------------------------------


def separate_no_wall_on_the_root_file_system():
    with harness.World() as world:
        world.start()
        refused(world, "plain")
        status, said = set_quotas(world.state, "32MiB", "--sub-uid", "1900000001:65536")
        check(status == 1 and "no user quotas" in said and "tune2fs -O quota" in said, said)
        print(f"     {said.strip()}")


def separate_numbers_that_nobody_enforces_are_no_wall():
    """ext4 with the feature and without the mount option counts, and does not limit."""
    with disk("loop") as (_, top), harness.World(state=os.path.join(top, "state")) as world:
        world.start()
        refused(world, "plain")
        status, said = set_quotas(world.state, "32MiB", "--sub-uid", "1900000001:65536")
        check(status == 1 and "mount it with usrquota" in said, said)
        print(f"     {said.strip()}")


def separate_quotas_survive_a_mount_and_others_are_refused():
    with disk() as (image, top):
        state = os.path.join(top, "state")
        os.mkdir(state)
        equal(set_quotas(state, "1MiB", "--sub-uid", "5000000:8")[0], 0)
        run("umount", top)
        run("mount", "-o", "loop,usrquota", image, top)
        equal([limits_of(state, owner)[0] for owner in (4999999, 5000000, 5000007, 5000008)], [0, MEBI, MEBI, 0])
        done = subprocess.run([LAUNCHER, "set-quotas", "--state-dir", top, "--bytes", "2MiB", "--sub-uid", "5000000:8"],
                              capture_output=True, text=True, check=False, user=pwd.getpwnam("tester").pw_uid,
                              extra_groups=[])
        check(done.returncode == 1 and "only root may" in done.stderr, done)
        equal(limits_of(state, 5000000)[0], MEBI)


def separate_the_unit():
    """The unit of the package, with other places: ids are those of the state directory's owner."""
    account, unit = pwd.getpwnam("tester"), "superserve-quota-test.service"
    with open("/etc/subuid", encoding="ascii") as file:
        first, count = map(int, re.search(r"^tester:(\d+):(\d+)$", file.read(), re.M).groups())
    with disk() as (_, top), contextlib.ExitStack() as stack:
        state = os.path.join(top, "state")
        os.makedirs(os.path.join(state, "sessions"))
        for path in state, os.path.join(state, "sessions"):
            os.chown(path, account.pw_uid, account.pw_gid)
            os.chmod(path, 0o700)
        settings, path = os.path.join(top, "quota"), f"/run/systemd/system/{unit}"
        with open(settings, "w", encoding="ascii") as file:
            file.write("BYTES=3MiB\nFILES=100\n")
        with open(UNIT, encoding="utf-8") as file:
            text = file.read().replace("@LIBDIR@", os.path.dirname(LAUNCHER))
        for old, new in (("/var/lib/superserve", state), ("/etc/superserve/quota", settings)):
            check(old in text, text)
            text = text.replace(old, new)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        stack.callback(run, "systemctl", "daemon-reload")
        stack.callback(os.unlink, path)
        run("systemctl", "daemon-reload")
        began = time.monotonic()
        done = subprocess.run(["systemctl", "start", unit], capture_output=True, text=True, check=False, timeout=300)
        stack.callback(run, "systemctl", "stop", unit, check_=False)
        journal = run("journalctl", "--no-pager", "-n", "20", "-u", unit)
        equal(done.returncode, 0, f"{done.stderr}{journal}")
        print(f"     in {time.monotonic() - began:.1f} s: " + journal.split("ids ")[-1].split("\n")[0])
        for owner in first, first + count - 1:
            bounds = limits_of(state, owner)
            equal((bounds[0], bounds[2]), (3 * MEBI, 100), f"id {owner}")
        said = run("systemd-analyze", "security", "--no-pager", unit)
        print("     exposure " + re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)[1])


def main():
    only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else ""
    counts = {"passed": 0, "failed": 0}
    tests = {name: value for name, value in globals().items() if name.startswith("test_") and only in name}
    if tests:
        try:
            with world_on_a_disk() as world:
                for name, function in tests.items():
                    attempt(name, lambda: function(world), counts)  # noqa: B023 - called at once
                if counts["failed"]:
                    print(open(world.log, encoding="utf-8").read()[-3000:])
                    print(run("journalctl", "--no-pager", "-n", "40", "-u", world.keeper.unit, check_=False))
        except Exception as error:
            counts["failed"] += 1
            print(f"FAIL no world: {type(error).__name__}: {str(error)[:3000]}", flush=True)
    for name, function in list(globals().items()):
        if name.startswith("separate_") and only in name:
            attempt(name, function, counts)
    print(f"{counts['passed']} passed, {counts['failed']} failed")
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
