#!/usr/bin/env python3
"""In the VM: the Debian package from its installation to its purge. Two starts of one machine, on one disk.

    package.py [REGEX]      only steps whose names match

The commands of docs/operations.md are taken from there and followed literally. Prints a line a check, `N passed, N failed`
and `the VM is done`. What a step shows beside is indented.
"""

import contextlib
import glob
import http.client
import json
import os
import pwd
import re
import socket
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PAYLOAD = os.path.join(HERE, "../..")
sys.path.insert(0, os.path.join(HERE, "../Integration"))
from harness import Connection, Stream, check, equal, eventually  # noqa: E402

RUNTIME, STATE = "/run/superserve", "/var/lib/superserve"
SOCKET = f"{RUNTIME}/superserved.sock"
LAUNCHER, SUPERVISOR = "superserve-launcher.service", "superserved.service"
QUOTA = "superserve-quota.service"
CONFIG, AGENTS = "/etc/superserve/superserved.yaml", "/etc/superserve/agents"
MEMBER, STRANGER = "alice", "bob"
NOTES = "/var/lib/package-test.json"  # from the first start to the second
# As at a login, without the programs that other tests bring.
os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Says a line until a file appears in the workspace.
COUNT = 'i=0; while [ ! -e stop ]; do i=$((i + 1)); echo "line $i"; sleep 0.1; done; rm stop; echo "end $i"'


def run(*command, seconds=300, answers="", **options):
    done = subprocess.run(command, input=answers, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=seconds, check=False, **options)
    check(done.returncode == 0, f"{' '.join(command)}: status {done.returncode}: {done.stdout[-3000:]}")
    return done.stdout


def fails(*command, seconds=300):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=seconds, check=False)
    check(done.returncode != 0, f"{' '.join(command)} succeeded: {done.stdout[-3000:]}")
    return done.stdout


def superserve(*arguments, user=MEMBER, seconds=300):
    """What the command line says on standard output."""
    done = subprocess.run(["runuser", "-u", user, "--", "superserve", *arguments], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=seconds, check=False)
    check(done.returncode == 0, f"superserve {' '.join(arguments)}: status {done.returncode}: {done.stderr}{done.stdout}")
    return done.stdout


def show(unit, name):
    return run("systemctl", "show", f"--property={name}", "--value", unit).strip()


def is_active(unit):
    return show(unit, "ActiveState") == "active"


def request(method, path, body=None):
    connection = Connection(SOCKET, timeout=120)
    connection.request(method, path, body=json.dumps(body) if body else None)
    response = connection.getresponse()
    return response.status, json.loads(response.read() or b"null")


def session(identifier):
    status, found = request("GET", f"/v1/sessions/{identifier}")
    equal(status, 200, f"session {identifier}")
    return found


