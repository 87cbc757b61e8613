"""One session with 200 tunnels that move all they can must not starve another one's small requests."""

import json
import subprocess
import sys

import inside
from harness import SLOWNESS, check, eventually

SMALL = "http://www.example/small"
TUNNELS = 200


def figures(times):
    return times[len(times) // 2] * 1000, times[min(len(times) - 1, len(times) * 99 // 100)] * 1000


def show(what, times):
    p50, p99 = figures(times)
    print(f"     {what}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, {len(times)} requests")


def paced(world, session, seconds):
    found = world.call(session, "paced", url=SMALL, seconds=seconds)
    check("error" not in found, str(found))
    return found


def direct(suite, seconds):
    """The same requests without any proxy, by a program of the host."""
    done = subprocess.run([sys.executable, inside.__file__, "paced_direct", "-"], capture_output=True, text=True, input=json.dumps(
        {"host": "www.example", "seconds": seconds}))
    return json.loads(done.stdout)["times"]


def test_busy_tunnels_of_another_session(suite):
    """Beside what the machine's load alone costs a program that needs no supervisor."""
    with suite.world(config="max_connections: 1024") as world:
        world.start()
        small, large = world.session_of("strict"), world.session_of("reach")
        paced(world, small, 1)
        idle, idle_direct = paced(world, small, 6), direct(suite, 3)
        busy = world.start_call(large, "busy", count=TUNNELS, host="www.example", seconds=24, path="/workspace/busy")
        world.wait_file(large, "/workspace/busy")
        loaded, loaded_direct = paced(world, small, 8), direct(suite, 6)
        moved = busy()["moved"]
        check(moved > 100 << 20, f"the tunnels moved {moved} bytes only")
        for what, times in (("idle, direct", idle_direct), ("idle", idle["times"]), ("idle, kept connection", idle["kept"]),
                            ("busy, direct", loaded_direct), ("busy", loaded["times"]), ("busy, kept connection", loaded["kept"])):
            show(what, times)
        print(f"     {TUNNELS} tunnels moved {moved >> 20} MiB in 24 s")
        # A debug build that shares two processors with both clients and the server: without turns in reading, a request
        # took 1.5 s here. The figures are to be read beside those of the direct connection.
        p50, p99 = figures(loaded["times"])
        check(p50 < 100 * SLOWNESS and p99 < 500 * SLOWNESS, f"p50 {p50:.0f} ms, p99 {p99:.0f} ms beside busy tunnels")
        eventually(lambda: world.call(small, "paced", url=SMALL, seconds=0.2), "afterwards")
