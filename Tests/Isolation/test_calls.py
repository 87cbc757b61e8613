"""Every system call number, x32 and int 0x80, against the table in calls.txt."""

import os
import platform

from setting import HERE, Failure

TABLE = os.path.join(HERE, "calls.txt")
NAME = "system-call-table"


def golden():
    """number -> (name, what a session gets); the rest of 0 to 600 does not exist for it."""
    table = {}
    with open(TABLE, encoding="ascii") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                number, name, outcome = line.split()
                table[int(number)] = (name, outcome)
    return {number: table.get(number, ("-", "ENOSYS")) for number in range(601)}


def parse(output):
    """(native calls, foreign ones that were not killed)."""
    native, foreign = {}, []
    for line in output.splitlines():
        number, _, outcome = line.partition(" ")
        if number.isdigit():
            native[int(number)] = outcome
        elif outcome != "end":
            foreign.append(line)
    if len(native) != 601 or "i386 end" not in output:
        raise Failure(f"the table is not complete: {output[-300:]}")
    return native, foreign


def differences(native, expected):
    """Calls that are answered otherwise. A call that is allowed may be unknown to an older kernel."""
    wrong = []
    for number, (name, outcome) in expected.items():
        found = native[number]
        if found == outcome or (outcome == "allowed" and found in ("ENOSYS", "EPERM") and number > 440):
            continue
        if name in ("uprobe", "uretprobe") and found == "ENOSYS":
            continue
        wrong.append(f"{number} {name}: {found}, not {outcome}")
    return wrong


def test_calls(suite):
    if platform.machine() != "x86_64":
        return suite.skip(NAME, "the table is for x86-64")
    with suite.running() as world, world.session() as session:
        native, foreign = parse(world.run(session, "/agent/probe calls"))
    wrong = differences(native, golden()) + foreign
    suite.attack("system calls", NAME, not wrong, "; ".join(wrong[:20]))


def test_calls_control(suite):
    """Calls that are let through show, and nothing else; so does a foreign architecture."""
    if platform.machine() != "x86_64":
        return
    with suite.running(weak=True) as world:
        world.weaken(["call mount", "call bpf", "check architecture"])
        with world.session() as session:
            native, foreign = parse(world.run(session, "/agent/probe calls"))
    wrong = {line.split()[0] for line in differences(native, golden())}
    suite.control(NAME, wrong <= {"165", "321"} and any(line.startswith("i386") for line in foreign),
                  f"{wrong}, {foreign[:3]}", switch=True)
    suite.check("x32 is killed also then", not any(line.startswith("x32") for line in foreign), foreign[:3])
