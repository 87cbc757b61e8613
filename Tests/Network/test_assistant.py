"""The agent `assistant`, as it ships, with model servers that do what the prompt says: model.py."""

import json
import os
import shutil
import threading
import time

import harness
from harness import check, equal, eventually, text_of
from model import MODELS, script

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../config/agents/assistant")
OPENED = 'private_destinations: ["127.0.0.1:11434"]'


def begin(suite, **options):
    """A supervisor whose operator lets sessions reach the model of this host."""
    return suite.world(config=OPENED, **options)


def own(world, name, network, **env):
    """An agent file of the operator with the shipped program and another environment."""
    source = os.path.join(world.agents, "assistant-program")
    if not os.path.exists(source):
        shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(os.path.join(world.net.dir, "ca.pem"), source)
    values = json.dumps({"SSL_CERT_FILE": "/agent/ca.pem", **env})
    world.agent(name, "command: [python3, -B, /agent/main.py]\nsource: assistant-program\n"
                f"network: {{allow: {json.dumps(network)}}}\nenv: {values}")


def keyed(world, name="keyed", scheme="https", key="sk-test-0123456789", **env):
    own(world, name, ["model.example"], OPENAI_BASE_URL=f"{scheme}://model.example/v1", OPENAI_API_KEY=key, **env)
    return world.create(name)


def failure(world, session, content):
    """The error of a turn that must fail."""
    events = world.say(session, content)
    equal(events[-1]["type"], "run.failed", f"{content}: {text_of(events)} {events[-1]}")
    return events[-1]["error"]["message"]


def no_violations(model):
    equal(model.violations, [], "what the model server found wrong")


def work(world, session, model):
    """A turn of several steps: a file made, read, changed, run; what tools gave is what the model got."""
    program = "import sys\nprint('made by', sys.argv[1])\n"
    events = world.say(session, script(
        {"say": "I make a file. ", "call": [["write_file", {"path": "made/hello.py", "content": program}]]},
        {"call": [["read_file", {"path": "made/hello.py"}], ["list_files", {"path": "made"}]]},
        {"call": [["edit_file", {"path": "made/hello.py", "old": "made by", "new": "written by"}],
                  ["run_command", {"command": "python3 made/hello.py assistant; pwd; id -u"}]]},
        {"results": 1}, text="make hello.py and run it"))
    equal(events[-1]["type"], "run.completed", str(events[-1]))
    starts = [(event["tool"], event["input"]) for event in events if event["type"] == "tool.start"]
    equal([name for name, _ in starts], ["write_file", "read_file", "list_files", "edit_file", "run_command"])
    equal(starts[0][1], {"path": "made/hello.py"}, "the shown input")
    ends = [event for event in events if event["type"] == "tool.end"]
    check(all(event["success"] for event in ends), str(ends))
    text = text_of(events)
    check(text.startswith("I make a file. "), text)
    results = json.loads(text[text.index("["):])
    equal(results[1:3], [program, "hello.py  41 bytes"])
    equal(results[4], "written by assistant\n/workspace\n1000\n[exit status 0]")
    equal(harness.get_files(world, session, "made/hello.py").status, 200, "the file in the workspace")
    no_violations(model)


def test_a_turn_with_tools_and_a_local_model(suite):
    """The agent as it ships; nothing but one line in the supervisor's configuration."""
    suite.net.local_model.take()
    with begin(suite) as world:
        world.start()
        session = world.create("assistant")
        work(world, session, suite.net.local_model)
        requests = suite.net.local_model.take()
        equal([request["path"] for request in requests], ["/v1/models"] + ["/v1/chat/completions"] * 4)
        equal(requests[1]["body"]["model"], "scripted", "the first model that can talk")
        steps = script({"call": [["run_command", {"command": "echo by tool"}]]}, {"say": "that was it"})
        done = world.cli("run", "assistant", steps, "--single")
        equal((done.returncode, done.stdout.strip()), (0, "that was it"), done.stderr)


