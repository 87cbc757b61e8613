#!/usr/bin/env python3
"""Is the machine what it is meant to be: another kernel, a real systemd, cgroup v2 whose limits hold?

    system.py [--after]       --after: what the kernel and systemd said meanwhile

Runs in the VM as root. Prints `N passed, N failed`.
"""

import ctypes
import os
import re
import subprocess
import sys
import time

CONTROLLERS = {"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"}
# What the kernel says when something in it went wrong.
ALARM = re.compile(r"\bBUG:|\bOops\b|WARNING: |general protection|hung task|blocked for more than")
LANDLOCK_CREATE_RULESET = 444


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def unit_with(property_, program):
    """A transient unit with one limit: how systemd says that it ended."""
    name = f"limit-{property_.split('=')[0].lower()}"
    subprocess.run(["systemd-run", "--quiet", "--wait", f"--unit={name}", "--property", property_,
                    "--property", "MemorySwapMax=0", "/usr/bin/python3", "-c", program], check=False, timeout=60)
    result = output("systemctl", "show", "--property=Result", "--value", name)
    subprocess.run(["systemctl", "reset-failed", name], check=False, capture_output=True)
    return result


def kernel():
    release = os.uname().release
    assert re.fullmatch(r"6\.1\.\d+-\d+-cloud-amd64", release), release
    abi = ctypes.CDLL(None, use_errno=True).syscall(LANDLOCK_CREATE_RULESET, None, 0, 1)
    print(f"     {release}, Landlock ABI {abi if abi > 0 else 'none'}")


def multi_user():
    assert output("systemctl", "is-active", "multi-user.target") == "active"
    reached = int(output("systemctl", "show", "--property=ActiveEnterTimestampMonotonic", "--value",
                         "multi-user.target")) / 1e6
    print(f"     {output('systemctl', '--version').splitlines()[0]}; multi-user after {reached:.1f} s, "
          f"payload after {time.clock_gettime(time.CLOCK_MONOTONIC):.1f} s")


def unified_groups():
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        types = [line.split(" - ")[1].split()[0] for line in file]
    assert types.count("cgroup2") == 1 and "cgroup" not in types, types
    with open("/sys/fs/cgroup/cgroup.controllers", encoding="ascii") as file:
        found = set(file.read().split())
    assert CONTROLLERS <= found, found


def memory_limit():
    assert unit_with("MemoryMax=40M", "bytearray(200 << 20)") == "oom-kill"
    assert unit_with("MemoryMax=400M", "bytearray(200 << 20)") == "success", "the same under a higher limit"


def task_limit():
    forks = "import os, time\nfor _ in range(20):\n    if os.fork() == 0: time.sleep(20)"
    assert unit_with("TasksMax=5", forks) == "exit-code"
    assert unit_with("TasksMax=40", forks) == "success", "the same under a higher limit"


def plain_user_namespaces():
    assert output("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
                  "unshare", "--user", "--map-root-user", "--mount", "--net", "id", "-u") == "0"


def no_failed_units():
    failed = output("systemctl", "list-units", "--failed", "--plain", "--no-legend")
    assert not failed, failed


def nothing_alarming():
    lines = [line for line in output("dmesg").splitlines() if ALARM.search(line)]
    assert not lines, "\n".join(lines[:40])


def main():
    if sys.argv[1:] == ["--after"]:
        steps = (no_failed_units, nothing_alarming)
    else:
        steps = (kernel, multi_user, unified_groups, memory_limit, task_limit, plain_user_namespaces, no_failed_units)
    passed = failed = 0
    for step in steps:
        try:
            step()
            passed += 1
            print(f"ok   {step.__name__}", flush=True)
        except Exception as error:  # every failure is reported
            failed += 1
            print(f"FAIL {step.__name__}: {type(error).__name__}: {str(error)[:3000]}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
