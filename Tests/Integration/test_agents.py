"""The native and exec protocols with real processes."""

import time

from agents import NATIVE
from harness import SLOWNESS, check, equal, eventually, text_of


def native(world, more=""):
    world.agent("bot", f"command: [/usr/bin/python3, /agent/bot.py]\n{more}", {"bot.py": NATIVE})
    world.start()
    return world.create("bot")


def test_native_turns_share_a_process(world):
    session = native(world)
    first = world.ask(session, "pid")
    equal(world.ask(session, "pid"), first)
    equal(world.ask(session, "héllo wörld 😀"), "héllo wörld 😀")


def test_native_tools_and_status(world):
    session = native(world)
    events = world.say(session, "tool /x")
    equal(
        [e["type"] for e in events],
        ["run.started", "status", "tool.start", "tool.end", "run.completed"])
    equal((events[2]["tool"], events[2]["input"]), ("ls", {"path": "/x"}))
    equal((events[3]["output"], events[3]["success"]), ("a b", True))


def test_native_error_fails_the_turn_only(world):
    session = native(world)
    events = world.say(session, "error no model today")
    equal(events[-1]["error"], {"code": "agent_error", "message": "no model today"})
    equal(world.ask(session, "again"), "again")


def test_native_garbage_is_not_fatal(world):
    session = native(world)
    equal(world.ask(session, "garbage"), "")
    equal(world.ask(session, "fine"), "fine")


def test_native_line_of_64_mebibytes(world):
    session = native(world)
    equal(world.ask(session, "long 64"), "")
    equal(world.ask(session, "fine"), "fine")
    rss = int(next(
        line for line in open(f"/proc/{world.process.pid}/status") if line.startswith("VmRSS")
    ).split()[1])
    check(rss < 400 * 1024, f"the supervisor stays small: {rss} KiB")


def test_native_exit_in_a_turn(world):
    session = native(world)
    events = world.say(session, "exit 3")
    equal(events[-1]["type"], "run.failed")
    error = events[-1]["error"]
    equal(error["code"], "agent_exited")
    check("status 3" in error["message"] and "going away" in error["message"], error)
    equal(world.ask(session, "back"), "back", "the next message starts it again")


def test_native_cancel_is_told(world):
    session = native(world)
    stream = iter(world.send(session, "wait"))
    next(stream), next(stream)
    world.post(f"/v1/sessions/{session['id']}/cancel")
    rest = list(stream)
    equal([e["type"] for e in rest], ["message.delta", "run.cancelled"])
    equal(world.ask(session, "on"), "on")


def test_native_cancel_of_a_deaf_agent_kills(world):
    session = native(world, "cancel_grace: 1s")
    stream = iter(world.send(session, "stuck"))
    next(stream), next(stream)
    began = time.monotonic()
    world.post(f"/v1/sessions/{session['id']}/cancel")
    equal(list(stream)[-1]["type"], "run.cancelled")
    check(1.5 < time.monotonic() - began < 8 * SLOWNESS, "told, interrupted, killed")
    equal(world.ask(session, "back"), "back")


def test_agent_that_exits_at_start(world):
    world.agent("dead", "command: echo no >&2; exit 7")
    world.start()
    events = world.say(world.create("dead"), "hi")
    check("status 7" in events[-1]["error"]["message"], events)
    check(events[-1]["error"]["message"].endswith("no"), events)


def test_agent_that_is_never_ready(world):
    world.agent("slow", "command: [sleep, '100']\nstart_timeout: 1s")
    world.start()
    events = world.say(world.create("slow"), "hi")
    equal(events[-1]["error"]["code"], "agent_start_timeout")


def test_command_not_found_and_not_executable(world):
    world.agent("missing", "command: [/usr/bin/no-such-program]")
    world.agent("closed", "command: [/etc/passwd]")
    world.start()
    session = world.create("missing")
    error = world.say(session, "hi")[-1]["error"]
    equal(error["code"], "agent_start_failed")
    check("exec" in error["message"] and "errno 2" in error["message"], error)
    error = world.say(world.create("closed"), "hi")[-1]["error"]
    check("exec" in error["message"] and "errno 13" in error["message"], error)
    history = world.get(f"/v1/sessions/{session['id']}/messages").json["messages"]
    equal((history[1]["status"], history[1]["error"]["code"]), ("failed", "agent_start_failed"))