def test_a_turn_with_tools_with_a_key(suite):
    """In clear and over TLS, by proxy variables and without a word of a proxy."""
    suite.net.model.take()
    with begin(suite) as world:
        world.start()
        for scheme in ("http", "https"):
            for variables in ({}, {"HTTP_PROXY": "", "HTTPS_PROXY": ""}):
                session = keyed(world, f"{scheme}{len(variables)}", scheme, **variables)
                work(world, session, suite.net.model)
        check(not any(request.get("refused") for request in suite.net.model.take()), "a request without the key")


def test_a_key_that_stays_outside(suite):
    """Without a key the local model answers; from the moment that one is set, the endpoint that it belongs to. The session
    has a stand-in."""
    model, local = suite.net.model, suite.net.local_model
    config = f"{OPENED}\ngateway_ca: {os.path.join(suite.net.dir, 'ca.pem')}"
    with suite.world() as probe:
        if "  secrets " not in probe.cli("--help").stdout:
            return suite.skip("test_assistant.test_a_key_that_stays_outside", "there is no `superserve secrets` yet")
    with suite.world(config=config) as world:
        own(world, "outside", ["127.0.0.1:11434"])
        with open(os.path.join(world.agents, "outside.yaml"), "a") as file:
            file.write('secrets: {OPENAI_API_KEY: {api: openai, url: "https://model.example/v1"}}\n')
        world.start()
        session = world.create("outside")
        local.take(), model.take()
        equal(world.ask(session, script({"say": "from here"})), "from here")
        equal((len(local.take()), len(model.take())), (2, 0), "requests here and there")
        done = world.cli("secrets", "set", "outside", "OPENAI_API_KEY", input="sk-test-0123456789\n")
        equal(done.returncode, 0, done.stderr)
        said = world.ask(session, script({"call": [["run_command", {"command": "env; cat /proc/$PPID/environ"}]]},
                                         {"results": 1}))
        check("OPENAI_API_KEY=sk-" in said and "sk-test-0123456789" not in said, said)
        check(len(model.take()) >= 2 and not local.take(), "requests there")
        done = world.cli("secrets", "delete", "outside", "OPENAI_API_KEY")
        equal(done.returncode, 0, done.stderr)
        check("no value" in failure(world, session, "hello"), "a key that was deleted")
        no_violations(model)
    suite.result("test_assistant.test_a_key_that_stays_outside")


test_a_key_that_stays_outside.counts_itself = True


def test_text_comes_as_the_model_says_it(suite):
    with begin(suite) as world:
        world.start()
        session, times = world.create("assistant"), []
        for event in world.send(session, script({"say": "one two three four five six", "pause": 0.2})):
            if event["type"] == "message.delta":
                times.append(time.monotonic())
        equal(len(times), 6, "pieces")
        check(times[-1] - times[0] > 0.8, f"all at once: {times}")


def test_cancel_in_the_middle_of_an_answer(suite):
    """The request is cut, what was said is kept, and the next message is answered."""
    model = suite.net.local_model
    with begin(suite) as world:
        world.start()
        session, before = world.create("assistant"), model.cut_off
        events, took = cancelled(world, session, script({"say": "word " * 1000, "pause": 0.05}), "message.delta")
        check(took < 2, f"the cancel takes {took} s")
        eventually(lambda: model.cut_off > before, "the server's connection ends")
        model.take()
        world.ask(session, "and now")
        said = model.take()[-1]["body"]["messages"]
        check(said[-2]["role"] == "assistant" and said[-2]["content"].endswith("[cancelled by the user]"), str(said[-2]))
        check(said[-2]["content"].startswith(text_of(events).strip()[:20]), str(said[-2]))
        # Before the first word, and in the middle of a command.
        events, took = cancelled(world, session, script({"wait": 30, "say": "late"}), "run.started", 0.5)
        check(took < 2, f"before the first word the cancel takes {took} s")
        sleeper = "sleep 4242 & sleep 4242"
        events, took = cancelled(world, session, script({"call": [["run_command", {"command": sleeper}]]}), "tool.start",
                                 0.5)
        check(took < 2, f"in a command the cancel takes {took} s")
        equal(harness.children_named("sleep\x004242"), [], "what the command had started")
        said = world.ask(session, script({"call": [["run_command", {"command": "echo alive"}]]}, {"results": 1}))
        check("alive" in said, said)
        no_violations(model)


