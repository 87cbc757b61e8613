"""Random and spoilt bytes at every entry of a session's network: the supervisor lives, and others are served."""

import time

from harness import check, equal


def test_mischief(suite):
    world = suite.main
    seconds, seed = (600 if suite.long else 12 if suite.user else 40), 20261123
    with world.session("reach") as session, world.session("reach") as other:
        world.call(session, "mischief", seed=seed, seconds=2)
        pid, (memory, descriptors) = world.process.pid, world.memory()
        busy = world.start_call(session, "mischief", seed=seed + 1, seconds=seconds)
        second = world.start_call(other, "mischief", seed=seed + 2, seconds=seconds)
        highest, slowest, end = memory, 0.0, time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.monotonic()
            said = world.call(world.session_of("strict"), "get", way="connect", authority="www.example:80", token="calm")
            check("uri=/calm" in said, said[:300])
            slowest = max(slowest, time.monotonic() - began)
            highest = max(highest, world.memory()[0])
            world.check_alive()
            time.sleep(1)
        count = busy(60)["count"] + second(60)["count"]
        time.sleep(1)
        equal(world.process.pid, pid)
        world.check_alive()
        after = world.memory()
        print(f"     seed {seed}: {count} attempts; memory {memory >> 20}, at most {highest >> 20}, then {after[0] >> 20} "
              f"MiB; descriptors {descriptors}, then {after[1]}; others waited {slowest:.1f} s at most")
        check(count > 100, f"only {count} attempts")
        check(highest - memory < 64 << 20, f"memory grows from {memory} to {highest}")
        check(after[1] <= descriptors + 16, f"descriptors grow from {descriptors} to {after[1]}")
