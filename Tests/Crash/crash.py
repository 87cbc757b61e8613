#!/usr/bin/env python3
"""Crash tests: kills the supervisor at each named place, and everything at random under load.

    python3 Tests/Crash/crash.py [--user NAME] [--only TEXT]              each place once: `N passed, N failed`
    python3 Tests/Crash/crash.py --chaos KILLS [--seed N] [--user NAME]   random kills, at the end the same line
"""

import argparse
import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../Integration")]
from chaos import chaos  # noqa: E402
from places import walk_all  # noqa: E402


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--user")
    parser.add_argument("--only", default="")
    parser.add_argument("--chaos", type=int, default=0)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    os.environ.pop("PYTHONUNBUFFERED", None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if options.chaos:
        passed, failed = chaos(options)
    else:
        passed, failed = walk_all(options)
    print(f"{passed} passed, {len(failed)} failed", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
