#!/usr/bin/env python3
"""How long a crash of the supervisor is felt with many live sessions.

    python3 Benchmarks/recovery.py [--sessions 1000] [--rounds 3] [--bin .build/release]

Makes the sessions, kills the supervisor with SIGKILL, starts it again, and prints the seconds from the kill to the
first answered request and to the last session reconnected.
"""

import argparse
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../Tests/Integration"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bin", default=os.path.join(HERE, "../.build/release"))
    options = parser.parse_args()
    os.environ["SUPERSERVE_BIN"] = os.path.abspath(options.bin)
    import harness
    with harness.World(config="idle_timeout: 1h") as world:
        world.start()
        began = time.monotonic()
        sessions = [world.create("shell") for _ in range(options.sessions)]
        print(f"{len(sessions)} sessions made in {time.monotonic() - began:.1f} s", flush=True)
        for _ in range(options.rounds):
            seen = os.path.getsize(world.log)
            began = time.monotonic()
            world.kill()
            world.start()
            first = time.monotonic() - began

            def reconnected():
                with open(world.log) as log:
                    log.seek(seen)
                    return log.read().count("reconnected to init") >= len(sessions)
            harness.eventually(reconnected, "every session is reconnected", 120)
            print(f"first answer after {first:.2f} s, last session after {time.monotonic() - began:.2f} s", flush=True)
        harness.equal(world.ask(sessions[-1], "echo here"), "here\n")


if __name__ == "__main__":
    main()
