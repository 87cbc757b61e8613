#!/usr/bin/env python3
"""Runs the tests of the C half against a real keeper: run.py --launcher PATH [--as-user NAME] [-k TEXT] [-x TEXT].

Every `test_*` function of every `test_*.py` beside this file gets a running world. Prints `N passed, N failed`.
"""

import argparse
import importlib
import os
import pathlib
import sys
import time
import traceback
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE))

import world as fixtures  # noqa: E402


def tests_of(module, options):
    """(name, function) in the order of the file."""

    def is_wanted(full):
        return any(text in full for text in options.k or [""]) and not any(text in full for text in options.x)

    found = [
        (name, function)
        for name, function in vars(module).items()
        if name.startswith("test_") and callable(function) and is_wanted(f"{module.__name__}.{name}")
    ]
    return sorted(found, key=lambda pair: pair[1].__code__.co_firstlineno)


def log_of(world):
    """What keeper, launcher and inits said."""
    world.log.flush()
    with open(world.log.name, encoding="utf-8", errors="replace") as log:
        return log.read()


def run_module(module, options, counts):
    tests = tests_of(module, options)
    if not tests:
        return
    with fixtures.World(options.launcher, options.as_user) as world:
        for name, function in tests:
            full = f"{module.__name__}.{name}"
            began = time.monotonic()
            try:
                function(world)
                counts["passed"] += 1
                print(f"ok      {full} ({time.monotonic() - began:.2f} s)", flush=True)
            except unittest.SkipTest as reason:
                counts["skipped"] += 1
                print(f"skipped {full}: {reason}", flush=True)
            except Exception:  # one broken test must not hide the others
                counts["failed"] += 1
                print(f"FAILED  {full}\n{traceback.format_exc()}", flush=True)
        log = log_of(world)
        if options.log and log:
            print(f"--- log of {module.__name__}\n{log}---", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--launcher", required=True, help="the superserve-launcher program")
    parser.add_argument("--as-user", help="run the keeper as this account (needs root)")
    parser.add_argument("-k", action="append", default=[], metavar="TEXT",
                        help="only tests whose name contains TEXT; may be repeated")
    parser.add_argument("-x", action="append", default=[], metavar="TEXT",
                        help="no test whose name contains TEXT; may be repeated")
    parser.add_argument("--log", action="store_true", help="print the launcher's log")
    options = parser.parse_args()
    if not os.access(options.launcher, os.X_OK):
        parser.error(f"{options.launcher} is not an executable program")
    os.environ.pop("PYTHONUNBUFFERED", None)  # it would hide what agents see on pipes
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for path in sorted(HERE.glob("test_*.py")):
        try:
            run_module(importlib.import_module(path.stem), options, counts)
        except Exception:
            counts["failed"] += 1
            print(f"FAILED  {path.stem}: no world\n{traceback.format_exc()}", flush=True)
    skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
    print(f"{counts['passed']} passed, {counts['failed']} failed{skipped}")
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
