#!/usr/bin/env python3
"""Attacks on the sandbox, made from inside real sessions, each with a control that shows that it would work.

    python3 Tests/Isolation/run.py [--launcher PATH] [--user NAME] [--only TEXT] [--brief] [--cycles N]
                                    [--swaps N]

A door of the probe (probe/) counts as one attack; what needs more than one process is a function of the modules beside
this file. As root, `--user` runs the supervisor as that plain user. SUPERSERVE_BIN names the programs; `--launcher`
another launcher than the one there.

Prints what failed, then for each group how many attacks were refused and how many controls succeeded, and at the end
`N passed, N failed`.
"""

import argparse
import contextlib
import importlib
import os
import signal
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import setting  # noqa: E402

MODULES = ["test_doors", "test_controls", "test_bare", "test_calls", "test_release", "test_hardening",
           "test_neighbours", "test_exhaustion", "test_races", "test_teardown", "test_injection", "test_keep", "test_leaks"]
GROUPS = ["namespaces and mounts", "/proc and /sys", "devices and ttys", "capabilities and ids", "system calls",
          "sockets and network reach", "kernel attack surface", "descriptors and environment",
          "signals, limits and ptrace", "files of other sessions and of the host", "resource exhaustion",
          "symlink and rename races", "teardown races", "argv and env injection"]
ATTACKS, BARE, SWITCHED = 100, 25, 60  # at least, at most, at least


class Suite:
    """What was tried, and what came of it."""

    def __init__(self, options, programs):
        self.options = options
        self.programs = programs
        self.user = options.user
        self.root = setting.is_root()
        self.attacks = {}  # name -> (group, refused)
        self.controls = {}  # name of the attack -> works
        self.switched = set()  # attacks whose control is the switch
        self.bare = set()
        self.failures = []
        self.passed = 0
        self.skipped = {}

    @contextlib.contextmanager
    def running(self, **options):
        """A world whose supervisor answers."""
        with setting.Setting(self.programs, user=self.user, **options) as world:
            yield world.start()

    def fail(self, what):
        self.failures.append(what)
        print(f"FAIL {what}", flush=True)

    def attack(self, group, name, refused, detail="", bare=False):
        """`refused`: the attack was made and did not succeed."""
        assert group in GROUPS, group
        self.attacks[name] = (group, bool(refused))
        if bare:
            self.bare.add(name)
        if refused:
            self.passed += 1
        else:
            self.fail(f"{group}: {name}: {detail}")

    def control(self, name, works, detail="", switch=False):
        """`works`: the same attack succeeded where it should."""
        self.controls[name] = self.controls.get(name, False) or bool(works)
        if works:
            self.passed += 1
            if switch:
                self.switched.add(name)
        else:
            self.fail(f"control of {name}: {detail}")

    def skip(self, what, reason):
        self.skipped[what] = reason

    def check(self, name, holds, detail=""):
        """Anything that is neither an attack nor its control."""
        if holds:
            self.passed += 1
        else:
            self.fail(f"{name}: {detail}")

    def counts(self):
        """Prints the table, and checks the numbers when everything ran."""
        print(f"\n{'':42} attacks refused   controls that succeeded")
        for group in GROUPS:
            names = [name for name, (of, _) in self.attacks.items() if of == group]
            if names:
                refused = sum(self.attacks[name][1] for name in names)
                works = sum(self.controls.get(name, False) for name in names)
                print(f"{group:42} {refused:6} of {len(names):<6} {works:11} of {len(names)}")
        refused = sum(found[1] for found in self.attacks.values())
        works = sum(self.controls.get(name, False) for name in self.attacks)
        print(f"{'all':42} {refused:6} of {len(self.attacks):<6} {works:11} of {len(self.attacks)}")
        print(f"{len(self.switched)} controls by the switch; {len(self.bare)} attacks are a single refused call")
        for what, reason in sorted(self.skipped.items()):
            print(f"skipped {what}: {reason}")
        if self.options.only:
            return
        without = sorted(name for name in self.attacks if name not in self.controls and name not in self.skipped)
        self.check("every attack has a control", not without, ", ".join(without))
        self.check(f"at least {ATTACKS} attacks", len(self.attacks) >= ATTACKS, len(self.attacks))
        self.check(f"at most {BARE} bare calls", len(self.bare) <= BARE, len(self.bare))
        self.check(f"at least {SWITCHED} controls by the switch", len(self.switched) >= SWITCHED, len(self.switched))
        self.check("every group was attacked", {of for of, _ in self.attacks.values()} == set(GROUPS),
                   set(GROUPS) - {of for of, _ in self.attacks.values()})


def run_module(suite, module):
    for name, test in list(vars(module).items()):
        label = f"{module.__name__}.{name}"
        if not name.startswith("test_") or not callable(test) or suite.options.only not in label:
            continue
        setting.attempt(suite, label, test)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--launcher", help="default: superserve-launcher beside superserved")
    parser.add_argument("--user", help="run the supervisor as this account (needs root)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only tests whose name contains TEXT")
    parser.add_argument("--brief", action="store_true", help="no walls one by one, fewer exchanges")
    parser.add_argument("--cycles", type=int, default=30, help="sessions of the leak check")
    parser.add_argument("--swaps", type=int, default=100_000, help="exchanges of each race")
    options = parser.parse_args()
    if options.brief:
        options.swaps = min(options.swaps, 20_000)
    os.environ.pop("PYTHONUNBUFFERED", None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.ExitStack() as stack:
        programs = setting.Programs(stack, options.launcher and os.path.abspath(options.launcher))
        suite = Suite(options, programs)
        for name in MODULES:
            run_module(suite, importlib.import_module(name))
        suite.counts()
    for failure in suite.failures:
        print(f"failed: {failure[:300]}")
    skipped = f", {len(suite.skipped)} skipped" if suite.skipped else ""
    print(f"{suite.passed} passed, {len(suite.failures)} failed{skipped}", flush=True)
    return 1 if suite.failures or not suite.passed else 0


if __name__ == "__main__":
    sys.exit(main())
