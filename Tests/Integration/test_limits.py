"""Limits of sessions, as far as every host can try them; those of control groups stand in Tests/VM/limits.py."""

import os
import re
import subprocess
import time

from harness import check, equal, eventually

EXEC = 'protocol: exec\ncommand: [/bin/sh, -c, "exec 2>&1; {message}"]\n'
MEBI = 1 << 20


def limited(world, name, limits):
    world.agent(name, EXEC + f"limits: {{{limits}}}")
    return world.create(name)


def failed(events, code):
    equal(events[-1]["type"], "run.failed", events[-1])
    equal(events[-1]["error"]["code"], code, events[-1]["error"])
    return events[-1]["error"]["message"]


def groups_are_here(world):
    """Root gets groups wherever cgroup v2 is mounted; processor time is known then."""
    world.agent("probe", EXEC + "limits: {turn_cpu: 1h}")
    session = world.create("probe")
    return world.show(session)["limits"]["not_enforced"] == []


def test_disk_is_watched(world):
    world.start()
    session = limited(world, "writer", "disk: 32MiB")
    equal(world.ask(session, "head -c 20000000 /dev/zero > small; echo fits"), "fits\n")
    began = time.monotonic()
    events = world.say(session, "echo x > kept; dd if=/dev/zero of=big bs=1M count=4000; sleep 600")
    message = failed(events, "disk_full")
    check("32MiB" in message and "delete" in message, message)
    tree = int(subprocess.run(["du", "-sB1", world.tree(session)], check=True, capture_output=True, text=True,
                              ).stdout.split()[0]) if os.geteuid() == 0 else 0
    print(f"     ended after {time.monotonic() - began:.2f} s, at {tree / MEBI:.0f} of 32 MiB")
    # It may look, and delete, but not grow.
    equal(world.ask(session, "cat kept; ls big"), "x\nbig\n")
    failed(world.say(session, "head -c 50000000 /dev/zero > more; sleep 600"), "disk_full")
    equal(world.ask(session, "rm -f big more; echo gone"), "gone\n")
    equal(world.ask(session, "head -c 5000000 /dev/zero > again; echo fits"), "fits\n")


def test_what_runs_in_the_background_is_watched_too(world):
    world.start()
    session = limited(world, "writer", "disk: 16MiB")
    equal(world.ask(session, "(sleep 2; dd if=/dev/zero of=big bs=64k count=100000; sleep 600) "
                             ">/dev/null 2>&1 & echo started"), "started\n")
    tree = world.tree(session)
    if os.geteuid() != 0:
        return  # nobody else can look into the tree

    def size():
        return os.path.getsize(os.path.join(tree, "workspace", "big"))
    eventually(lambda: os.path.exists(os.path.join(tree, "workspace", "big")) and size() > 16 * MEBI, "it grows")

    def stands():
        before = size()
        time.sleep(0.5)
        return size() == before
    eventually(stands, "it is ended", 60)
    check(size() < 100000 * 65536, "it came to its end by itself")
    equal(world.ask(session, "rm big; echo gone"), "gone\n")


def test_processor_time_of_a_turn(world):
    world.start()
    if not groups_are_here(world):
        session = limited(world, "burner", "turn_cpu: 1")
        shown = world.show(session)["limits"]
        equal(shown["not_enforced"], ["turn_cpu"])
        check(shown["note"], shown)
        return
    session = limited(world, "burner", "turn_cpu: 1")
    message = failed(world.say(session, "while :; do :; done"), "cpu_limit")
    check("'turn_cpu'" in message, message)
    used = world.show(session)["limits"]["used"]["cpu_ms"]
    check(1000 <= used < 4000, used)
    # Each turn has its own.
    equal(world.ask(session, "echo again"), "again\n")


def test_processor_time_of_a_session_counts_over_restarts(world):
    world.start()
    if not groups_are_here(world):
        return
    session = limited(world, "burner", "session_cpu: 2")
    world.ask(session, "(ulimit -t 1; while :; do :; done); echo done")
    before = world.show(session)["limits"]["used"]["cpu_ms"]
    check(before > 500, before)  # ulimit(1) counts whole ticks, the group what was used
    world.kill()
    world.start()
    check(world.show(session)["limits"]["used"]["cpu_ms"] >= before, world.show(session)["limits"])
    failed(world.say(session, "while :; do :; done"), "cpu_limit")
    answer = world.post(f"/v1/sessions/{session['id']}/messages", {"content": "echo more"})
    equal((answer.status, answer.error["code"]), (403, "limit_reached"))
    check("'session_cpu'" in answer.error["message"], answer.error)
    # Its files can still be had.
    equal(world.cli("sessions", "cp", f"{session['id']}:/etc/hostname", "-").returncode, 0)


def test_time_of_a_session(world):
    world.start()
    session = limited(world, "sleeper", "session_time: 3")
    world.ask(session, "sleep 1")
    began = time.monotonic()
    message = failed(world.say(session, "sleep 60"), "time_limit")
    check(0.5 < time.monotonic() - began < 10, "two of three seconds were left")
    check("'session_time'" in message, message)
    answer = world.post(f"/v1/sessions/{session['id']}/messages", {"content": "echo more"})
    equal((answer.status, answer.error["code"]), (403, "limit_reached"))


