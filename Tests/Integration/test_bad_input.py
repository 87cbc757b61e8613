"""What users get wrong, and what breaks around the supervisor: a clear error, nothing lost."""

import contextlib
import os
import shutil
import sqlite3
import subprocess

from agents import NATIVE
from harness import BIN, SLOWNESS, check, equal, eventually, text_of


def refuses(world, *arguments, env=None, status=1):
    """The supervisor's error line when it must not start."""
    result = subprocess.run(
        world.daemon_arguments(*arguments), capture_output=True, text=True, timeout=60 * SLOWNESS,
        env=env or world.environment(), stdin=subprocess.DEVNULL, **world.demoted())
    equal(result.returncode, status, f"exit status; {result.stderr}")
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    equal(len(lines), 1, f"one line of error: {result.stderr}")
    return lines[0]


def test_unknown_agent_names_the_known_ones(world):
    world.agent("mine", "command: [x]")
    world.start()
    answer = world.post("/v1/sessions", {"agent": "nope"})
    equal((answer.status, answer.error["code"]), (404, "agent_not_found"))
    equal(answer.error["message"], "No agent named 'nope'; known agents: assistant, mine, shell")


def test_ids_empty_unknown_ambiguous(world):
    world.start()
    equal(world.get("/v1/sessions/resolve?prefix=").error["message"], "No session found matching ''")
    equal(world.get("/v1/sessions/abc123").error["message"], "No session found matching 'abc123'")
    equal(world.get("/v1/sessions/..%2f..%2fetc").status, 404)
    by_digit = {}
    pair = None
    while pair is None:
        session = world.create("shell")
        digit = session["short_id"][0]
        if digit in by_digit:
            pair = sorted([by_digit[digit], session["short_id"]])
        by_digit[digit] = session["short_id"]
    answer = world.get(f"/v1/sessions/{digit}")
    equal((answer.status, answer.error["code"]), (409, "session_ambiguous"))
    equal(answer.error["message"], f"Ambiguous ID '{digit}' — matches: {pair[0]}, {pair[1]}")
    equal(answer.error["matches"], pair)
    equal(world.get(f"/v1/sessions/ses_{pair[0][:8]}-{pair[0][8:]}").status, 200)


def test_messages_over_the_limit(world):
    world.start()
    session = world.create("shell")
    path = f"/v1/sessions/{session['id']}/messages"
    answer = world.post(path, {"content": "x" * ((1 << 20) + 1)})
    equal((answer.status, answer.error["code"]), (413, "too_large"))
    equal(world.post(path, {"content": "\x01" * ((1 << 20) + 1)}).status, 413)
    for body in ({"content": ""}, {"content": "a\0b"}, {}, {"content": 5}, []):
        equal(world.post(path, body).status, 400, str(body))
    equal(world.request("POST", path, "{" * 1000).status, 400)
    equal(world.show(session)["messages"], 0)
    equal(world.ask(session, "echo " + "y" * 1000), "y" * 1000 + "\n")


def test_escape_sequences_in_titles_and_text(world):
    world.agent("bot", "command: [/usr/bin/python3, /agent/bot.py]", {"bot.py": NATIVE})
    world.start()
    session = world.create("bot")
    text = world.ask(session, "escape \x1b[2J\x07")
    check("\x1b[31mred" in text, "the wire carries what the agent wrote")
    equal(world.show(session)["title"], "escape [2J")
    for arguments in (["sessions", "list"], ["sessions", "get", session["short_id"]],
                      ["sessions", "history", session["short_id"]]):
        result = world.cli(*arguments)
        equal(result.returncode, 0, result.stderr)
        check(not any(c in result.stdout for c in "\x1b\x07\x9b"), repr(result.stdout))


def test_second_supervisor_on_the_same_state(world):
    world.start()
    line = refuses(world)
    check("another supervisor is already running" in line, line)
    equal(world.get("/healthz").status, 200, "the first one is undisturbed")
    other = os.path.join(world.dir, "run2")
    check("another supervisor" in refuses(world, "--runtime-dir", other), "also with other sockets")
    check(not os.path.exists(other), "the lock comes before any side effect")
    check("another supervisor" in refuses(world, "--state-dir", os.path.join(world.dir, "state2")),
          "also with other sessions behind the same socket")


def test_a_launcher_of_another_state_directory_is_left_alone(world):
    world.start()
    session = world.create("shell")
    world.ask(session, "echo kept > file")
    world.kill()
    line = refuses(world, "--state-dir", os.path.join(world.dir, "state2"))
    check("keeps the sessions of " + world.state in line, line)
    check(os.path.exists(world.tree(session)), "nothing was swept")
    world.start()
    equal(world.ask(session, "cat file"), "kept\n")


def test_state_directory_not_writable(world):
    blocked = os.path.join(world.dir, "file")
    world.write(blocked, "x")
    line = refuses(world, "--state-dir", blocked + "/state")
    check(blocked in line, line)