def cancelled(world, session, content, kind, pause=0.0):
    """A turn that is cancelled at its first event of a kind: its events, and the seconds from there to its end."""
    events, began = [], None
    for event in world.send(session, content):
        events.append(event)
        if began is None and event["type"] == kind:
            time.sleep(pause)
            began = time.monotonic()
            equal(world.post(f"/v1/sessions/{session['id']}/cancel").status // 100, 2, "cancel")
    equal(events[-1]["type"], "run.cancelled", str(events[-1]))
    return events, time.monotonic() - began


def test_the_conversation_stays(suite):
    """Over a restart of the supervisor, and in a new process of the agent, which had died in a turn."""
    model = suite.net.local_model
    with begin(suite) as world:
        world.start()
        session = world.create("assistant")
        world.ask(session, "the word is marzipan")
        world.ask(session, script({"call": [["run_command", {"command": "echo one"}]]}, {"say": "done"}))
        world.kill()
        world.start()
        equal(json.loads(world.ask(session, script({"history": 1})))[0], "the word is marzipan")
        events = world.say(session, script(
            {"call": [["run_command", {"command": "kill -KILL $PPID"}], ["list_files", {}]]}, text="die"))
        equal(events[-1]["error"]["code"], "agent_exited", str(events[-1]))
        model.take()
        said = json.loads(world.ask(session, script({"history": 1})))
        equal(said[0], "the word is marzipan")
        check(any(text.startswith("die") for text in said), str(said))
        tools = [message["content"] for message in model.take()[-1]["body"]["messages"] if message["role"] == "tool"]
        equal(tools[-2:], ["[interrupted]"] * 2, "calls without a result")
        no_violations(model)


def test_the_supervisor_is_killed_in_the_middle_of_an_answer(suite):
    """The stream breaks with its tunnel, and the model is asked again: the turn completes."""
    with begin(suite) as world:
        world.start()
        session = world.create("assistant")
        stream = iter(world.send(session, script(
            {"cut": -1, "times": 1, "name": f"kill{session['id']}", "say": "word " * 400, "pause": 0.05}, {"say": "whole"})))
        while next(stream)["type"] != "message.delta":
            pass
        world.kill()
        world.start()
        eventually(lambda: world.show(session)["status"] == "idle", "the turn ends", 30)
        history = world.get(f"/v1/sessions/{session['short_id']}/messages").json["messages"]
        text = history[-1]["content"]
        check(text.startswith("word") and "asked again" in text and text.rstrip().endswith("whole"), text[-300:])


def test_keys_that_are_wrong(suite):
    with begin(suite) as world:
        world.start()
        said = failure(world, keyed(world, "wrong", key="sk-other"), "hello")
        check("refuses the key" in said and "this is no key" in said, said)
        said = failure(world, keyed(world, "missing", key=""), "hello")
        check("wants a key" in said and "OPENAI_API_KEY" in said, said)
        said = failure(world, keyed(world, "odd", key="sk-\u00e9"), "hello")
        check("no key has" in said, said)


def test_endpoints_that_are_not_there(suite):
    """Closed by the operator, by the agent's network, not running, no address, a certificate of nobody."""
    with suite.world() as world:
        world.start()
        said = failure(world, world.create("assistant"), "hello")
        check("private_destinations" in said and "127.0.0.1:11434" in said, said)
        own(world, "elsewhere", ["www.example"], OPENAI_BASE_URL="https://model.example/v1", OPENAI_API_KEY="k")
        said = failure(world, world.create("elsewhere"), "hello")
        check("does not allow it" in said and "sessions network" in said, said)
        own(world, "dead", ["tools.example:8079"], OPENAI_BASE_URL="http://tools.example:8079", OPENAI_MODEL="x")
        began = time.monotonic()
        said = failure(world, world.create("dead"), "/model")
        check("tools.example" in said and time.monotonic() - began < 15, said)
        own(world, "text", [], OPENAI_BASE_URL="no address")
        check("no http or https address" in failure(world, world.create("text"), "hello"), "text")
        said = failure(world, keyed(world, "untrusted", SSL_CERT_FILE="/dev/null"), "hello")
        check("not trusted" in said, said)


def test_refusals_that_pass(suite):
    """A wait that was asked for is kept, errors of the server are tried again, and what does not pass is said."""
    model = suite.net.local_model
    with begin(suite) as world:
        world.start()
        session = world.create("assistant")
        world.ask(session, "hello")
        model.take()
        world.ask(session, script({"status": 429, "headers": {"Retry-After": "2"}, "times": 2, "name": "later"},
                                  {"say": "at last"}))
        times = [request["time"] for request in model.take()]
        equal(len(times), 3, "requests")
        check(2 <= times[1] - times[0] < 6 and 2 <= times[2] - times[1] < 6, str(times))
        equal(world.ask(session, script({"status": 503, "times": 3, "name": "down"}, {"say": "up"})), "up")
        events = world.say(session, script({"status": 500, "times": 1, "name": "once"}, {"say": "fine"}))
        check(any(event["type"] == "status" and "500" in event["content"] for event in events), str(events))
        for headers, body, words in (
                ({"Retry-After": "3600"}, None, ["429", "3600 s"]),
                ({}, {"error": {"message": "you are out of money", "code": "insufficient_quota"}}, ["out of money"]),
                ({}, {"error": {"message": "enough", "type": "budget_exceeded", "code": "tokens"}}, ["enough"])):
            began = time.monotonic()
            said = failure(world, session, script({"status": 429, "headers": headers, "body": body}))
            check(all(word in said for word in words) and time.monotonic() - began < 5, said)
        equal(world.ask(session, script({"say": "still here"})), "still here")
        no_violations(model)


def test_connections_that_break(suite):
    model = suite.net.local_model
    with begin(suite) as world:
        world.start()
        session = world.create("assistant")
        said = world.ask(session, script({"cut": 3, "times": 1, "name": "break", "say": "a b c d e f"}, {"say": "the whole"}))
        check(said.startswith("a b") and said.endswith("the whole") and "asked again" in said, said)
        said = failure(world, session, script({"cut": 3, "say": "a b c d e f"}))
        check("broke" in said, said)
        no_violations(model)


def test_models_that_cannot_do_everything(suite):
    model = suite.net.local_model
    with begin(suite) as world:
        world.start()
        session = world.create("assistant")
        world.ask(session, script({"call": [["run_command", {"command": "echo kept"}]]}, {"say": "first"}))
        listed = world.ask(session, "/model")
        check(listed.startswith("* scripted\n  other\n") and "embedding" not in listed, listed)
        check("no model 'nothing'" in failure(world, session, "/model nothing"), "an unknown model")
        world.ask(session, "/model talker")
        events = world.say(session, script({"say": "only words"}))
        equal(text_of(events), "only words")
        check(any("cannot use tools" in event.get("content", "") for event in events), str(events))
        world.ask(session, "/model short")
        said = world.ask(session, "x" * 7000 + script({"say": "shorter"}))
        check(said, "a conversation that is too long")
        world.ask(session, "/model old")
        equal(world.ask(session, script({"say": "no usage"})), "no usage")
        equal(world.ask(session, script({"plain": 1, "say": "in one piece"})), "in one piece")
        world.ask(session, "/model other")
        world.kill()
        world.start()
        model.take()
        world.ask(session, "who")
        equal(model.take()[-1]["body"]["model"], "other", "the choice stays")
        no_violations(model)


def test_the_model_where_nobody_says_which(suite):
    """The first of few, the newest small one of many; what the agent's file says wins."""
    model = suite.net.local_model
    many = ["large-1", "large-mini-1", "gemini-9", *(f"huge-{number}" for number in range(20)), "large-mini-2",
            "mini-search-3", "mini-tts", "large-3"]
    with begin(suite) as world:
        own(world, "named", ["127.0.0.1:11434"], OPENAI_MODEL="other")
        world.start()
        try:
            for listed, expected in ((many, "large-mini-2"), (["b", "a"], "b"), (["only-embedding"], "only-embedding")):
                model.models = listed
                said = world.ask(world.create("assistant"), "/model")
                check(f"* {expected}\n" in said, f"{listed}: {said}")
            model.models = []
            check("has no model" in failure(world, world.create("assistant"), "hello"), "none")
        finally:
            model.models = MODELS
        model.take()
        world.ask(world.create("named"), "hello")
        equal([request.get("body", {}).get("model") for request in model.take()], ["other"])


def event(delta, **more):
    return "data: " + json.dumps({"choices": [{"index": 0, "delta": delta, **more}]})


HOSTILE = {
    "no JSON": ["data: {nothing", "data: [DONE]"],
    "wrong types": ["data: 7", "data: []", "data: {\"choices\": 5}", "data: {\"choices\": [3]}", event([1]), event("x"),
                    event({"content": {"a": 1}, "tool_calls": 7}), event({"tool_calls": [3, {"index": "a"}, {"function": 1}]}),
                    event({}, finish_reason="stop")],
    "deep": ["data: " + "[" * 20000 + "]" * 20000],
    "half characters": [event({"content": "\ud83d alone \udc00"}), event({}, finish_reason="stop")],
    "many calls": [event({"tool_calls": [{"index": number, "function": {"name": "list_files"}}]}) for number in range(100)],
    "no name": [event({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}), event({}, finish_reason="tool_calls")],
    "odd name": [event({"tool_calls": [{"index": 0, "id": "same", "function": {"name": "\x1b]0;x\x07 a/../b" * 40}},
                                       {"index": 1, "id": "same", "function": {"name": "list_files", "arguments": "{}"}}]}),
                 event({}, finish_reason="tool_calls")],
    "only comments": [": nothing"] * 50,
    "an error": ["data: " + json.dumps({"error": {"message": "inside of the stream"}})],
    "control characters": [event({"content": "\x1b[2J\x00\x07"}), event({}, finish_reason="stop")],
    "endless": [event({"content": "x" * 30000})] * 60,
}


def test_hostile_answers(suite):
    """Whatever comes, the turn ends in bounded time and the next one works; the conversation stays good for a strict
    endpoint."""
    model = suite.net.local_model
    with begin(suite) as world:
        own(world, "bounded", ["127.0.0.1:11434"], ASSISTANT_STEPS="4")
        world.start()
        session = world.create("bounded")
        for name, lines in HOSTILE.items():
            if sum(map(len, lines)) > 60000:
                steps = script({"say": "x" * 30000, "count": 60})
            else:
                steps = script({"raw": lines}, {"say": "then"})
            began = time.monotonic()
            events = world.say(session, steps)
            took = time.monotonic() - began
            check(events[-1]["type"] in ("run.completed", "run.failed") and took < 20, f"{name}: {took} s {events[-1]}")
            check(events[-1].get("error", {}).get("code", "agent_error") == "agent_error", f"{name}: {events[-1]}")
            said = world.ask(session, script({"say": f"after {name}"}))
            equal(said, f"after {name}", name)
            no_violations(model)


def test_hostile_arguments(suite):
    """Bad JSON, other types, paths that block or are endless, much output: the model is told, and goes on."""
    model = suite.net.local_model
    calls = {
        "bad JSON": (["read_file", "{\"path\": "], "no JSON"),
        "a list": (["read_file", "[1]"], "object"),
        "deep": (["read_file", "[" * 5000], "JSON"),
        "unknown": (["no_such_tool", {}], "no tool"),
        "missing": (["read_file", {}], "missing"),
        "a type": (["read_file", {"path": 7}], "must be a string"),
        "a number in quotes": (["run_command", {"command": "echo ok", "seconds": "5"}], "ok"),
        "NUL": (["read_file", {"path": "a\0b"}], "no path"),
        "a long path": (["read_file", {"path": "a/" * 5000}], "no path"),
        "a device": (["read_file", {"path": "/dev/zero"}], "no regular file"),
        "a directory": (["read_file", {"path": "/tmp"}], "no regular file"),
        "not there": (["edit_file", {"path": "none", "old": "a", "new": "b"}], "No such file"),
        "the system": (["write_file", {"path": "/usr/bin/x", "content": ""}], "Error"),
        "much": (["run_command", {"command": "head -c 50000000 /dev/zero | tr '\\0' y"}], "left out"),
        "no end": (["run_command", {"command": "yes", "seconds": 1}], "killed after 1 s"),
        "late": (["run_command", {"command": "sleep 50", "seconds": 1}], "killed after 1 s"),
        "in the background": (["run_command", {"command": "sleep 50 & echo begun"}], "begun"),
        "closed output": (["run_command", {"command": "exec >&- 2>&-; sleep 0.3"}], "exit status 0"),
        "a signal": (["run_command", {"command": "kill -SEGV $$"}], "signal 11"),
        "half a character": (["write_file", '{"path": "half", "content": "\\ud83d"}'], "written"),
        "a pipe": (["run_command", {"command": "mkfifo p; ln -s p q; ls"}], "p"),
        "reading it": (["read_file", {"path": "q"}], "no regular file"),
        "writing it": (["write_file", {"path": "q", "content": "x"}], "no regular file"),
    }
    with begin(suite) as world:
        world.start()
        session = world.create("assistant")
        for name, (call, expected) in calls.items():
            began = time.monotonic()
            events = world.say(session, script({"call": [call]}, {"results": 1}))
            equal(events[-1]["type"], "run.completed", f"{name}: {events[-1]}")
            check(time.monotonic() - began < 15, f"{name} takes long")
            check(expected in text_of(events), f"{name}: {text_of(events)[:500]}")
            check(len(text_of(events)) < 100_000, f"{name}: {len(text_of(events))} characters")
        no_violations(model)


def test_bounds_of_a_turn_and_of_the_conversation(suite):
    model = suite.net.local_model
    with begin(suite) as world:
        own(world, "small", ["127.0.0.1:11434"], ASSISTANT_CONTEXT="12000", ASSISTANT_STEPS="3")
        own(world, "wrong", ["127.0.0.1:11434"], ASSISTANT_STEPS="many")
        world.start()
        check("ASSISTANT_STEPS" in failure(world, world.create("wrong"), "hello"), "a setting that is no number")
        session = world.create("small")
        model.take()
        said = world.ask(session, script(*[{"call": [["list_files", {}]]}] * 10))
        equal(len(model.take()), 4, "the list of models and three requests")
        check("stopped after 3" in said, said)
        for number in range(8):
            world.ask(session, f"message {number} " + "x" * 3000)
        big = {"call": [["run_command", {"command": "head -c 9000 /dev/zero | tr '\\0' y"}]]}
        world.ask(session, script(big, big, {"say": "done"}))
        said = json.loads(world.ask(session, script({"history": 1})))
        check(not any(text.startswith("message 0") for text in said), "the oldest message")
        for request in model.take():
            size = len(json.dumps(request["body"]["messages"]))
            check(size < 16000, f"{size} bytes are sent")
        no_violations(model)


def test_two_sessions_at_once(suite):
    """Each with its own conversation and workspace."""
    with begin(suite) as world:
        world.start()
        sessions, texts = [world.create("assistant") for _ in range(3)], {}

        def talk(number):
            call = [["run_command", {"command": f"echo {number} >> n; cat n"}]]
            texts[number] = world.ask(sessions[number], script({"call": call}, {"results": 1}))
        threads = [threading.Thread(target=talk, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number in range(3):
            check(f"\\n{number}\\n" in texts[number] or f'"{number}\\n' in texts[number], str(texts))
