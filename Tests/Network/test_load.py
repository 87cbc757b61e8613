"""Many tunnels, much through one, and ends: sizes are those of the supervisor, times those of the other side."""

import concurrent.futures
import os
import time

from harness import check, equal, eventually
from internet import TOOLS


def while_watched(world, function):
    """What the function gives, and the most memory that the supervisor had meanwhile."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future, highest = pool.submit(function), 0
        while not future.done():
            highest = max(highest, world.memory()[0])
            time.sleep(0.1)
        return future.result(), highest


def test_a_thousand_tunnels(suite):
    """Of one session, all at once, each alive; another session is served meanwhile."""
    world = suite.main
    with world.session("reach") as session:
        busy = world.start_call(session, "tunnels", count=1000, authority="tools.example:1007", hold=4.0)
        eventually(lambda: suite.net.held.open >= 900, "most of the tunnels", 120)
        times = []
        for number in range(5):
            began = time.monotonic()
            said = world.call(world.session_of("strict"), "get", way="connect", authority="www.example:80",
                              token=f"meanwhile{number}")
            times.append(time.monotonic() - began)
            check(f"uri=/meanwhile{number}" in said, said[:300])
        found = busy(240)
        equal((found["opened"], found["alive"]), (1000, 1000), str(found["failed"]))
        check(min(times) < 3, f"another session takes {times} s")
    eventually(lambda: suite.net.held.open == 0, "the tunnels end", 20)
    world.check_alive()


def test_tunnels_beyond_the_bound_wait(suite):
    """More than `max_connections` at once: those beyond wait until others end, and all are served."""
    with suite.world(config="max_connections: 20") as world:
        world.start()
        suite.net.held.most = 0
        found = world.call(world.session_of("reach"), "crowd", count=80, authority="tools.example:1007")
        equal(found["served"], 80, str(found["failed"]))
        check(10 <= suite.net.held.most <= 20, f"{suite.net.held.most} at once")


def test_flat_memory_with_much_through_one_tunnel(suite):
    world = suite.main
    size = (10 << 30) if suite.long else (1 << 30) if suite.user else (2 << 30)
    session = world.session_of("reach")
    small = "python3 -c 'import sys; sys.path.insert(0, \"/agent\"); import inside_ways; " \
            "c = inside_ways.reach(\"connect\", \"tools.example:1009\"); c.settimeout(60); c.sendall(b\"{0}\\n\"); t = 0\n" \
            "while d := c.recv(1 << 20): t += len(d)\nprint(t)'"
    equal(world.sh(session, small.format(64 << 20)).strip(), str(64 << 20))
    before, descriptors = world.memory()
    began = time.monotonic()
    said, highest = while_watched(world, lambda: world.sh(session, small.format(size)))
    equal(said.strip(), str(size), "bytes")
    print(f"     {size >> 20} MiB in {time.monotonic() - began:.1f} s, memory {before >> 20} to {highest >> 20} MiB")
    check(highest - before < 48 << 20, f"memory grows from {before} to {highest}")
    check(world.memory()[1] <= descriptors + 4, "descriptors grow")


def test_a_stuck_reader_holds_little(suite):
    """Tunnels whose client reads nothing: the server is stopped, memory stays."""
    world = suite.main
    session = world.session_of("reach")
    before = world.memory()[0]
    script = ("python3 -c 'import sys, time; sys.path.insert(0, \"/agent\"); import inside_ways\n"
              "cs = [inside_ways.reach(\"connect\", \"tools.example:1009\") for _ in range(50)]\n"
              "for c in cs: c.sendall(b\"100000000\\n\")\ntime.sleep(4)\nprint(len(cs))'")
    said, highest = while_watched(world, lambda: world.sh(session, script))
    equal(said.strip(), "50")
    check(highest - before < 64 << 20, f"50 stuck tunnels hold {highest - before} bytes")


def test_the_end_of_a_session_cuts_its_tunnels(suite):
    """Within 100 ms, as the other side sees it."""
    world = suite.main
    session = world.create("reach")
    log = os.path.join(world.state, "network", session["id"].removeprefix("ses_").replace("-", "") + ".jsonl")
    world.sh(session, "curl -s http://refused.example/ || true")
    eventually(lambda: os.path.exists(log), "the record of a refusal")
    ways = [["connect", "tools.example:1007"], ["socks", "tools.example:1007"]] * 10
    world.start_call(session, "hold", authorities=ways, path="/workspace/held")
    world.wait_file(session, "/workspace/held")
    eventually(lambda: suite.net.held.open >= 20, "the tunnels")
    suite.net.held.ended.clear()
    began = time.monotonic()
    world.post(f"/v1/sessions/{session['id']}/end")
    eventually(lambda: suite.net.held.open == 0, "the tunnels end")
    took = max(suite.net.held.ended) - began
    print(f"     {len(suite.net.held.ended)} tunnels cut, the last after {took * 1000:.0f} ms")
    equal(len(suite.net.held.ended), 20, f"tunnels to {TOOLS}")
    check(took < 0.1, f"the last ends after {took * 1000:.0f} ms")
    # What was recorded went with the session, and the ends of its tunnels did not bring it back.
    time.sleep(0.5)
    check(not os.path.exists(log), "records of a session that was ended")
