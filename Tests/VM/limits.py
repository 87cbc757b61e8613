#!/usr/bin/env python3
"""Every limit of a session, reached for real: needs root, systemd and cgroup v2 with its controllers.

    limits.py [--only TEXT]

The keeper is a unit of its own, as on a system where superserve is installed. Prints `N passed, N failed`.
"""

import contextlib
import http.client
import os
import pwd
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "Integration"))

import harness  # noqa: E402
from harness import BIN, check, equal, eventually, text_of  # noqa: E402

SERVICE = 1900000000
MEBI = 1 << 20
LAUNCHER = os.path.join(BIN, "superserve-launcher")
CONFIG = """
limits: required
default_limits: {memory: 256MiB, pids: 100, cpu: 2}
allowed_limits: {memory: 512MiB, turn_time: 1h}
"""
EXEC = "protocol: exec\ncommand: [/bin/sh, -c, \"exec 2>&1; {message}\"]\n"
# Takes memory until there is none, beside a sleeper that must go with it.
EAT = "echo before; echo kept > file; sleep 1000 & exec python3 -c \"x = []\nwhile True: x.append(bytearray(1 << 20))\""
BOMB = """python3 -c "
import os, time
made = 0
try:
    while made < 5000:
        if os.fork() == 0:
            time.sleep(600); os._exit(0)
        made += 1
except OSError as error:
    print('made', made, error.errno, flush=True)
time.sleep(600)"
"""
SPIN = """python3 -c "
import time
began, before = time.monotonic(), time.process_time()
while time.monotonic() - began < 5: pass
print((time.process_time() - before) / (time.monotonic() - began))"
"""


