#!/usr/bin/env python3
"""Runs the network tests: real sandboxes, real servers, attempts to get around the policy.

    python3 Tests/Network/run.py [--user NAME] [--only TEXT] [--long]

Needs root to make two networks of its own, in namespaces that end with it; nothing of the host's is changed. `--user`
runs the supervisor as that plain user. `--long` takes about ten minutes and moves 10 GB.
Prints one line a test and at the end `N passed, N failed[, N skipped]`.
"""

import argparse
import contextlib
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "Integration")]
import harness  # noqa: E402
import internet  # noqa: E402
import setting  # noqa: E402

MODULES = ["test_reach", "test_bypass", "test_names", "test_load", "test_restart", "test_edit", "test_robust",
           "test_budget", "test_fairness", "test_secrets", "test_intercept"]
INSIDE = "SUPERSERVE_NETWORK_TEST"

# With models, packages and repositories on the other side.
MODULES += ["test_assistant", "test_real_programs", "test_mirror"]
# These take long, and nothing in them depends on who started the supervisor: with `--user` only where they are asked for.
ONCE = ["test_load", "test_robust", "test_budget", "test_fairness", "test_intercept", "test_assistant",
        "test_real_programs", "test_mirror"]


class Suite:
    """What the tests are given, and how they went."""

    def __init__(self, net, programs, options):
        self.net = net
        self.programs = os.path.join(programs, "tools")
        self.real = os.path.join(programs, "real")
        self.user = options.user
        self.long = options.long
        self.only = options.only
        self.passed, self.failed, self.skipped = 0, [], 0
        self.shared = None
        self.stack = contextlib.ExitStack()

    def world(self, **options):
        """A supervisor of its own; not started yet."""
        return setting.Setting(self.net, self.programs, user=self.user, **options)

    @property
    def main(self):
        """The supervisor that tests share which leave it as it was."""
        if self.shared is None or self.shared.process is None or self.shared.process.poll() is not None:
            self.close_main()
            self.shared = self.stack.enter_context(self.world()).start()
        return self.shared

    def close_main(self):
        self.stack.close()
        self.shared = None

    def result(self, label, problem=None, seconds=None):
        took = f" ({seconds:.1f}s)" if seconds is not None else ""
        if problem:
            self.failed.append(label)
            print(f"FAIL {label}: {problem[:1500]}", flush=True)
        else:
            self.passed += 1
            print(f"ok   {label}{took}", flush=True)

    def skip(self, label, reason):
        self.skipped += 1
        print(f"skip {label}: {reason}", flush=True)


def wanted(suite, label):
    """The table of attempts chooses among its rows by itself."""
    return suite.only in label or (label == "test_bypass.test_table" and suite.only.startswith("test_bypass."))


def modules(options):
    if not options.user or options.only or options.long:
        return MODULES
    return [name for name in MODULES if name not in ONCE]


def run_tests(suite):
    if modules(suite) != MODULES:
        print(f"only where root runs the supervisor: {', '.join(ONCE)}", flush=True)
    for name in modules(suite):
        module = importlib.import_module(name)
        for title, test in list(vars(module).items()):
            label = f"{name}.{title}"
            if not title.startswith("test_") or not callable(test) or not wanted(suite, label):
                continue
            if getattr(test, "root_only", False) and suite.user:
                continue
            began = time.monotonic()
            try:
                test(suite)
                if not getattr(test, "counts_itself", False):
                    suite.result(label, seconds=time.monotonic() - began)
            except Exception as error:  # noqa: BLE001 - every failure is reported
                suite.result(label, str(error) or type(error).__name__)
                if not isinstance(error, harness.Failure):
                    traceback.print_exc()
    suite.close_main()