def answers():
    with contextlib.suppress(OSError, http.client.HTTPException):
        return request("GET", "/healthz")[0] == 200
    return False


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def agents_of_sessions():
    """Pid and start of every process that is an agent's, as the host sees it."""
    found = set()
    for path in glob.glob("/proc/[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            with open(f"{path}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
            if words[:2] == [b"/bin/bash", b"/agent/shell.sh"]:
                with open(f"{path}/stat", encoding="ascii") as file:
                    found.add((int(path[6:]), file.read().rsplit(")", 1)[1].split()[19]))
    return found


def documented(heading):
    """The commands below a heading of docs/operations.md."""
    with open(f"{PAYLOAD}/docs/operations.md", encoding="utf-8") as file:
        text = file.read()
    part = re.search(rf"^#+ {re.escape(heading)}$(.*?)(?=^#+ |\Z)", text, re.M | re.S)
    check(part, f"docs/operations.md has no '{heading}'")
    blocks = re.findall(r"^```sh\n(.*?)^```$", part[1], re.M | re.S)
    check(blocks, f"'{heading}' of docs/operations.md has no commands")
    return blocks


def follow(heading, directory, only=None):
    """Runs what the document says, as its reader would: as a person who may use sudo."""
    said = ""
    blocks = documented(heading)
    for block in blocks if only is None else [blocks[only]]:
        said += run("bash", "-euxc", block, cwd=directory, seconds=600, answers="y\n",
                    env={**os.environ, "USER": MEMBER, "DEBIAN_FRONTEND": "noninteractive", "PAGER": "cat"})
    return said


class Turn:
    """A turn that counts lines, read by event number over any number of connections."""

    def __init__(self, identifier):
        self.id = identifier
        status, accepted = request("POST", f"/v1/sessions/{identifier}/messages", {"content": COUNT, "detach": True})
        equal(status, 202, f"the message is accepted: {accepted}")
        self.number = accepted["turn"]
        self.after = accepted["first_seq"] - 1
        self.text, self.last, self.gaps, self.connections = "", None, [], 0
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        self.more("it begins")
        self.processes = agents_of_sessions()
        check(self.processes, "no process of an agent is found")

    def read(self):
        while self.last is None:
            try:
                connection = Connection(SOCKET, timeout=120)
                connection.request("GET", f"/v1/sessions/{self.id}/events?after={self.after}")
                self.connections += 1
                for event in Stream(connection, connection.getresponse()):
                    self.take(event)
                    if self.last:
                        return
            except (OSError, http.client.HTTPException, ValueError):
                pass
            time.sleep(0.2)

    def take(self, event):
        if event["seq"] != self.after + 1:
            self.gaps.append((self.after, event["seq"]))
        self.after = event["seq"]
        if event.get("turn") != self.number:
            return
        if event["type"] == "message.delta":
            self.text += event["content"]
        if event["type"] in ("run.completed", "run.failed", "run.cancelled"):
            self.last = event

    def more(self, what):
        """Two more lines than there are now."""
        goal = self.text.count("\n") + 2
        eventually(lambda: self.last or self.text.count("\n") >= goal, f"more lines: {what}", 60)
        check(self.last is None, f"{what}: the turn has ended: {self.last}")

    def same_process(self, what):
        equal(agents_of_sessions(), self.processes, f"the agent's processes, {what}")

    def finish(self):
        with open("/tmp/stop", "w", encoding="ascii"):
            pass
        superserve("sessions", "cp", "/tmp/stop", f"{self.id}:stop", user="root")
        self.thread.join(120)
        check(self.last, "the turn does not end")
        equal(self.last["type"], "run.completed", f"the turn's end: {self.last}")
        equal(self.gaps, [], "gaps in the numbers of events")
        lines = self.text.splitlines()
        count = len(lines) - 1
        equal(lines, [f"line {i}" for i in range(1, count + 1)] + [f"end {count}"], "the lines of the turn")
        print(f"     {count} lines over {self.connections} connections")

    def lost(self, code):
        self.thread.join(120)
        check(self.last, "the turn does not end")
        equal((self.last["type"], self.last.get("error", {}).get("code")), ("run.failed", code), "the turn's end")
        equal(session(self.id)["status"], "idle", "the session's state")
        equal(agents_of_sessions() & self.processes, set(), "processes of the agent")


class Package:
    """Checks that follow each other."""

    def __init__(self):
        self.id = self.turn = None

    # --- the first start

    def installs_by_the_document(self):
        for name in (MEMBER, STRANGER):
            run("useradd", "--create-home", "--shell", "/bin/bash", name)
        for path in ("/etc/subuid", "/etc/subgid"):  # somebody has the usual range and a bit
            with open(path, "a", encoding="ascii") as file:
                file.write("other:1880000000:70000\n")
        began = time.monotonic()
        said = follow("Install", f"{PAYLOAD}/packages/first")
        check("sessions get the ids" in said, said)
        print(f"     {time.monotonic() - began:.1f} s; "
              + next(line for line in said.splitlines() if "sessions get the ids" in line))

    def both_units_start_and_notify(self):
        for unit in (LAUNCHER, SUPERVISOR):
            equal(show(unit, "Type"), "notify", f"{unit} Type")
            check(is_active(unit), f"{unit}: {run('journalctl', '--no-pager', '-u', unit)}")
            check(show(unit, "StatusText"), f"{unit} has told no status")
            print(f"     {unit}: {show(unit, 'StatusText')}")
        check(is_active("superserve.target"), "superserve.target")
        equal(show("superserve.target", "UnitFileState"), "enabled", "superserve.target")

    def neither_has_a_capability(self):
        owner = pwd.getpwnam("superserve").pw_uid
        check(0 < owner < 1000, f"a system user: {owner}")
        for unit in (LAUNCHER, SUPERVISOR):
            with open(f"/proc/{show(unit, 'MainPID')}/status", encoding="ascii") as file:
                status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
            equal(status["Uid"].split(), [str(owner)] * 4, f"{unit} ids")
            for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
                equal(int(status[name], 16), 0, f"{unit} {name}")
            bounding = 1 << 1 | 1 << 6 | 1 << 7 | 1 << 21 if unit == LAUNCHER else 0
            equal(int(status["CapBnd"], 16), bounding, f"{unit} CapBnd")
            equal(status["NoNewPrivs"], "0" if unit == LAUNCHER else "1", f"{unit} NoNewPrivs")

    def its_ids_are_nobody_elses(self):
        for path in ("/etc/subuid", "/etc/subgid"):
            with open(path, encoding="ascii") as file:
                lines = [line.strip().split(":") for line in file]
            ranges = sorted((int(first), int(first) + int(count)) for _, first, count in lines)
            check(all(a[1] <= b[0] for a, b in zip(ranges, ranges[1:])), f"ranges overlap: {ranges}")
            own = [line[1:] for line in lines if line[0] == "superserve"]
            equal(own, [[str(1880000000 + 2 * 65536), "65536"]], path)

    def a_member_talks_without_set_up(self):
        lines = superserve("run", "shell", "echo kept | tee file; id -u; cat /proc/self/cgroup", "--single").splitlines()
        equal([*lines[:2], lines[-1]], ["kept", "1000", "0::/"], "what the agent says")
        found = json.loads(superserve("sessions", "list", "--json"))["sessions"]
        equal(len(found), 1, "sessions")
        self.id = found[0]["id"]
        equal(found[0]["creator"]["name"], MEMBER, "the creator")
        equal(superserve("sessions", "resume", self.id, "cat file", "--single"), "kept\n", "the file")

    def the_session_is_in_the_launchers_group(self):
        name = self.id.removeprefix("ses_").replace("-", "")
        top = f"/sys/fs/cgroup{show(LAUNCHER, 'ControlGroup')}"
        check([path for path, _, _ in os.walk(top) if os.path.basename(path) == name], f"no group below {top}")

    def a_stranger_does_not_get_in(self):
        program = f"import socket; socket.socket(socket.AF_UNIX).connect('{SOCKET}')"
        check("PermissionError" in fails("runuser", "-u", STRANGER, "--", "python3", "-c", program), "refused")
        run("runuser", "-u", MEMBER, "--", "python3", "-c", program)

    def a_turn_begins(self):
        self.turn = Turn(self.id)

    def restart_of_the_supervisor_in_mid_turn(self):
        before = show(SUPERVISOR, "MainPID")
        run("systemctl", "restart", SUPERVISOR)
        check(show(SUPERVISOR, "MainPID") != before, "another process")
        self.turn.more("after a restart")
        self.turn.same_process("after a restart")

    def kill_of_the_supervisor_in_mid_turn(self):
        before = show(SUPERVISOR, "MainPID")
        run("systemctl", "kill", "-s", "KILL", SUPERVISOR)
        eventually(lambda: is_active(SUPERVISOR) and show(SUPERVISOR, "MainPID") not in ("0", before), "it comes back", 60)
        self.turn.more("after a kill")
        self.turn.same_process("after a kill")

    def upgrade_in_mid_turn_by_the_document(self):
        keeper, version = show(LAUNCHER, "MainPID"), request("GET", "/healthz")[1]
        said = follow("Upgrade", f"{PAYLOAD}/packages/next")
        check("agents run on" in said, said)
        equal(show(LAUNCHER, "MainPID"), keeper, "the keeper")
        check(run("dpkg-query", "-W", "-f", "${Version}", "superserve").endswith("+1"), "the new version is installed")
        check(request("GET", "/healthz")[1]["pid"] != version["pid"], "another supervisor")
        self.turn.more("after an upgrade")
        self.turn.same_process("after an upgrade")

    def kill_of_the_keeper_in_mid_turn(self):
        before = show(LAUNCHER, "MainPID")
        run("systemctl", "kill", "--kill-whom=main", "-s", "KILL", LAUNCHER)
        eventually(lambda: is_active(LAUNCHER) and show(LAUNCHER, "MainPID") not in ("0", before), "it comes back", 60)
        self.turn.more("without its keeper")
        self.turn.same_process("without its keeper")
        equal(superserve("run", "shell", "echo anew", "--single"), "anew\n", "a session of the next keeper")

    def the_turn_is_complete(self):
        self.turn.finish()

    def kill_of_the_whole_launcher_unit(self):
        turn = Turn(self.id)
        run("systemctl", "kill", "-s", "KILL", LAUNCHER)
        turn.lost("sandbox_lost")
        eventually(lambda: is_active(LAUNCHER), "it comes back", 60)
        equal(superserve("sessions", "resume", self.id, "cat file", "--single"), "kept\n", "the file")

    def stop_of_the_launcher_unit(self):
        turn = Turn(self.id)
        run("systemctl", "stop", LAUNCHER)
        turn.lost("stopped")
        check(is_active(SUPERVISOR), "the supervisor stays")
        said = fails("runuser", "-u", MEMBER, "--", "superserve", "sessions", "resume", self.id, "cat file", "--single")
        check(f"systemctl start {LAUNCHER}" in said, f"what to do is said: {said}")
        run("systemctl", "start", LAUNCHER)
        equal(superserve("sessions", "resume", self.id, "cat file", "--single"), "kept\n", "the file")

    def stop_after_a_killed_keeper_ends_its_sessions_too(self):
        turn = Turn(self.id)
        before = show(LAUNCHER, "MainPID")
        run("systemctl", "kill", "--kill-whom=main", "-s", "KILL", LAUNCHER)
        eventually(lambda: is_active(LAUNCHER) and show(LAUNCHER, "MainPID") not in ("0", before), "it comes back", 60)
        turn.more("without its keeper")
        run("systemctl", "stop", LAUNCHER)
        turn.lost("stopped")
        run("systemctl", "start", LAUNCHER)

    def stop_of_the_target(self):
        turn = Turn(self.id)
        run("systemctl", "stop", "superserve.target")
        for unit in (LAUNCHER, SUPERVISOR):  # the command waits for the target alone
            eventually(lambda unit=unit: show(unit, "ActiveState") == "inactive", f"{unit} stops", 60)
        equal(agents_of_sessions(), set(), "processes of agents")
        run("systemctl", "start", "superserve.target")
        eventually(answers, "the supervisor", 60)
        turn.lost("stopped")
        equal(superserve("sessions", "resume", self.id, "cat file", "--single"), "kept\n", "the file")

    def reload_takes_what_is_right(self):
        before = show(SUPERVISOR, "MainPID")
        with open(CONFIG, "a", encoding="ascii") as file:
            file.write("idle_timeout: 1234\n")
        with open(f"{AGENTS}/greeter.yaml", "w", encoding="ascii") as file:
            file.write("name: greeter\nprotocol: exec\ncommand: [/bin/sh, -c, echo first]\n")
        run("systemctl", "reload", SUPERVISOR)
        equal(show(SUPERVISOR, "MainPID"), before, "the process")
        status, made = request("POST", "/v1/sessions", {"agent": "greeter"})
        equal((status, made.get("idle_timeout_seconds")), (201, 1234), f"a new session: {made}")
        equal(superserve("run", "greeter", "x", "--single"), "first\n", "the operator's agent")

    def reload_refuses_what_is_wrong(self):
        with open(CONFIG, encoding="ascii") as file:
            right = file.read()
        with open(CONFIG, "a", encoding="ascii") as file:
            file.write("no_such_key: 1\n")
        line = len(right.splitlines()) + 1
        fails("systemctl", "reload", SUPERVISOR)
        said = show(SUPERVISOR, "StatusText")
        check(f"{CONFIG}:{line}: unknown key 'no_such_key'" in said, f"the status: {said}")
        print(f"     {said[:110]}")
        equal(request("POST", "/v1/sessions", {"agent": "greeter"})[1]["idle_timeout_seconds"], 1234, "the old one stays")
        with open(CONFIG, "w", encoding="ascii") as file:
            file.write(right)

    def reload_refuses_an_agent_that_is_wrong(self):
        with open(f"{AGENTS}/greeter.yaml", "w", encoding="ascii") as file:
            file.write("name: greeter\nprotocol: exec\ncommand: [/bin/sh, -c, echo second]\nwrong: 1\n")
        fails("systemctl", "reload", SUPERVISOR)
        said = show(SUPERVISOR, "StatusText")
        check(f"{AGENTS}/greeter.yaml:4: " in said, f"the status: {said}")
        equal(superserve("run", "greeter", "x", "--single"), "first\n", "the old version stays")
        os.unlink(f"{AGENTS}/greeter.yaml")
        run("systemctl", "reload", SUPERVISOR)
        equal(show(SUPERVISOR, "StatusText"), "Serving", "the status")

    def a_wrong_configuration_is_no_start(self):
        with open(CONFIG, encoding="ascii") as file:
            right = file.read()
        with open(CONFIG, "w", encoding="ascii") as file:
            file.write("max_clients: many\n")
        fails("systemctl", "restart", SUPERVISOR)
        equal((show(SUPERVISOR, "ActiveState"), show(SUPERVISOR, "ExecMainStatus")), ("failed", "78"), "the unit")
        check(f"{CONFIG}:1: " in show(SUPERVISOR, "StatusText"), show(SUPERVISOR, "StatusText"))
        with open(CONFIG, "w", encoding="ascii") as file:
            file.write(right)
        run("systemctl", "start", SUPERVISOR)

    def reload_by_signal(self):
        with open(f"{AGENTS}/broken.yaml", "w", encoding="ascii") as file:
            file.write("name: 1 2\n")
        run("systemctl", "kill", "-s", "HUP", "--kill-whom=main", SUPERVISOR)
        eventually(lambda: "broken.yaml:1: " in show(SUPERVISOR, "StatusText"), "the status names the line", 30)
        os.unlink(f"{AGENTS}/broken.yaml")
        run("systemctl", "kill", "-s", "HUP", "--kill-whom=main", SUPERVISOR)
        eventually(lambda: show(SUPERVISOR, "StatusText") == "Serving", "the status", 30)

    def a_session_reaches_what_it_may(self):
        """Through the supervisor's unit, with a proxy and without, while the launcher's unit allows loopback only."""
        with open(CONFIG, encoding="ascii") as file:
            right = file.read()
        with open(CONFIG, "a", encoding="ascii") as file:
            file.write('private_destinations: ["127.0.0.1:80"]\n')
        with open(f"{AGENTS}/fetcher.yaml", "w", encoding="ascii") as file:
            file.write("name: fetcher\nprotocol: exec\nnetwork: {allow: ['vm.example:80']}\ncommand: [/usr/bin/python3, -c, "
                       "'import os, urllib.request; u = urllib.request; print(u.urlopen(\"http://vm.example/\").status); "
                       "[os.environ.pop(k) for k in list(os.environ) if \"proxy\" in k.lower()]; "
                       "print(u.build_opener(u.ProxyHandler({})).open(\"http://vm.example/\").status)']\n")
        run("systemctl", "restart", SUPERVISOR)
        with open("/etc/hosts", "a", encoding="ascii") as file:
            file.write("127.0.0.1 vm.example\n")
        server = subprocess.Popen([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "80"], cwd="/srv",
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            eventually(lambda: listens(80), "the server", 60)
            equal(superserve("run", "fetcher", "x", "--single"), "200\n200\n", "with a proxy, and without")
        finally:
            server.kill()
            server.wait()
            os.unlink(f"{AGENTS}/fetcher.yaml")
            with open(CONFIG, "w", encoding="ascii") as file:
                file.write(right)
            run("systemctl", "restart", SUPERVISOR)

    def a_master_key_from_systemd(self):
        """By the document: what is set with it can be read with it only, and nothing of it is in the state directory."""
        secret, drop_in = "sk-of-the-package-test", "/etc/systemd/system/superserved.service.d"
        with open(f"{AGENTS}/keyed.yaml", "w", encoding="ascii") as file:
            file.write("name: keyed\nprotocol: exec\ncommand: [/bin/sh, -c, 'echo ${KEY%-*}']\n"
                       "secrets: {KEY: {url: 'https://api.example/v1'}}\n")
        follow("Keys of agents", "/tmp")
        eventually(answers, "the supervisor", 60)
        run("superserve", "secrets", "set", "keyed", "KEY", answers=secret + "\n")
        check(not os.path.exists(f"{STATE}/secrets.key"), "a key file was made")
        found = [path for path in glob.glob(f"{STATE}/*") if os.path.isfile(path) and secret in self.text(path)]
        equal(found, [], "files with the value in clear")
        states = []
        for _ in range(2):
            states.append(json.loads(run("superserve", "secrets", "list", "keyed", "--json"))["secrets"][0]["state"])
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{drop_in}/secrets.conf")
            run("systemctl", "daemon-reload")
            run("systemctl", "restart", SUPERVISOR)
        equal(states, ["set", "unreadable"], "with the key and without")
        run("superserve", "secrets", "delete", "keyed", "KEY")
        os.unlink(f"{AGENTS}/keyed.yaml")
        os.unlink("/etc/superserve/secrets.key")
        os.rmdir(drop_in)
        run("systemctl", "reload", SUPERVISOR)

    @staticmethod
    def text(path):
        with open(path, encoding="latin-1") as file:
            return file.read()

    def journal_has_the_fields(self):
        said = run("journalctl", "--output=json", "--no-pager", f"SUPERSERVE_SESSION={self.id}", "SUPERSERVE_CAUSE=stopped")
        entries = [json.loads(line) for line in said.splitlines()]
        check(entries, "no entry has the session and the cause")
        for entry in entries:
            equal((entry["SUPERSERVE_AGENT"], entry["_SYSTEMD_UNIT"], entry["PRIORITY"]), ("shell", SUPERVISOR, "6"), "fields")
            check(int(entry["SUPERSERVE_TURN"]) > 0, "the turn")
        print(f"     {entries[-1]['MESSAGE']}")

    def exposure_of_the_units(self):
        for unit, most in ((SUPERVISOR, 2.5), (QUOTA, 2.5), (LAUNCHER, None)):
            said = run("systemd-analyze", "security", "--no-pager", unit)
            level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
            check(level, said[-500:])
            print(f"     {unit}: {level[1]}")
            check(most is None or float(level[1]) <= most, f"{unit}: {said}")

    def the_launchers_exposure_has_reasons(self):
        """Whatever is not set stands in the unit with its reason."""
        with open(f"/usr/lib/systemd/system/{LAUNCHER}", encoding="utf-8") as file:
            text = file.read()
        reasons = text[text.index("# Not set, and why:"):]
        print("".join(f"     {line[1:].rstrip()}\n" for line in reasons.splitlines()), end="")
        for word in ("NoNewPrivileges", "SystemCallFilter", "ProtectKernelTunables", "PrivateUsers", "ProtectHome"):
            check(word in reasons, f"{word} has no reason")

    def quotas_are_not_set_unless_somebody_says_so(self):
        """Nor does the unit claim what this disk has not (Tests/VM/quota.py has one with quotas)."""
        equal((show(QUOTA, "UnitFileState"), show(QUOTA, "ActiveState")), ("disabled", "inactive"), QUOTA)
        fails("systemctl", "start", QUOTA)
        said = run("journalctl", "--no-pager", "-u", QUOTA)
        check(f"no user quotas on the file system of {STATE}" in said, said)
        print("     " + said[said.index("superserve-launcher: "):].split("\n")[0])
        run("systemctl", "reset-failed", QUOTA)

    def a_unit_without_notify_socket_is_no_difference(self):
        """Programs that are started by hand still say that they are ready on their own descriptor."""
        said = fails("/usr/lib/superserve/superserve-launcher", "keeper", "--state-dir", STATE, "--runtime-dir", RUNTIME)
        check("--ready-fd are needed" in said, said)

    def monitor_by_the_document(self):
        said = follow("Monitor", "/tmp")
        check("superserved.service" in said and "Overall exposure" in said, said)

    def a_turn_runs_when_the_machine_goes_down(self):
        self.turn = Turn(self.id)
        with open(NOTES, "w", encoding="ascii") as file:
            json.dump({"id": self.id, "turn": self.turn.number}, file)

    # --- the second start

    def comes_back_after_a_restart_of_the_machine(self):
        with open(NOTES, encoding="ascii") as file:
            notes = json.load(file)
        self.id = notes["id"]
        self.both_units_start_and_notify()
        eventually(answers, "the supervisor", 60)
        found = eventually(lambda: (lambda s: s["status"] == "idle" and s)(session(self.id)), "the session is idle", 60)
        history = request("GET", f"/v1/sessions/{self.id}/messages")[1]["messages"]
        ends = [message for message in history if message.get("turn") == notes["turn"] and message["role"] == "agent"]
        equal([message["status"] for message in ends], ["failed"], f"the turn of before: {found}")
        equal(superserve("sessions", "resume", self.id, "cat file", "--single"), "kept\n", "the file")

    def backs_up_by_the_document(self):
        os.makedirs("/srv/backup", exist_ok=True)
        follow("Back up", "/srv/backup")
        print("     " + ", ".join(sorted(os.listdir("/srv/backup"))))
        eventually(answers, "the supervisor", 60)

    def removal_stops_all_and_keeps_the_sessions(self):
        Turn(self.id)
        said = follow("Uninstall", "/tmp", only=0)
        check("stopping every agent" in said, said)
        equal(agents_of_sessions(), set(), "processes of agents")
        check(glob.glob(f"{STATE}/sessions/*"), "sessions stay")
        check(os.path.exists(CONFIG), "the configuration stays")
        check(not os.path.exists(RUNTIME), f"{RUNTIME} is left")
        own = [path for path in glob.glob("/proc/[0-9]*/exe") if "superserve" in os.path.basename(self.target(path))]
        equal(own, [], "processes of superserve")

    @staticmethod
    def target(path):
        with contextlib.suppress(OSError):
            return os.readlink(path)
        return ""

    def purge_deletes_all(self):
        said = follow("Uninstall", "/tmp", only=1)
        check("deleting every session" in said, said)
        for path in (STATE, RUNTIME, "/etc/superserve", "/usr/lib/superserve"):
            check(not os.path.exists(path), f"{path} is left")
        for path in ("/etc/subuid", "/etc/subgid", "/etc/passwd", "/etc/group"):
            with open(path, encoding="utf-8") as file:
                check("superserve" not in file.read(), f"{path} still names superserve")
        equal(fails("systemctl", "list-unit-files", "--no-legend", "--plain", "superserve*").strip(), "", "units")

    def moves_by_the_document(self):
        run("cp", *glob.glob(f"{PAYLOAD}/packages/next/*.deb"), "/srv/backup/")
        follow("Move", "/srv/backup")
        eventually(answers, "the supervisor", 60)
        equal(session(self.id)["status"], "idle", "the session")
        run("adduser", MEMBER, "superserve")
        equal(superserve("sessions", "resume", self.id, "cat file; echo more >>file", "--single"), "kept\n", "the file")

    def nothing_has_failed(self):
        equal(run("systemctl", "list-units", "--failed", "--plain", "--no-legend").strip(), "", "failed units")

    def first(self):
        return [
            self.installs_by_the_document, self.both_units_start_and_notify, self.neither_has_a_capability,
            self.its_ids_are_nobody_elses, self.a_member_talks_without_set_up,
            self.the_session_is_in_the_launchers_group, self.a_stranger_does_not_get_in, self.a_turn_begins,
            self.restart_of_the_supervisor_in_mid_turn, self.kill_of_the_supervisor_in_mid_turn,
            self.upgrade_in_mid_turn_by_the_document, self.kill_of_the_keeper_in_mid_turn, self.the_turn_is_complete,
            self.kill_of_the_whole_launcher_unit, self.stop_of_the_launcher_unit,
            self.stop_after_a_killed_keeper_ends_its_sessions_too, self.stop_of_the_target,
            self.reload_takes_what_is_right, self.reload_refuses_what_is_wrong,
            self.reload_refuses_an_agent_that_is_wrong, self.reload_by_signal, self.a_wrong_configuration_is_no_start,
            self.a_session_reaches_what_it_may, self.a_master_key_from_systemd, self.journal_has_the_fields,
            self.quotas_are_not_set_unless_somebody_says_so, self.exposure_of_the_units,
            self.the_launchers_exposure_has_reasons,
            self.a_unit_without_notify_socket_is_no_difference, self.monitor_by_the_document, self.nothing_has_failed,
            self.a_turn_runs_when_the_machine_goes_down,
        ]

    def second(self):
        return [
            self.comes_back_after_a_restart_of_the_machine, self.backs_up_by_the_document,
            self.removal_stops_all_and_keeps_the_sessions, self.purge_deletes_all, self.moves_by_the_document,
            self.nothing_has_failed,
        ]


def main():
    package = Package()
    only = re.compile(sys.argv[1] if len(sys.argv) > 1 else "")
    passed = failed = 0
    for step in package.second() if os.path.exists(NOTES) else package.first():
        # What everything else begins with is not left out.
        if step not in (package.installs_by_the_document, package.a_member_talks_without_set_up,
                        package.comes_back_after_a_restart_of_the_machine) and not only.search(step.__name__):
            continue
        began = time.monotonic()
        try:
            step()
            passed += 1
            print(f"ok   {step.__name__.replace('_', ' ')} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception as error:  # every failure is reported
            failed += 1
            print(f"FAIL {step.__name__.replace('_', ' ')}: {type(error).__name__}: {str(error)[:3000]}", flush=True)
            if not isinstance(error, AttributeError):
                print(subprocess.run(["journalctl", "--no-pager", "-n", "25", "-u", LAUNCHER, "-u", SUPERVISOR],
                                     capture_output=True, text=True, check=False).stdout, flush=True)
    print(f"{passed} passed, {failed} failed")
    print("the VM is done", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
