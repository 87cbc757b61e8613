"""The kernel's own tests from Debian's linux-source, bare and inside of a session.

They are built once and kept below ${XDG_CACHE_HOME:-/var/cache}/superserve. Bare they run as root, in namespaces that
end with them; inside as the agent. `expected.txt` says which tests end otherwise inside, and why.
"""

import fnmatch
import hashlib
import os
import re
import shutil
import subprocess
import tempfile

from setting import Failure, check
from workloads import beside

HERE = os.path.dirname(os.path.abspath(__file__))
TABLE = os.path.join(HERE, "expected.txt")
SOURCE = "/usr/src/linux-source-6.1.tar.xz"
TARGETS = ["clone3", "landlock", "mount_setattr", "openat2", "pidfd", "seccomp"]
TESTS = "tools/testing/selftests"
# What making the kernel's headers and these tests needs.
PARTS = ["Makefile", "Kbuild", "Kconfig", "arch/x86", "include", "scripts", "tools/include", "tools/scripts",
         *(f"{TESTS}/{part}" for part in ["Makefile", "*.h", "*.mk", "kselftest", *TARGETS])]
# A program that a test starts, and one that measures speed.
NOT_TESTS = {"landlock/true", "seccomp/seccomp_benchmark"}
SECONDS = 300  # for one program
PROGRAMS, PASSED_BARE, PASSED_INSIDE = 18, 150, 50  # at least
# Each program in its own directory, its lines in order although it forks. The tests of openat2 are built with a sanitizer
# that wants to be the first library.
SCRIPT = """
export ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0
for program in {programs}; do
    printf '\\n=== %s\\n' "$program"
    (cd "${{program%/*}}" && timeout -k 5 {seconds} stdbuf -oL "./${{program##*/}}" </dev/null 2>&1)
    printf '\\n=== exit %s\\n' "$?"
done
"""
BARE = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc", "--ipc",
        "--uts", "--net", "env", "-i", "PATH=/usr/bin:/bin", "sh", "-c"]
OWN_TMP = 'mount --bind /tmp /tmp && cd "$PWD"\n'  # which one of the tests wants to be a mount


def cached():
    """Where the programs are kept: named after the sources and after what is made of them."""
    status = os.stat(SOURCE)
    key = hashlib.sha256(repr((status.st_size, int(status.st_mtime), TARGETS, PARTS)).encode()).hexdigest()[:12]
    base = os.environ.get("XDG_CACHE_HOME") or ("/var/cache" if os.geteuid() == 0 else os.path.expanduser("~/.cache"))
    return os.path.join(base, "superserve", f"kselftest-{key}")


def make(work):
    """Unpacks what is needed and builds; the directory with the programs."""
    check(os.path.exists(SOURCE), f"{SOURCE} is missing; run: scripts/bootstrap outside")
    top = os.path.basename(SOURCE).removesuffix(".tar.xz")
    tree, programs, log = os.path.join(work, top), os.path.join(work, "programs"), os.path.join(work, "log")
    steps = [["tar", "--extract", "--file", SOURCE, "--directory", work, "--wildcards",
              *(f"{top}/{part}" for part in PARTS)],
             ["make", "-s", "-C", tree, "headers"],
             ["make", "-s", "-C", os.path.join(tree, TESTS), f"TARGETS={' '.join(TARGETS)}", "FORCE_TARGETS=1"]]
    with open(log, "w", encoding="utf-8") as file:
        for step in steps:
            if subprocess.run(step, stdin=subprocess.DEVNULL, stdout=file, stderr=file).returncode != 0:
                with open(log, encoding="utf-8") as lines:
                    raise Failure(f"{' '.join(step)[:80]}: {lines.read()[-2000:]}")
    for target in TARGETS:
        source = os.path.join(tree, TESTS, target)
        os.makedirs(os.path.join(programs, target))
        for name in os.listdir(source):
            path = os.path.join(source, name)
            if os.path.isfile(path) and os.access(path, os.X_OK) and "." not in name:
                shutil.copy(path, os.path.join(programs, target, name))
    return programs


def built():
    place = cached()
    if not os.path.isdir(place):
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="kselftest-", dir=os.path.dirname(place)) as work:
            made = make(work)
            os.chmod(made, 0o755)
            os.rename(made, place)
    return place


def outcomes(said):
    """program: {test: pass, fail or skip} from lines of TAP; `exit` is how the program as a whole ended."""
    found, tests, name = {}, {}, None
    for line in said.splitlines():
        if match := re.match(r"=== exit (\d+)$", line):
            status = int(match[1])
            tests["exit"] = {0: "pass", 4: "skip", 124: "time"}.get(status, "fail" if status < 128 else "killed")
        elif match := re.match(r"=== (\S+)$", line):
            tests, name = found.setdefault(match[1], {}), None
        elif match := re.match(r"# +RUN +(\S+) \.\.\.$", line):
            name = match[1]
        elif match := re.match(r"(not )?ok (\d+)\b(.*)", line):
            skipped = re.search(r"# *(SKIP|XFAIL)", match[3])
            tests[name or f"#{match[2]}"] = "skip" if skipped else "fail" if match[1] else "pass"
            name = None
    return found


