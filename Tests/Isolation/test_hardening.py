"""The programs are built as a target should be: random addresses, read-only relocations, canaries, checked copies."""

import glob
import os
import subprocess

import hardening
import harness
from setting import HERE, ROOT, compile_c

MODULE = os.path.join(ROOT, "CSandbox")
PROBE = os.path.join(HERE, "probe")
SOFT = ["-fno-stack-protector", "-U_FORTIFY_SOURCE", "-Wl,-z,norelro", "-Wl,-z,execstack"]
CANARIES, CHECKED = 20, 5  # functions of the C module that have them, at least


def test_programs(suite):
    programs = [os.path.join(harness.BIN, "superserve"), os.path.join(harness.BIN, "superserved"),
                suite.programs.launcher]
    for path in programs:
        program, name = hardening.Program(path), os.path.basename(path)
        for what, (holds, found) in program.verdicts().items():
            suite.check(f"{name}: {what}", holds, found)
        if program.imports:
            suite.check(f"{name}: stack canaries", "__stack_chk_fail" in program.imports)
    ours = hardening.functions_of(MODULE)
    suite.check("the names of functions are found", len(ours) > 300, len(ours))
    for what, callee, least in (("canaries", hardening.CANARY, CANARIES), ("checked calls", hardening.CHECKED, CHECKED)):
        found = hardening.callers(suite.programs.launcher, ours, callee)
        suite.check(f"launcher: functions with {what}", len(found) >= least, sorted(found))


def test_launcher_needs_no_library(suite):
    """Nothing that a session's root holds is loaded into init."""
    program = hardening.Program(suite.programs.launcher)
    suite.check("launcher: no library", not program.entries("NEEDED") and "INTERP" not in program.segments,
                program.dynamic)


def test_soft_programs_are_seen(suite):
    """Control: the same look at programs that were built without any of it."""
    static = os.path.join(suite.programs.directory, "soft")
    compile_c(static, glob.glob(os.path.join(PROBE, "*.c")), SOFT)
    verdicts = hardening.Program(static).verdicts()
    for what in ("loaded at a random address", "no executable stack", "relocations are read-only",
                 "all of them, at the start"):
        suite.check(f"soft: not {what}", not verdicts[what][0], verdicts[what])
    ours = hardening.functions_of(PROBE)
    for what, callee in (("canaries", hardening.CANARY), ("checked calls", hardening.CHECKED)):
        found = hardening.callers(static, ours, callee)
        suite.check(f"soft: no function with {what}", not found, sorted(found))
    source = os.path.join(suite.programs.directory, "soft.s")
    with open(source, "w", encoding="ascii") as file:
        # Code that holds an address which is only known at the start, in a segment that may be written.
        file.write('.section .bad, "awx"\n.globl main\nmain: ret\n.quad main\n'
                   '.text\n.quad main\n.section .note.GNU-stack, "", @progbits\n')
    shared = os.path.join(suite.programs.directory, "soft-shared")
    subprocess.run(["gcc", "-pie", "-Wl,-z,notext", "-Wl,-rpath,/tmp:lib", source, "-o", shared], check=True,
                   stderr=subprocess.DEVNULL)
    verdicts = hardening.Program(shared).verdicts()
    for what in ("nothing writable is executable", "code is not changed at the start", "libraries only from safe places"):
        suite.check(f"soft: not {what}", not verdicts[what][0], verdicts[what])
