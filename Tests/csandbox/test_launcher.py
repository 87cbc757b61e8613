"""What the launcher promises: requests, and what they cost it."""

import contextlib
import errno
import os
import random
import secrets
import stat
import unittest

import wire
import world as fixtures
from steps import host_directory, launcher_pid, need_root, own_world, refused
from wire import Disconnected


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