class Line:
    """PROGRAM TEST INSIDE MEASURE REASON"""

    def __init__(self, number, text):
        words = text.split(None, 4)
        check(len(words) == 5, f"{TABLE}:{number}: not PROGRAM TEST INSIDE MEASURE REASON")
        self.number = number
        self.program, self.test, self.inside, self.measure, self.reason = words
        self.used = False

    def covers(self, program, test):
        return program == self.program and fnmatch.fnmatchcase(test, self.test.replace("[", "[[]"))


def table():
    with open(TABLE, encoding="utf-8") as file:
        lines = [(number, line.strip()) for number, line in enumerate(file, 1)]
    return [Line(number, line) for number, line in lines if line and not line.startswith("#")]


def compare(bare, inside, expected):
    """(tests that are as expected, what is not): every difference is in the table, and the table holds nothing else."""
    right, wrong = 0, []
    for program in sorted({*bare, *inside}):
        for test in {**bare.get(program, {}), **inside.get(program, {})}:
            was, is_now = bare.get(program, {}).get(test, "none"), inside.get(program, {}).get(test, "none")
            line = next((line for line in expected if line.covers(program, test)), None)
            if line:
                line.used = True
            # Where a test does not pass bare, this kernel cannot show a difference; there may be one all the same.
            wanted = {line.inside} if line and was == "pass" else {line.inside, was} if line else {was}
            if is_now in wanted:
                right += 1
            else:
                wrong.append(f"{program} {test}: bare {was}, inside {is_now}, expected {' or '.join(sorted(wanted))}")
    wrong += [f"{TABLE}:{line.number}: there is no such test" for line in expected if not line.used]
    return right, wrong


def count(found, outcome):
    return sum(list(tests.values()).count(outcome) for tests in found.values())


def run_bare(place, script):
    """As root, where what the tests leave behind ends with them."""
    with tempfile.TemporaryDirectory(prefix="superserve-kselftest-") as work:
        copy = os.path.join(work, "k")
        shutil.copytree(place, copy)
        done = subprocess.run([*BARE, OWN_TMP + script], cwd=copy, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=SECONDS * 10)
        return done.stdout.decode("utf-8", "replace")


def check_table(suite, expected):
    """Each reason names a measure that there is."""
    listed = subprocess.run([suite.programs.launcher, "measures"], capture_output=True, text=True, check=True).stdout
    names = {line.split("\t")[0] for line in listed.splitlines()}
    unknown = [f"{line.number}: {line.measure}" for line in expected if line.measure not in names]
    suite.check("kselftest: measures of the table", len(names) > 40 and not unknown, unknown)


def check_comparison(suite, bare, inside):
    """Control: one outcome that is another one inside is noticed, whichever way."""
    for was, instead in (("pass", "fail"), ("fail", "pass"), ("skip", "pass")):
        found = [(program, test) for program in inside for test in inside[program]
                 if inside[program][test] == was and bare.get(program, {}).get(test) == "pass"]
        check(found, f"no test that passes bare ends as {was} inside")
        program, test = found[0]
        other = {**inside, program: {**inside[program], test: instead}}
        _, wrong = compare(bare, other, table())
        suite.check(f"kselftest: {test} would be missed", any(f"{program} {test}:" in one for one in wrong), wrong[:3])


def listed(found):
    return "".join(f"{program} {test} {result}\n" for program, tests in found.items() for test, result in tests.items())


def keep(directory, **texts):
    for name, text in texts.items():
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(text)


def run(suite):
    place = built()
    programs = sorted(f"{target}/{name}" for target in TARGETS for name in os.listdir(os.path.join(place, target))
                      if f"{target}/{name}" not in NOT_TESTS)
    script = SCRIPT.format(programs=" ".join(programs), seconds=SECONDS)
    said_bare = run_bare(place, script)
    bare = outcomes(said_bare)
    with beside(suite, "kselftest", mounts=[f"{place}:/kselftest"]) as (world, session):
        said = world.run(session, f"cp -r /kselftest k && cd k\n{script}")
    inside = outcomes(said)
    expected = table()
    if suite.options.keep:
        keep(suite.options.keep, bare=listed(bare), inside=listed(inside), said_bare=said_bare, said_inside=said)
    check_table(suite, expected)
    check_comparison(suite, bare, inside)
    right, wrong = compare(bare, inside, expected)
    for which, found in (("bare", bare), ("inside", inside)):
        print(f"     kselftest {which}: {len(found)} programs, " +
              ", ".join(f"{count(found, outcome)} {outcome}" for outcome in ("pass", "fail", "skip", "killed", "time")))
    suite.check("kselftest: programs ran", len(bare) == len(inside) == len(programs) >= PROGRAMS, sorted(inside))
    suite.check("kselftest: enough passes bare", count(bare, "pass") >= PASSED_BARE, count(bare, "pass"))
    suite.check("kselftest: enough passes inside", count(inside, "pass") >= PASSED_INSIDE, count(inside, "pass"))
    suite.passed += right
    for problem in wrong:
        suite.fail(f"kselftest: {problem}")
