#!/usr/bin/env python3
"""Runs the integration tests: built programs, real sandboxes, real kills.

    python3 Tests/Integration/run.py [--user NAME] [--only TEXT]

Each function `test_*` of the modules beside this file is one test; it gets a World that is not started
yet. As root, `--user` runs the supervisor and its clients as that plain user instead.
Prints one line a test and at the end `N passed, N failed`.
"""

import argparse
import importlib
import os
import signal
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402

MODULES = ["test_conversation", "test_lifecycle", "test_agents", "test_bad_input", "test_files",
           "test_crash", "test_upgrade", "test_service", "test_pressure", "test_users",
           "test_terminal", "test_limits"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--user")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    os.environ.pop("PYTHONUNBUFFERED", None)
    # Started in the background this would be ignored, and so by every program under test.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    passed, skipped, failed = 0, 0, []
    for module_name in MODULES:
        if not os.path.exists(os.path.join(os.path.dirname(__file__) or ".", module_name + ".py")):
            continue
        module = importlib.import_module(module_name)
        for name, test in list(vars(module).items()):
            label = f"{module_name}.{name}"
            if not name.startswith("test_") or not callable(test) or options.only not in label:
                continue
            if getattr(test, "root_only", False) and (options.user or os.geteuid() != 0):
                skipped += os.geteuid() != 0
                if os.geteuid() != 0:
                    print(f"skip {label}: needs root")
                continue
            began = time.monotonic()
            try:
                with harness.World(user=options.user, **getattr(test, "world", {})) as world:
                    test(world)
                passed += 1
                print(f"ok   {label} ({time.monotonic() - began:.1f}s)", flush=True)
            except Exception as error:  # noqa: BLE001 - every failure is reported
                failed.append(label)
                print(f"FAIL {label}: {str(error)[:1500]}", flush=True)
                if not isinstance(error, harness.Failure):
                    traceback.print_exc()
    for label in failed:
        print(f"failed: {label}")
    print(f"{passed} passed, {len(failed)} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
