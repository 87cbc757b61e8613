"""What is data must stay data: messages, names, paths, archives and variables that look like something else."""

import json
import os
import tarfile

import harness
from archives import SECRET, Canaries, get, member, put
from setting import check

GROUP = "argv and env injection"
ECHO = """protocol: exec
command: [python3, -c, "import json, sys; print(json.dumps(sys.argv[1:]), end='')", "{message}", last]
"""
TEXT = "protocol: exec\ncommand: 'exec 2>&1; echo {message}'\n"  # a script: whatever is put into it is run
MESSAGES = {
    "shell": "x; touch /tmp/injected; $(touch /tmp/injected) `touch /tmp/injected` | touch /tmp/injected",
    "option": "--bind / / --help -c",
    "line": "first\nsecond\r\nthird\ttab",
    "placeholder": "{message} {message} %s %n ${HOME} $0 \\0 \u202e",
}


def test_injection_of_messages(suite):
    with suite.running() as world:
        world.agent("echo", ECHO)
        world.agent("text", TEXT)
        for kind, message in MESSAGES.items():
            with world.session("echo") as session:
                said = world.ask(session, message)
            suite.attack(GROUP, f"message: {kind}", said == json.dumps([message, "last"]), said)
        with world.session("text") as session:
            said = world.ask(session, MESSAGES["shell"] + "; ls /tmp/injected")
            suite.control("message: shell", "/tmp/injected\n" in said, said)
            suite.control("message: placeholder", "/home/agent" in world.ask(session, "${HOME}"))
            said = world.ask(session, "x; set -- --help -c; echo $#")
            suite.control("message: option", said.endswith("2\n"), said)
            suite.control("message: line", "two" in world.ask(session, "x\necho two"))


# Loaded into every dynamic program that starts with it; says which user that was.
PRELOAD = """
#include <stdio.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void) {
    char name[64];
    snprintf(name, sizeof name, "/tmp/loaded-%d-%u", (int)(getppid() == 0 ? 1 : getpid()), (unsigned)getuid());
    FILE *file = fopen(name, "w");
    if (file) fclose(file);
}
"""