def test_limits_are_shown(world):
    world.start()
    session = limited(world, "all", "memory: 1GiB, pids: 200, cpu: 1.5, turn_cpu: 10m, disk: 1GiB")
    world.ask(session, "true")
    shown = world.show(session)["limits"]
    equal(shown["enforcement"], "best-effort")
    equal({key: shown["set"][key] for key in ("memory", "swap", "pids", "cpu", "turn_cpu", "disk")},
          {"memory": 1 << 30, "swap": 0, "pids": 200, "cpu": 1500, "turn_cpu": 600, "disk": 1 << 30})
    said = world.cli("sessions", "get", session["id"]).stdout
    check(re.search(r"^Limits: +memory 1GiB, swap 0, pids 200, cpu 1.5, turn_cpu 600s", said, re.M), said)
    if shown["not_enforced"]:
        missing = re.search(r"^Not enforced: +(.*?) \((.*)\)$", said, re.M)
        check(missing and missing[1] == ", ".join(shown["not_enforced"]) and "group" in missing[2], said)
    world.agent("none", EXEC)
    plain = world.create("none")
    check("Limits:" not in world.cli("sessions", "get", plain["id"]).stdout, "a line about nothing")


def test_bad_limits_name_the_line(world):
    world.start()
    project = os.path.join(world.dir, "project")
    os.mkdir(project)
    for text, expected in ((" memory: -1", "superserve.yaml:5: 'memory' must be between"),
                           (" pids: 0", "superserve.yaml:5: 'pids' must be between"),
                           (" disk: harder", "superserve.yaml:5: 'disk' must be a size"),
                           (" memory: 1GB", "superserve.yaml:5: 'memory' must be a size")):
        world.write(os.path.join(project, "superserve.yaml"), f"name: bad\n{EXEC}limits:\n{text}\n")
        done = world.cli("deploy", project)
        check(done.returncode != 0 and expected in done.stderr, done.stderr)


def test_a_wall_for_the_disk_is_not_made_up(world):
    """No quota is set for these ids; Tests/VM/quota.py has a file system that limits them."""
    world.start()
    world.agent("hard", EXEC + "limits: {disk: hard}")
    answer = world.post("/v1/sessions", {"agent": "hard"})
    equal((answer.status, answer.error["code"]), (500, "sandbox_failed"))
    check("required and not possible here: disk: the file system" in answer.error["message"], answer.error)
    check("superserve-launcher set-quotas" in answer.error["message"], answer.error)
    equal(world.sessions(), [])
    equal("disk_quota" in world.show(limited(world, "sized", "disk: 1GiB"))["limits"], False)


def test_required_limits_refuse_where_there_are_none(world):
    with open(world.config_file, "a", encoding="utf-8") as file:
        file.write("limits: required\ndefault_limits: {memory: 64MiB, pids: 50, cpu: 1}\n")
    world.start()
    world.agent("plain", EXEC)
    answer = world.post("/v1/sessions", {"agent": "plain"})
    if answer.status == 201:
        equal(world.get(f"/v1/sessions/{answer.json['id']}").json["limits"]["not_enforced"], [])
        return
    equal((answer.status, answer.error["code"]), (500, "sandbox_failed"))
    check("required and not possible here: memory, pids, cpu" in answer.error["message"], answer.error)
    equal(world.sessions(), [])
    with open(world.log, encoding="utf-8") as log:
        check("no session will start" in log.read(), "nothing in the log")


def test_ceilings_of_deployed_agents(world):
    group, member = "sslimits-team", "sslimits-member"
    subprocess.run(["groupadd", "-f", group], check=True)
    world.stack.callback(subprocess.run, ["groupdel", group], stderr=subprocess.DEVNULL)
    subprocess.run(["useradd", "--no-create-home", "--groups", group, member], check=True)
    world.stack.callback(subprocess.run, ["userdel", member], stderr=subprocess.DEVNULL)
    with open(world.config_file, "a", encoding="utf-8") as file:
        file.write(f"socket_group: {group}\nallowed_limits: {{memory: 1GiB, turn_time: 1h, session_time: 2}}\n")
    os.chmod(world.home, 0o777)
    world.start()
    project = os.path.join(world.dir, "project")
    os.mkdir(project)
    for text, expected in (("limits: {memory: 2GiB}", "'limits': memory is 2GiB, more than the 1GiB of"),
                           ("turn_timeout: 2h", "'turn_timeout' is 7200s, more than the 3600s of")):
        world.write(os.path.join(project, "superserve.yaml"), f"name: mine\n{EXEC}{text}\n")
        done = world.cli("deploy", project, user=member)
        check(done.returncode != 0 and expected in done.stderr, done.stderr)
    world.write(os.path.join(project, "superserve.yaml"), f"name: mine\n{EXEC}")
    equal(world.cli("deploy", project, user=member).returncode, 0)
    session = world.create("mine")
    shown = world.show(session)["limits"]["set"]
    equal((shown["memory"], shown["turn_time"], shown["session_time"]), (1 << 30, 3600, 2))
    failed(world.say(session, "sleep 60"), "time_limit")
    # What operators have is free of it.
    free = limited(world, "free", "memory: 2GiB")
    equal(world.show(free)["limits"]["set"]["memory"], 2 << 30)


test_ceilings_of_deployed_agents.root_only = True