def test_exec_argument_stdin_continue_and_failure(world):
    world.agent("arg", "protocol: exec\ncommand: [printf, '%s.', '{message}']")
    world.agent("cat", "protocol: exec\ncommand: [cat]\ncontinue: [sh, -c, 'echo again; cat']")
    world.agent("bad", "protocol: exec\ncommand: [sh, -c, 'echo out; echo why >&2; exit 4']")
    world.start()
    equal(world.ask(world.create("arg"), "a b 'c'; $(x)"), "a b 'c'; $(x).")
    session = world.create("cat")
    equal(world.ask(session, "one"), "one")
    equal(world.ask(session, "two"), "again\ntwo")
    big = "z" * 900_000
    equal(world.ask(session, big), "again\n" + big, "more than any pipe holds")
    events = world.say(world.create("bad"), "x")
    equal(text_of(events), "out\n")
    error = events[-1]["error"]
    check("status 4" in error["message"] and error["message"].endswith("why"), error)


def test_environment_is_what_was_said(world):
    world.agent("env", "protocol: exec\ncommand: [env]\nenv: {MODE: fast, PATH: /usr/bin}")
    world.start()
    session = world.create("env")
    found = dict(line.split("=", 1) for line in world.ask(session, "x").splitlines())
    equal(found["SUPERSERVE"], "1")
    equal(found["SUPERSERVE_SESSION_ID"], session["id"])
    equal(found["SUPERSERVE_AGENT"], "env")
    equal((found["HOME"], found["PWD"], found["MODE"], found["PATH"]),
          ("/home/agent", "/workspace", "fast", "/usr/bin"))
    equal(sorted(found), sorted([
        "SUPERSERVE", "SUPERSERVE_SESSION_ID", "SUPERSERVE_AGENT", "HOME", "PWD", "MODE", "PATH",
        "USER", "LOGNAME", "SHELL", "LANG", "TERM"]))


def test_turn_timeout(world):
    world.agent("long", "protocol: exec\ncommand: [sleep, '60']\nturn_timeout: 1s")
    world.start()
    session = world.create("long")
    equal(world.say(session, "x")[-1]["error"]["code"], "turn_timeout")
    equal(world.show(session)["status"], "idle")


def test_a_flood_is_held_back(world):
    world.agent("flood", "protocol: exec\ncommand: [sh, -c, 'yes | head -c 30000000']")
    world.start()
    session = world.create("flood")
    events = world.say(session, "x")
    equal(events[-1]["type"], "run.completed", str(events[-1]))
    equal(len(text_of(events)), 30_000_000)


def test_session_keeps_its_version(world):
    world.agent("v", "protocol: exec\ncommand: [sh, /agent/v.sh]", {"v.sh": "echo one"})
    world.start()
    session = world.create("v")
    equal(world.ask(session, "x"), "one\n")
    world.agent("v", "protocol: exec\ncommand: [sh, /agent/v.sh]", {"v.sh": "echo two!"})
    newer = world.create("v")
    equal(world.ask(newer, "x"), "two!\n")
    equal(world.ask(session, "x"), "one\n")
    equal((session["agent"]["version"], newer["agent"]["version"]), (1, 2))


def test_what_protects_a_session_is_shown(world):
    world.start()
    session = world.create("shell")
    isolation = world.show(session)["isolation"]
    for name in ("user-namespace", "own-ids", "calls", "capabilities", "no-new-privileges", "read-only-root"):
        check(name in isolation["in_force"], f"{name}: {isolation}")
    check(not set(isolation["missing"]) & set(isolation["in_force"]), str(isolation))
    check(all(name.startswith(("landlock", "control-group", "ipc-limits")) for name in isolation["missing"]),
          f"only what a session may do without: {isolation['missing']}")
    world.kill()
    world.start()
    equal(world.show(session)["isolation"], isolation, "also after a restart")


def test_measures_are_loosened_by_name_only(world):
    world.agent("loose", "command: [cat]\nprotocol: exec\nloosen: [landlock-scopes, landlock-files, landlock-devices]")
    world.agent("looser", "command: [cat]\nprotocol: exec\nloosen: [capabilities]")
    world.start()
    session = world.create("loose")
    isolation = world.show(session)["isolation"]
    for name in ("landlock-files", "landlock-devices", "landlock-scopes"):
        check(name in isolation["missing"], str(isolation))
    check("calls" in isolation["in_force"], str(isolation))
    equal(world.ask(session, "still works"), "still works")
    answer = world.post("/v1/sessions", {"agent": "looser"})
    check(answer.status >= 400 and "no session goes without" in answer.error["message"], str(answer.body))
    equal(world.get("/v1/agents/shell").status, 200, "the others are there")