def run(*command, check_=True):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    check(done.returncode == 0 or not check_, f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


class Keeper:
    """superserve-launcher as a unit, restarted when it is killed; its sessions' processes stay."""

    def __init__(self, world, name, delegate=True):
        self.world, self.unit = world, f"superserve-test-{name}.service"
        for path in world.state, world.runtime:
            os.makedirs(path, 0o700)
            os.chown(path, SERVICE, SERVICE)
        command = (f"exec 3>/dev/null; exec {LAUNCHER} keeper --state-dir {world.state} "
                   f"--runtime-dir {world.runtime} --ready-fd 3")
        run("systemd-run", "--quiet", f"--unit={self.unit}", f"--property=Delegate={'yes' if delegate else 'no'}",
            "--property=KillMode=process", "--property=Restart=always", "--property=RestartSec=50ms",
            f"--property=ExecStopPost=-{LAUNCHER} release-groups", "/bin/sh", "-c", command)
        eventually(lambda: os.path.exists(os.path.join(world.runtime, "launcher.sock")), "the keeper serves")

    @property
    def pid(self):
        return int(run("systemctl", "show", "--property=MainPID", "--value", self.unit))

    @property
    def group(self):
        return "/sys/fs/cgroup" + run("systemctl", "show", "--property=ControlGroup", "--value", self.unit)

    def stop(self):
        run("systemctl", "kill", "--signal=TERM", self.unit, check_=False)
        run("systemctl", "stop", self.unit, check_=False)
        run("systemctl", "reset-failed", self.unit, check_=False)


@contextlib.contextmanager
def world_with_keeper(name, config=CONFIG, **options):
    with harness.World(config=config) as world:
        keeper = Keeper(world, name, **options)
        world.stack.callback(keeper.stop)
        world.start()
        world.keeper = keeper
        yield world


def limited(world, name, limits):
    """A session of an agent with these limits."""
    world.agent(name, EXEC + f"limits: {{{limits}}}")
    return world.create(name)


def place(world, session, *path):
    name = session["id"][4:].replace("-", "")
    for directory, names, _ in os.walk(world.keeper.group):
        if name in names:
            return os.path.join(directory, name, *path)
    raise harness.Failure(f"session {name} has no group below {world.keeper.group}")


def read(world, session, *path):
    with open(place(world, session, *path), encoding="ascii") as file:
        return file.read().strip()


def content(path):
    """None where there is no such file."""
    with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
        return file.read().strip()
    return None


def init_of(world, session):
    pids = read(world, session, "init", "cgroup.procs").split()
    equal(len(pids), 1, "processes in init's group")
    return int(pids[0])


def answers(world):
    with contextlib.suppress(OSError, http.client.HTTPException):
        return world.get("/healthz").status == 200
    return False


def failed(events, code):
    equal(events[-1]["type"], "run.failed", events[-1])
    equal(events[-1]["error"]["code"], code, events[-1]["error"])
    return events[-1]["error"]["message"]


# --- what is written --------------------------------------------------------------------------------------------------


def test_every_file(world):
    session = limited(world, "all", "memory: 128MiB, memory_high: 100MiB, swap: 0, pids: 50, cpu: 0.5, cpu_weight: 25")
    expected = {"agent/memory.max": str(128 * MEBI), "agent/memory.high": str(100 * MEBI), "agent/pids.max": "50",
                "agent/cpu.max": "50000 100000", "agent/memory.oom.group": "1", "cpu.weight": "25",
                "init/memory.max": "max", "init/pids.max": "max"}
    for name, value in expected.items():
        equal(read(world, session, *name.split("/")), value, name)
    shown = world.show(session)["limits"]
    equal(shown["enforcement"], "required")
    equal([key for key in shown["not_enforced"] if key != "swap"], [], shown)
    said = world.cli("sessions", "get", session["id"]).stdout
    check("memory 128MiB" in said and "cpu 0.5" in said and "Used:" in said, said)
    equal(world.ask(session, "cat /proc/self/cgroup"), "0::/\n")
    print("     " + re.search("Limits: *(.*)", said)[1])


def test_defaults_hold_where_an_agent_says_nothing(world):
    world.agent("plain", EXEC)
    session = world.create("plain")
    equal(read(world, session, "agent", "memory.max"), str(256 * MEBI))
    equal(read(world, session, "agent", "memory.swap.max"), "0")
    equal(read(world, session, "agent", "cpu.max"), "200000 100000")


# --- what they do -----------------------------------------------------------------------------------------------------


def test_memory(world):
    other = limited(world, "other", "memory: 64MiB")
    session = limited(world, "eater", "memory: 64MiB")
    init = init_of(world, session)
    world.ask(session, "true")
    began = time.monotonic()
    events = world.say(session, EAT)
    message = failed(events, "out_of_memory")
    check("64MiB" in message, message)
    equal(text_of(events), "before\n", "the last output")
    equal(init_of(world, session), init, "init")
    eventually(lambda: read(world, session, "agent", "cgroup.procs") == "", "the sleeper ends too")
    equal(world.ask(session, "cat file"), "kept\n")
    equal(world.ask(other, "echo here"), "here\n")
    used = world.show(session)["limits"]["used"]
    check(used["oom_kills"] > 0, used)
    print(f"     {message} ({time.monotonic() - began:.1f} s; {used['oom_kills']} processes ended)")


def test_processes(world):
    session, other = limited(world, "bomber", "pids: 32"), limited(world, "bystander", "pids: 32")
    stream = world.send(session, BOMB)
    for event in stream:
        if event["type"] == "message.delta":
            break
    check(event["content"].startswith("made ") and event["content"].split()[2] == "11", event)
    used = world.show(session)["limits"]["used"]
    check(used["pids"] <= 32 and used["pids_refused"] > 0, used)
    answer = harness.get_files(world, session, "/etc/hostname")
    equal(answer.status, 200, "a file out of a session that cannot fork")
    equal(world.ask(other, "echo here"), "here\n")
    said = world.cli("sessions", "get", session["id"]).stdout
    check("refused at the limit" in said, said)
    equal(world.post(f"/v1/sessions/{session['id']}/cancel").status, 202)
    equal(list(stream)[-1]["type"], "run.cancelled")
    stream.close()
    events = world.say(session, BOMB.replace("time.sleep(600)\"", "raise SystemExit(3)\""))
    message = failed(events, "agent_exited")
    check("limit of 32 processes was reached" in message, message)
    print(f"     {event['content'].strip()}; then: {message}")


def test_processor_share(world):
    for share in 0.25, 0.5:
        session = limited(world, f"spinner-{int(share * 100)}", f"cpu: {share}")
        found = float(world.ask(session, SPIN))
        check(share * 0.6 < found < share * 1.3, f"asked for {share}, measured {found}")
        print(f"     cpu: {share} gave {found:.3f} of a processor")


def test_processor_time_of_turn_and_session(world):
    session = limited(world, "burner", "turn_cpu: 2, session_cpu: 5")
    began = time.monotonic()
    message = failed(world.say(session, "while :; do :; done"), "cpu_limit")
    used = world.show(session)["limits"]["used"]["cpu_ms"]
    check(2000 <= used < 5000, used)
    print(f"     {message}: after {time.monotonic() - began:.1f} s and {used} ms of processor time")
    for _ in range(3):
        answer = world.post(f"/v1/sessions/{session['id']}/messages",
                            {"content": "while :; do :; done", "detach": True})
        if answer.status != 202:
            break
        eventually(lambda: world.show(session)["status"] == "idle", "the turn fails", 60)
    equal((answer.status, answer.error["code"]), (403, "limit_reached"), "the session's time is used up")


def test_disk(world):
    session = limited(world, "writer", "disk: 64MiB")
    began = time.monotonic()
    events = world.say(session, "dd if=/dev/zero of=big bs=1M count=1500; sleep 600")
    message = failed(events, "disk_full")
    held = int(re.search(r"holds (\d+) bytes", message)[1])
    check(held > 64 * MEBI, message)
    tree = int(run("du", "-sB1", world.tree(session)).split()[0])
    print(f"     limit 64 MiB: ended at {tree / MEBI:.0f} MiB, {(tree - 64 * MEBI) / MEBI:.0f} over, "
          f"after {time.monotonic() - began:.1f} s")
    check(tree < 1000 * MEBI, "the watcher was too slow by far")
    equal(world.ask(session, "rm big; echo gone"), "gone\n")
    equal(world.ask(session, "head -c 1000000 /dev/zero > small; echo fits"), "fits\n")


# --- what survives ----------------------------------------------------------------------------------------------------


def test_a_killed_keeper_comes_back_with_every_limit(world):
    idle = limited(world, "idle", "memory: 64MiB")  # no process of its agent runs between turns
    world.ask(idle, "echo kept >file")
    session = limited(world, "survivor", "memory: 96MiB, pids: 40, cpu: 0.5, cpu_weight: 30")
    init = init_of(world, session)
    stream = world.send(session, "echo up; for i in $(seq 100); do sleep 0.2; done; echo still")
    for event in stream:
        if event["type"] == "message.delta":
            break
    agents = read(world, session, "agent", "cgroup.procs").split()
    before = world.keeper.pid
    path = place(world, session, "agent", "memory.max")
    os.kill(before, 9)
    began = time.monotonic()
    while (value := content(path)) is not None:  # until the kernel has forgotten it
        check(time.monotonic() - began < 60, f"the limit stays {value}")
        time.sleep(0.002)
    gone = time.monotonic()
    while content(path) != str(96 * MEBI):
        check(time.monotonic() - gone < 60, f"the limit is {content(path)}")
        time.sleep(0.002)
    print(f"     without limits for {time.monotonic() - gone:.3f} s")
    check(world.keeper.pid not in (0, before), "no new keeper")
    equal(read(world, session, "agent", "pids.max"), "40")
    equal(read(world, session, "agent", "cpu.max"), "50000 100000")
    equal(read(world, session, "cpu.weight"), "30")
    equal(init_of(world, session), init, "init")
    check(agents[0] in read(world, session, "agent", "cgroup.procs").split(), "the agent's process")
    equal(run("systemctl", "is-active", world.keeper.unit), "active")
    last = list(stream)[-2:]
    equal((last[0].get("content"), last[1]["type"]), ("still\n", "run.completed"), last)
    equal(world.ask(limited(world, "after", "memory: 64MiB"), "echo new"), "new\n")
    equal(world.ask(idle, "cat file"), "kept\n", "a session that was idle")
    equal(read(world, idle, "agent", "memory.max"), str(64 * MEBI), "its limit")


def test_a_killed_launcher_changes_nothing(world):
    session = limited(world, "steady", "memory: 96MiB")
    launcher = int(run("pgrep", "-P", str(world.keeper.pid), "-f", "superserve-launcher launcher").split()[0])
    os.kill(launcher, 9)
    equal(world.ask(session, "echo on"), "on\n")
    equal(read(world, session, "agent", "memory.max"), str(96 * MEBI))
    equal(world.ask(limited(world, "later", "memory: 64MiB"), "echo new"), "new\n")


def test_nothing_is_left(world):
    for session in world.sessions():
        if session["status"] in ("idle", "active"):
            world.cli("sessions", "end", session["id"])
    top = [name for name in os.listdir(world.keeper.group) if name.startswith("superserve-sessions.")]
    equal(len(top), 1)

    def names():
        return {entry.name for entry in os.scandir(os.path.join(world.keeper.group, top[0])) if entry.is_dir()}
    eventually(lambda: names() == {"keeper", "launcher", "supervisor"}, f"groups of sessions go: {names()}", 30)


# --- other places -----------------------------------------------------------------------------------------------------


def separate_required_without_delegation():
    """Root may write every group; but a group's processes and groups in it that are limited exclude each other."""
    with blocked_group():
        with harness.World(config=CONFIG) as world:
            world.start()
            world.agent("plain", EXEC)
            answer = world.post("/v1/sessions", {"agent": "plain"})
            equal((answer.status, answer.error["code"]), (500, "sandbox_failed"))
            message = answer.error["message"]
            check("required and not possible here: memory, pids, cpu" in message and "Delegate=yes" in message, message)
            log = open(world.log, encoding="utf-8").read()
            check("no session will start" in log, log)
            print(f"     {message}")


def separate_best_effort_says_what_is_missing():
    with blocked_group():
        with harness.World(config="default_limits: {memory: 64MiB, pids: 9}") as world:
            world.start()
            world.agent("plain", EXEC)
            session = world.create("plain")
            equal(world.ask(session, "echo on"), "on\n")
            shown = world.show(session)["limits"]
            equal(shown["not_enforced"], ["memory", "swap", "pids"])
            check("Delegate=yes" in shown["note"], shown)
            said = world.cli("sessions", "get", session["id"]).stdout
            check("Not enforced:" in said, said)


@contextlib.contextmanager
def blocked_group():
    """This process in a group of its own, with another one that does not go away."""
    with open("/proc/self/cgroup", encoding="ascii") as file:
        old = "/sys/fs/cgroup" + file.read().strip()[3:]
    new = f"/sys/fs/cgroup/superserve-blocked-{os.getpid()}"
    os.mkdir(new)
    enter(new)
    try:
        yield
    finally:
        enter(old)
        eventually(lambda: remove(new), "the group is empty", 30)


def enter(group):
    with open(os.path.join(group, "cgroup.procs"), "w", encoding="ascii") as file:
        file.write("0")


def remove(group):
    for place_, _, _ in list(os.walk(group, topdown=False)):
        with contextlib.suppress(OSError):
            os.rmdir(place_)
    return not os.path.isdir(group)


def separate_one_unit_for_all():
    """Supervisor and keeper in one unit: both leave its group, so that it can be divided."""
    with harness.World(config=CONFIG) as world:
        unit = "superserve-test-one.service"
        environment = [f"--setenv={name}={value}" for name, value in world.environment().items()]
        run("systemd-run", "--quiet", f"--unit={unit}", "--property=Delegate=yes", *environment,
            *world.daemon_arguments())
        world.stack.callback(run, "systemctl", "stop", unit, check_=False)
        eventually(lambda: answers(world), "it answers", 60)
        world.agent("plain", EXEC)
        session = world.create("plain")
        equal(world.show(session)["limits"]["not_enforced"], [])
        failed(world.say(session, EAT), "out_of_memory")
        world.post("/v1/supervisor/stop")
        eventually(lambda: run("systemctl", "is-active", unit, check_=False) != "active", "it ends", 60)


def separate_plain_user():
    """A user's own service manager delegates; no process of root's takes part."""
    account = "tester"
    uid = pwd.getpwnam(account).pw_uid
    with harness.World(user=account, config=CONFIG) as world:
        environment = world.environment() | {"XDG_RUNTIME_DIR": f"/run/user/{uid}"}
        settings = " ".join(f"--setenv={name}={value}" for name, value in environment.items())
        command = " ".join(world.daemon_arguments())
        run("loginctl", "enable-linger", account)
        world.stack.callback(run, "loginctl", "disable-linger", account)
        eventually(lambda: os.path.exists(f"/run/user/{uid}/bus"), "the user's service manager", 60)
        shell = f"export XDG_RUNTIME_DIR=/run/user/{uid}; "
        run("su", account, "-c", shell + f"systemd-run --user --quiet --unit=limits --property=Delegate=yes "
            f"{settings} {command}")
        world.stack.callback(run, "su", account, "-c", shell + "systemctl --user stop limits", check_=False)
        eventually(lambda: answers(world), "it answers", 60)
        world.agent("plain", EXEC)
        session = world.create("plain")
        shown = world.show(session)["limits"]
        equal(shown["not_enforced"], [], shown)
        failed(world.say(session, EAT), "out_of_memory")
        world.post("/v1/supervisor/stop")
        eventually(lambda: not os.path.exists(world.socket), "it ends", 60)


def attempt(name, function, counts):
    began = time.monotonic()
    try:
        function()
        counts["passed"] += 1
        print(f"ok   {name} ({time.monotonic() - began:.1f} s)", flush=True)
    except Exception as error:  # every failure is reported
        counts["failed"] += 1
        print(f"FAIL {name}: {type(error).__name__}: {str(error)[:3000]}", flush=True)


def main():
    only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else ""
    counts = {"passed": 0, "failed": 0}
    tests = {name: value for name, value in globals().items() if name.startswith("test_") and only in name}
    if tests:
        try:
            with world_with_keeper("limits") as world:
                for name, function in tests.items():
                    attempt(name, lambda: function(world), counts)  # noqa: B023 - called at once
                if counts["failed"]:
                    print(open(world.log, encoding="utf-8").read()[-3000:])
                    print(run("journalctl", "--no-pager", "-n", "40", "-u", world.keeper.unit, check_=False))
        except Exception as error:
            counts["failed"] += 1
            print(f"FAIL no world: {type(error).__name__}: {str(error)[:3000]}", flush=True)
    for name, function in list(globals().items()):
        if name.startswith("separate_") and only in name:
            attempt(name, function, counts)
    print(f"{counts['passed']} passed, {counts['failed']} failed")
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
