#!/usr/bin/env python3
"""Suites that others wrote, inside of real sessions: the kernel's own tests, stress-ng and trinity.

    python3 Tests/Outside/run.py [kselftest] [stress] [trinity] [--minutes N] [--launcher PATH] [--user NAME] [--keep DIR]

kselftest runs bare and inside; `expected.txt` holds every difference with its reason. stress-ng (all of its class `os`)
and trinity fuzz from inside for so many minutes. Beside each of them lives a second session that must go on working;
afterwards all doors of Tests/Isolation are tried in the same session, and what is on the host, its limits and its counts
must be as before.

Needs root, so that the host can be looked at, and what `scripts/bootstrap outside` installs; `--user` runs the supervisor
as that plain user. SUPERSERVE_BIN names the programs, `--launcher` another launcher than the one there. `--keep` leaves
what the kernel's tests said in a directory. Ends with `N passed, N failed`.
"""

import argparse
import contextlib
import os
import signal
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "Isolation")]
import setting  # noqa: E402
import kselftest  # noqa: E402
import workloads  # noqa: E402

SUITES = ("kselftest", "stress", "trinity")


class Suite:
    """What was checked, and what came of it."""

    def __init__(self, options, programs):
        self.options, self.programs = options, programs
        self.user = options.user
        self.passed, self.failures, self.skipped = 0, [], {}

    @contextlib.contextmanager
    def running(self):
        """A world whose supervisor answers."""
        with setting.Setting(self.programs, user=self.user) as world:
            yield world.start()

    def check(self, name, holds, detail=""):
        if holds:
            self.passed += 1
        else:
            self.fail(f"{name}: {detail}")

    def fail(self, what):
        self.failures.append(what)
        print(f"FAIL {what[:4000]}", flush=True)

    def skip(self, what, reason):
        self.skipped[what] = reason


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"default: {' '.join(SUITES)}")
    parser.add_argument("--minutes", type=float, default=5, help="of each workload")
    parser.add_argument("--launcher", help="default: superserve-launcher beside superserved")
    parser.add_argument("--user", help="run the supervisor as this account")
    parser.add_argument("--keep", metavar="DIR", help="leave outcomes of the kernel's tests there")
    options = parser.parse_args()
    wanted = options.suites or SUITES
    if not set(wanted) <= set(SUITES):
        parser.error(f"suites are: {' '.join(SUITES)}")
    os.environ.pop("PYTHONUNBUFFERED", None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.geteuid() != 0:
        print("Error: only root can look at the host and at the service's processes", file=sys.stderr)
        return 77
    with contextlib.ExitStack() as stack:
        programs = setting.Programs(stack, options.launcher and os.path.abspath(options.launcher))
        suite = Suite(options, programs)
        setting.attempt(suite, "canaries", workloads.canaries_see)
        for name in wanted:
            if name == "kselftest":
                setting.attempt(suite, name, kselftest.run)
            else:
                setting.attempt(suite, name, workloads.run, name, options.minutes)
    for what, reason in sorted(suite.skipped.items()):
        print(f"skipped {what}: {reason}")
    for failure in suite.failures:
        print(f"failed: {failure[:300]}")
    skipped = f", {len(suite.skipped)} skipped" if suite.skipped else ""
    print(f"{suite.passed} passed, {len(suite.failures)} failed{skipped}", flush=True)
    return 1 if suite.failures or not suite.passed else 0


if __name__ == "__main__":
    sys.exit(main())