def test_database_of_a_newer_version(world):
    world.start()
    world.post("/v1/supervisor/stop")
    world.process.wait(30 * SLOWNESS)
    world.process = None
    database = sqlite3.connect(os.path.join(world.state, "superserve.sqlite"))
    database.execute("INSERT INTO grdb_migrations VALUES ('999-from-the-future')")
    database.commit()
    database.close()
    line = refuses(world)
    check("newer version" in line, line)


def test_configuration_mistakes_name_their_line(world):
    world.write(world.config_file, "log_level: info\nidle_timeot: 5m\n")
    line = refuses(world, status=78)  # a service manager need not try again
    check("superserved.yaml:2: unknown key 'idle_timeot'" in line, line)


def test_runtime_directory_too_long(world):
    line = refuses(world, "--runtime-dir", os.path.join(world.dir, "x" * 80))
    check("too long" in line and "--runtime-dir" in line, line)


def test_broken_agent_files_do_not_hide_the_others(world):
    world.agent("good", "protocol: exec\ncommand: [echo, ok]")
    world.write(os.path.join(world.agents, "bad.yaml"), "name: [\n")
    world.write(os.path.join(world.agents, "worse.yaml"), "name: worse\ncommand: [x]\nfoo: 1\n")
    world.start()
    equal([a["name"] for a in world.get("/v1/agents").json["agents"]], ["assistant", "good", "shell"])


def test_mounts_never_reach_the_supervisors_own_state(world):
    for name, path in (("a", world.state), ("b", world.dir), ("c", world.runtime), ("d", "/")):
        world.agent(name, f"command: [x]\nmounts: ['{path}:/data']" if path != "/" else
                    "command: [x]\nroot: /")
    world.start()
    for name in "abcd":
        answer = world.post("/v1/sessions", {"agent": name})
        equal(answer.status, 500, name)
        check("the supervisor's own state" in answer.error["message"], answer.error)
    equal(world.get("/v1/sessions").json["total"], 0)


def test_mounts_of_the_operator_are_read_only(world):
    shared = os.path.join(world.home, "shared")
    os.mkdir(shared, 0o755)
    world.write(os.path.join(shared, "data"), "from the host\n")
    world.agent("m", f"protocol: exec\ncommand: [sh, -c, 'cat /data/data; touch /data/x']\n"
                     f"mounts: ['{shared}:/data']")
    os.rename(shared, shared)
    allowed = os.path.join("/tmp", os.path.basename(world.dir) + "-mount")
    shutil.copytree(shared, allowed)
    world.stack.callback(shutil.rmtree, allowed, ignore_errors=True)
    world.agent("n", f"protocol: exec\ncommand: [sh, -c, 'cat /data/data; touch /data/x']\n"
                     f"mounts: ['{allowed}:/data']")
    world.start()
    events = world.say(world.create("n"), "x")
    equal(text_of(events), "from the host\n")
    check("Read-only file system" in events[-1]["error"]["message"], events[-1])


def test_disk_full_while_a_turn_streams(world):
    """State on a small file system of its own: the turn fails, what was recorded stays, all goes on."""
    disk = os.path.join(world.dir, "disk")
    os.mkdir(disk)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m,mode=755", "tmpfs", disk], check=True)
    world.stack.callback(subprocess.run, ["umount", "-l", disk])
    world.stack.callback(world.stop_everything)
    world.state = os.path.join(disk, "state")
    world.agent("flood", "protocol: exec\ncommand: [sh, -c, 'echo first; yes | head -c 40000000']")
    world.start()
    calm = world.create("shell")
    world.ask(calm, "echo before")
    session = world.create("flood")
    answer = world.post(f"/v1/sessions/{session['id']}/messages", {"content": "x", "detach": True})
    equal(answer.status, 202)

    def failing():
        return "cannot store" in open(world.log).read()
    eventually(failing, "the disk is full", 60)
    equal(world.get("/healthz").status, 200, "the supervisor is up")
    # Room is made, as an operator would.
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    eventually(lambda: world.show(session)["status"] == "idle", "the turn has ended", 30)
    events = list(world.stream("GET", f"/v1/sessions/{session['id']}/events?follow=0"))
    equal(events[-1]["type"], "run.failed", str(events[-1]))
    equal(events[-1]["error"]["code"], "storage_failed")
    equal([e["seq"] for e in events], list(range(1, len(events) + 1)), "gapless")
    check(text_of(events).startswith("first\ny\ny\n"), "what was recorded is there")
    equal(world.ask(calm, "echo after"), "after\n")


test_disk_full_while_a_turn_streams.root_only = True


def test_superserved_options_are_checked(world):
    result = subprocess.run([f"{BIN}/superserved", "--nonsense"], capture_output=True, text=True)
    equal(result.returncode, 64)
    with contextlib.suppress(FileNotFoundError):
        check("log level" in refuses(world, "--log-level", "loud"), "log level")