def test_injection_of_variables(suite):
    """Variables of the agent reach the agent, and neither init nor the helpers that copy for the host."""
    with suite.running() as world:
        world.agent("preload", 'protocol: exec\ncommand: [/bin/sh, -c, "exec 2>&1; {message}"]\n'
                               "env:\n  LD_PRELOAD: /workspace/evil.so\n  BASH_ENV: /workspace/evil.sh\n")
        with world.session("preload") as session:
            put(world, session, "evil.c", [(member("x"), PRELOAD.encode())])
            said = world.ask(session, "unset LD_PRELOAD; gcc -shared -fPIC -o evil.so evil.c && rm -f /tmp/loaded-*; ls")
            check("evil.so" in said, said)
            world.ask(session, "rm -f /tmp/loaded-*; true")
            own = world.ask(session, "ls /tmp | grep -c loaded; rm -f /tmp/loaded-*; true")
            suite.control("variables: preload", int(own.split()[-1]) > 0, own)
            world.ask(session, "unset LD_PRELOAD; true")
            before = world.ask(session, "echo /tmp/loaded-*").count("loaded-")
            check(get(world, session, "evil.c").status == 200, "a copy out")
            check(put(world, session, "more", [(member("x"), b"x")]).status == 204, "a copy in")
            after = world.ask(session, "echo /tmp/loaded-*").count("loaded-")
            # Each turn loads it once, in its shell; the copies in between have loaded it nowhere.
            per_turn = world.ask(session, "echo /tmp/loaded-*").count("loaded-") - after
            suite.attack(GROUP, "variables: preload", after - before == per_turn, (before, after, per_turn))
        refused = []
        for name in ("SUPERSERVE_SESSION_ID", "A=B", "", "A B\\0"):
            world.write(os.path.join(world.agents, "bad.yaml"),
                        f'name: bad\nprotocol: exec\ncommand: [env]\nenv:\n  "{name}": x\n')
            refused.append(world.post("/v1/sessions", {"agent": "bad"}).status)
        suite.attack(GROUP, "variables: names", all(status // 100 == 4 for status in refused), refused)
        world.write(os.path.join(world.agents, "bad.yaml"),
                    'name: bad\nprotocol: exec\ncommand: [env]\nenv:\n  "GOOD": x\n')
        with world.session("bad") as session:
            suite.control("variables: names", "GOOD=x\n" in world.ask(session, "x"))


TROJAN = "#!/bin/sh\necho ran >> /workspace/trojan-ran\n"


def test_injection_of_programs(suite):
    """Programs of a session with names that a host's tools might look for are never run for it."""
    names = ["tar", "git", "xz", "gzip", "unpigz", "sh", "rm", "getent", "superserve-launcher", "file"]
    with suite.running() as world, world.session() as session:
        tools = [(member(f"bin/{name}", mode=0o755), TROJAN.encode()) for name in names]
        put(world, session, "/workspace", tools)
        for place in ("/workspace", "/home/agent"):
            world.run(session, f"cp /workspace/bin/* {place}/ 2>/dev/null; mkdir -p {place}/.git/hooks; "
                               f"cp /workspace/bin/git {place}/.git/hooks/post-checkout; true")
        for _ in range(2):
            check(get(world, session, "bin").status == 200, "copy out")
            check(put(world, session, "put", [(member("x"), b"x")]).status == 204, "copy in")
        check(world.cli("sessions", "cp", f"{session['short_id']}:bin", world.home + "/out").returncode == 0, "cp")
        ran = world.run(session, "cat trojan-ran 2>/dev/null")
        suite.attack(GROUP, "programs: trojans", ran == "", ran)
        suite.control("programs: trojans", "ran" in world.run(session, "bin/tar; cat trojan-ran"))


PATHS = ["../../../../..{0}/f", "/workspace/../../../../..{0}/f", "/proc/self/root{0}/f", "/proc/1/root{0}/f",
         "{0}/f", "link/f", "link", "/proc/self/cwd/../../../..{0}/f", "%2e%2e/%2e%2e/%2e%2e{0}/f",
         "/proc/self/fd/3/../..{0}/f"]


def test_injection_of_paths(suite):
    with suite.running() as world, world.session() as session:
        canaries = Canaries(world)
        world.run(session, f"ln -s {canaries.top} link")
        leaked = []
        for path in PATHS:
            path = path.format(canaries.top)
            if SECRET in get(world, session, path).body:
                leaked.append(path)
            put(world, session, path, [(member("x"), b"planted")])
        suite.attack(GROUP, "paths: files", not leaked and not canaries.changes(), leaked or canaries.changes())
        with open(os.path.join("/proc/self/root" + canaries.top, "f"), "rb") as file:
            suite.control("paths: files", file.read() == SECRET, "the same name leads there on the host")
        answers = []
        for ident in ("..", "../..", "%2e%2e", "%2e%2e%2f%2e%2e", "ses_", "ses_..", "*", "%00", "-", "a/b"):
            for method, rest in (("GET", ""), ("POST", "/end"), ("GET", "/files?path=x")):
                answers.append((ident, world.request(method, f"/v1/sessions/{ident}{rest}").status))
        for name in ("../probe", "..", "/etc", "probe/../probe", "probe\0", "-", "Probe", "probe.yaml"):
            answers.append((name, world.post("/v1/sessions", {"agent": name}).status))
        wrong = [answer for answer in answers if answer[1] // 100 != 4]
        suite.attack(GROUP, "paths: names", not wrong, wrong)
        suite.control("paths: names", world.get(f"/v1/sessions/{session['id']}").status == 200)


def test_injection_of_archives(suite):
    """Members that climb, link out and write through the link, or are no files."""
    with suite.running() as world, world.session() as session:
        canaries = Canaries(world)
        top = canaries.top
        members = [
            [(member(f"../../../../../..{top}/f"), b"planted")], [(member(f"{top}/f"), b"planted")],
            [(member("l", tarfile.SYMTYPE, top), None), (member("l/f"), b"planted")],
            [(member("h", tarfile.LNKTYPE, f"{top}/f"), None), (member("h"), b"planted")],
            [(member("h", tarfile.LNKTYPE, "/etc/passwd"), None)],
            [(member("c", tarfile.CHRTYPE), None)], [(member("b", tarfile.BLKTYPE), None)],
            [(member("/etc/passwd"), b"root::0:0::/:/bin/sh\n")],
        ]
        statuses = [put(world, session, "/workspace", each).status for each in members]
        said = world.run(session, "grep -c ^root::0 /etc/passwd; find . -type b -o -type c; find / -name planted 2>/dev/null")
        suite.attack(GROUP, "archives: members", not canaries.changes() and said == "0\n" and
                     all(status < 500 for status in statuses), (canaries.changes(), said, statuses))
        put(world, session, "/workspace", [(member("fine/f"), b"fine")])
        suite.control("archives: members", world.run(session, "cat fine/f") == "fine")
        names = ["-rf", "--help", "*", "a\nb", "\x1b[2J", "'; touch x; '", "%s%n", "x" * 255]
        done = put(world, session, "/workspace", [(member(f"odd/{name}"), name.encode()) for name in names])
        check(done.status == 204, f"{done.status} {done.body!r}")
        out = os.path.join(world.home, "odd")
        copied = world.cli("sessions", "cp", f"{session['short_id']}:odd", out)
        found = set(os.listdir(out)) if os.path.isdir(out) else set()
        suite.attack(GROUP, "archives: names", found <= set(names) and "\x1b" not in copied.stdout + copied.stderr
                     and not os.path.exists(os.path.join(world.dir, "x")), (found, copied.stderr))
        suite.control("archives: names", {"-rf", "*", "'; touch x; '"} <= found, (found, copied.stderr))
        check(not harness.children_named("touch x"), "nothing runs")
