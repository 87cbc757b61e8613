#!/usr/bin/env python3
"""A conversation through the command line, with the places and the supervisor that superserve takes by itself.

    conversation.py [--group own|PATH]

Whoever calls it has it; SUPERSERVE_BIN names the programs. With `--group` sessions must get a control group below that
one (`own`: the caller's), because it is delegated to the supervisor. Prints `N passed, N failed`.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time

SUPERSERVE = os.path.join(os.environ["SUPERSERVE_BIN"], "superserve")
QUESTION = "echo kept | tee file; id -u; uname -r; cat /proc/self/cgroup; cat /proc/self/uid_map"


def superserve(*arguments, seconds=120):
    began = time.monotonic()
    done = subprocess.run([SUPERSERVE, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=seconds)
    print(f"     superserve {' '.join(arguments[:2])}: {time.monotonic() - began:.1f} s", flush=True)
    if done.returncode != 0:
        raise AssertionError(f"superserve {' '.join(arguments)}: status {done.returncode}: {done.stderr}{done.stdout}")
    return done.stdout


def processes():
    """Command lines of superserve's own programs that run as the caller."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
            if os.stat(f"/proc/{pid}").st_uid == os.geteuid() and b"superserve" in os.path.basename(words[0]):
                found.append(b" ".join(words[:3]).decode())
    return found


def listed(status):
    """Ids of the caller's sessions in that state; ended ones stay in the list for a while."""
    sessions = json.loads(superserve("sessions", "list", "--json"))["sessions"]
    return [session["id"] for session in sessions if session["status"] == status]


class Conversation:
    """Steps that follow each other; each is a test."""

    def __init__(self, group):
        if group == "own":
            with open("/proc/self/cgroup", encoding="ascii") as file:
                group = next(line.strip()[3:] for line in file if line.startswith("0::"))
        self.group = group
        self.id = None

    def begin(self):
        lines = superserve("run", "shell", QUESTION, "--single").splitlines()
        assert lines[:4] == ["kept", "1000", os.uname().release, "0::/"], lines
        maps = [[int(word) for word in line.split()] for line in lines[4:]]
        assert maps, lines
        for inside, outside, count in maps:
            assert not outside <= 0 < outside + count, f"root of the host is in the map: {maps}"
            assert not outside <= os.geteuid() < outside + count, f"the caller is in the map: {maps}"

    def find(self):
        sessions = listed("idle")
        assert len(sessions) == 1, sessions
        self.id = sessions[0]

    def find_group(self):
        top = "/sys/fs/cgroup" + self.group
        name = self.id.removeprefix("ses_").replace("-", "")
        found = [path for path, _, _ in os.walk(top) if os.path.basename(path) == name]
        assert len(found) == 1, (found, [path for path, _, _ in os.walk(top)])
        with open(os.path.join(found[0], "init", "cgroup.procs"), encoding="ascii") as file:
            assert file.read().split(), "the session's init is in its group"

    def resume(self):
        said = superserve("sessions", "resume", self.id, "cat file", "--single")
        assert said == "kept\n", said

    def copy(self):
        assert superserve("sessions", "cp", f"{self.id}:file", "-") == "kept\n"

    def end(self):
        superserve("sessions", "end", self.id)
        assert self.id in listed("ended") and not listed("idle")

    def stop(self):
        superserve("supervisor", "stop")
        deadline = time.monotonic() + 60
        while processes():
            assert time.monotonic() < deadline, processes()
            time.sleep(0.1)

    def steps(self):
        yield from (self.begin, self.find)
        if self.group:
            yield self.find_group
        yield from (self.resume, self.copy, self.end, self.stop)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--group")
    conversation = Conversation(parser.parse_args().group)
    passed = failed = 0
    for step in conversation.steps():
        began = time.monotonic()
        try:
            step()
            passed += 1
            print(f"ok   {step.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception as error:  # the supervisor is to be stopped whatever happened
            failed += 1
            print(f"FAIL {step.__name__}: {type(error).__name__}: {str(error)[:3000]}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