def make_programs(directory, python):
    """What goes into the sessions and needs the real network or a compiler: made before this process leaves both."""
    done = subprocess.run(
        [shutil.which("clang") or "gcc", "-std=gnu17", "-O1", "-Wall", "-Wextra", "-Werror", "-static", "-o",
         os.path.join(directory, "client"), os.path.join(HERE, "client.c")], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"Error: client.c does not compile:\n{done.stderr}")
    if not pip(python, "install", "--no-compile", "--target", os.path.join(directory, "lib"), "requests", "httpx"):
        shutil.rmtree(os.path.join(directory, "lib"), ignore_errors=True)
    for path, _, files in os.walk(directory):
        os.chmod(path, 0o755)
        for file in files:
            os.chmod(os.path.join(path, file), os.stat(os.path.join(path, file)).st_mode | 0o444)


def make_real_programs(directory, python):
    """Those of test_real_programs. Of Claude Code's wheel, 168 MB, one file is wanted; it is kept for the next run."""
    pip(python, "install", "--no-compile", "--target", os.path.join(directory, "llm"), "llm")
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or "/var/cache", "superserve", "wheels")
    os.makedirs(cache, exist_ok=True)
    if pip(python, "download", "--no-deps", "-d", cache, "claude-agent-sdk"):
        wheels = sorted((os.path.join(cache, name) for name in os.listdir(cache)), key=os.path.getmtime)
        for old in wheels[:-1]:
            os.unlink(old)
        with zipfile.ZipFile(wheels[-1]) as archive:
            path = archive.extract("claude_agent_sdk/_bundled/claude", os.path.join(directory, "claude"))
        os.chmod(path, 0o755)


def pip(python, *words):
    """False, and said, where that does not work within a bounded time: the tests that need it are skipped."""
    try:
        done = subprocess.run([python, "-m", "pip", "-q", "--timeout", "30", *words], capture_output=True, text=True,
                              timeout=400)
        problem = (done.stderr.strip().splitlines() or ["?"])[-1] if done.returncode != 0 else None
    except (subprocess.TimeoutExpired, OSError) as error:
        problem = str(error)
    if problem:
        print(f"{words[-1]} is not to be had from PyPI: {problem}", flush=True)
    return problem is None


def enter(options):
    """Runs this program again in namespaces of its own, with what it needs made."""
    programs = tempfile.mkdtemp(prefix="superserve-network-", dir="/tmp")
    try:
        os.chmod(programs, 0o755)
        for name in ("tools", "real"):
            os.mkdir(os.path.join(programs, name), 0o755)
        subprocess.run(["/usr/bin/python3", "-m", "venv", os.path.join(programs, "venv")], capture_output=True)
        python = os.path.join(programs, "venv/bin/python")
        make_programs(os.path.join(programs, "tools"), python)
        real = "test_real_programs"
        if real in modules(options) and (options.only in real or options.only.startswith(real)):
            make_real_programs(os.path.join(programs, "real"), python)
        shutil.rmtree(os.path.join(programs, "venv"), ignore_errors=True)
        command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation",
                   "private", sys.executable, os.path.abspath(__file__), *sys.argv[1:]]
        return subprocess.run(command, env={**os.environ, INSIDE: programs}).returncode
    finally:
        shutil.rmtree(programs, ignore_errors=True)


def leave(*_):
    raise SystemExit(130)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--user")
    parser.add_argument("--only", default="")
    parser.add_argument("--long", action="store_true")
    options = parser.parse_args()
    os.environ.pop("PYTHONUNBUFFERED", None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.geteuid() != 0:
        print("the network tests need root for networks of their own")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    if INSIDE not in os.environ:
        return enter(options)
    programs = os.environ.pop(INSIDE)
    with internet.Internet() as net:
        suite = Suite(net, programs, options)
        try:
            run_tests(suite)
        finally:
            suite.close_main()
    for label in suite.failed:
        print(f"failed: {label}")
    print(f"{suite.passed} passed, {len(suite.failed)} failed"
          + (f", {suite.skipped} skipped" if suite.skipped else ""), flush=True)
    return 1 if suite.failed or not suite.passed else 0


if __name__ == "__main__":
    sys.modules["run"] = sys.modules["__main__"]
    sys.exit(main())
