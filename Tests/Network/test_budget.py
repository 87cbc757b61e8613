"""What a session may use of the network in all: every kind reached for real, with what still worked below it."""

import json
import os
import re
import subprocess
import time

import secrets_world
import setting
from harness import check, equal, eventually

HOST = "tools.example"
CHAT = f"http://{HOST}/v1/chat/completions"
ALLOWED = '{allow: ["tools.example:*", www.example]}'
PRICES = 'prices: {"test-model*": {input: 10, output: 100, cached: 1}, other: {input: 1000, output: 1000}}\n'


def agent(world, name, budget, more=""):
    world.agent(name, setting.AGENT + ALLOWED + f"\n{more}" + (f"budget: {budget}\n" if budget else ""))
    return world.create(name)


def used(world, session):
    """Kind -> (used, limit)."""
    shown = json.loads(world.cli("sessions", "get", session["id"], "--json").stdout)
    return {row["kind"]: (row["used"], row.get("limit")) for row in shown["budget"]}


def notices(world, session, kind="network.budget"):
    events = list(world.stream("GET", f"/v1/sessions/{session['id']}/events?follow=0"))
    equal([event["seq"] for event in events], list(range(1, len(events) + 1)), "numbers of events")
    return [event for event in events if event["type"] == kind]


def raise_to(world, session, *budgets):
    done = world.cli("sessions", "network", session["id"], "budget", *budgets)
    equal(done.returncode, 0, done.stderr)
    return done.stdout


def check_refused(found, kind):
    """Each way says it in its own words."""
    equal(found["http"]["status"], 429, str(found["http"]))
    for text in (found["http"]["body"], found["connect"].split("\r\n\r\n", 1)[1]):
        error = json.loads(text)["error"]
        equal((error["type"], error["code"]), ("budget_exceeded", kind), text)
        check("used up" in error["message"], text)
    check("HTTP/1.1 429 " in found["connect"], found["connect"])
    check("reply 02" in found["socks"], found["socks"])
    check("200" not in found["itself"], found["itself"])


def test_bytes_out_are_exact(suite):
    """Not a byte more arrives than is allowed, whoever sends them; idle tunnels are cut too; a raise opens again."""
    world = suite.main
    session, net = agent(world, "budget-out", "{bytes_out: 400000}"), suite.net
    net.counted.total = 0
    found = world.call(session, "spend", way="connect", authority=f"{HOST}:1012", size=100000)
    equal(found, {"cut": False, "back": "100000\n"}, "below")
    found = world.call(session, "idle_and_busy", authority=f"{HOST}:1007", busy=f"{HOST}:1012", size=5 << 20)
    check(found["cut"], f"the idle tunnel: {found}")
    eventually(lambda: net.counted.open == 0, "the tunnels end")
    equal(net.counted.total + 1, 400000, "bytes that arrived, with the one of the idle tunnel")
    check_refused(world.call(session, "all_refusals", host=HOST), "bytes_out")
    check(not net.reached("/beyond-budget"), "a request arrived")
    equal(used(world, session)["bytes_out"], (400000, 400000))
    said = notices(world, session)
    equal([(event["budget"]["kind"], event["budget"]["limit"]) for event in said], [("bytes_out", 400000)])
    record = world.wait_record(session, "a tunnel that was cut", kind="connect", port=1012, verdict="denied")
    check("used up" in record["reason"] and record["sent"] > 0, str(record))
    shown = raise_to(world, session, "bytes_out=500000")
    check("bytes_out" in shown and "this session only" in shown, shown)
    found = world.call(session, "spend", way="socks", authority=f"{HOST}:1012", size=60000)
    equal(found, {"cut": False, "back": "60000\n"}, "after the raise")
    check(world.call(session, "spend", way="itself", authority=f"{HOST}:80", size=5 << 20)["cut"], "the end again")
    equal(used(world, session)["bytes_out"], (500000, 500000))
    equal(len(notices(world, session)), 2, "one event for each bound")
    raise_to(world, session, "bytes_out=none")
    equal(world.call(session, "spend", way="connect", authority=f"{HOST}:1012", size=3 << 20)["back"], f"{3 << 20}\n")


def test_an_upload_is_refused_in_its_middle(suite):
    """An HTTP request that does not fit: 429, not a broken connection."""
    world = suite.main
    session = agent(world, "budget-upload", "{bytes_out: 300KiB}")
    small = world.call(session, "say_http", method="POST", url=f"http://{HOST}/sink", body="x" * 30000)
    equal((small["status"], small["body"].split()[0]), (200, "30000"))
    large = world.call(session, "upload_request", url=f"http://{HOST}/sink", size=600000)
    equal(large["status"], 429, str(large))
    equal(used(world, session)["bytes_out"][0], 300 << 10)


def test_bytes_in_are_exact(suite):
    world = suite.main
    session = agent(world, "budget-in", "{bytes_in: 1MiB}")
    equal(world.call(session, "receive", authority=f"{HOST}:1009", size=500000)["received"], 500000)
    equal(world.call(session, "receive", authority=f"{HOST}:1009", size=5 << 20)["received"], (1 << 20) - 500000)
    check_refused(world.call(session, "all_refusals", host=HOST), "bytes_in")
    equal([event["budget"]["kind"] for event in notices(world, session)], ["bytes_in"])


def test_connections_and_requests(suite):
    world = suite.main
    session = agent(world, "budget-connections", "{connections: 3}")
    # Requests of a connection that is there already are none of it.
    equal(world.call(session, "kept_requests", urls=[f"http://{HOST}/a"] * 5)["statuses"], [200] * 5)
    for way in ("connect", "itself"):
        check(world.call(session, "get", way=way, authority=f"{HOST}:80", token="third"), way)
    check_refused(world.call(session, "all_refusals", host=HOST), "connections")
    equal(used(world, session)["connections"], (3, 3))
    session = agent(world, "budget-requests", "{requests: 4}")
    # What the policy denies costs nothing.
    urls = [f"http://{HOST}/a"] * 2 + ["http://forbidden.example/"] * 3 + [f"http://{HOST}/a"] * 4
    equal(world.call(session, "single_requests", urls=urls)["statuses"], [200, 200, 403, 403, 403, 200, 200, 429, 429])
    equal(used(world, session)["requests"], (4, 4))
    equal(world.call(session, "spend", way="connect", authority=f"{HOST}:1012", size=10)["back"], "10\n")


def test_tokens(suite):
    """From the answers' `usage`, whole and streamed; a stream without it, or one that is cut, is estimated."""
    world = suite.main
    session = agent(world, "budget-tokens", "{tokens: 600}", PRICES)
    equal(world.call(session, "chat", url=CHAT)["statuses"], [200])
    equal(used(world, session)["tokens"], (105, 600))
    equal(world.call(session, "chat", url=CHAT, stream=True, headers="Accept-Encoding: gzip\r\n")["statuses"], [200])
    equal(used(world, session)["tokens"], (210, 600))
    check(b"accept-encoding: identity" in suite.net.record.seen.lower(), "answers may be compressed")
    record = world.wait_record(session, "a call", kind="request", path="/v1/chat/completions", input_tokens=100)
    equal((record["model"], record["output_tokens"], record["cached_tokens"]), ("test-model-dated", 5, 40))
    equal(record["cost"], 60 * 10 + 40 * 1 + 5 * 100, "millionths of a dollar")
    equal(used(world, session)["cost"], (2 * record["cost"], None))
    world.call(session, "chat", url=CHAT, stream=True, usage=False, words=50)
    record = eventually(lambda: [r for r in world.records(session) if r.get("tokens_estimated")], "an estimate")[0]
    equal(record["output_tokens"], 50)
    check(100 <= record["input_tokens"] <= 160, str(record))
    before = used(world, session)["tokens"][0]
    world.call(session, "chat", url=CHAT, stream=True, cut=True, words=30)
    eventually(lambda: used(world, session)["tokens"][0] >= before + 30 + 100, "a stream that the client left counts")
    last = world.call(session, "chat", url=CHAT, count=5)
    equal(last["statuses"][-1], 429, str(last["statuses"]))
    equal(json.loads(last["last"]["body"])["error"]["code"], "tokens")
    check_refused(world.call(session, "all_refusals", host=HOST), "tokens")
    # No call begins beyond the bound; the one that crosses it is counted whole.
    check(600 <= used(world, session)["tokens"][0] < 705, str(used(world, session)))
    raise_to(world, session, "tokens=2000")
    equal(world.call(session, "chat", url=CHAT)["statuses"], [200], "after the raise")


def test_cost(suite):
    """In dollars, by the agent's prices; an unknown model costs what the dearest does."""
    world = suite.main
    session = agent(world, "budget-cost", "{cost: 0.005}", PRICES)
    # 0.00114 dollars each, so the fifth call crosses the bound.
    equal(world.call(session, "chat", url=CHAT, count=6)["statuses"], [200] * 5 + [429])
    equal(used(world, session)["cost"], (5 * 1140, 5000))
    said = notices(world, session)
    equal([event["budget"]["kind"] for event in said], ["cost"])
    check("$0.005" in said[0]["content"], said[0]["content"])
    done = world.cli("sessions", "network", session["id"])
    check(re.search(r"cost +\$0.005700 of \$0.005", done.stdout), done.stdout)
    raise_to(world, session, "cost=1")
    world.call(session, "chat", url=CHAT, model="unheard-of")
    equal(used(world, session)["cost"][0], 5 * 1140 + 105 * 1000)


def test_requests_with_a_key_count(suite):
    """What the gateway carries is counted like all else; what the policy denies is not."""
    with secrets_world.started(suite) as (world, values):
        world.agent("frugal", secrets_world.KEYED + PRICES + "budget: {requests: 4}\n")
        for name in ("OPENAI_API_KEY", "SELF_KEY"):
            secrets_world.set_key(world, "frugal", name, values[name])
        session = world.create("frugal")
        equal(world.cli("sessions", "network", session["id"], "deny", "api.example:8445").returncode, 0)

        def ask(path, key="OPENAI_API_KEY", base="OPENAI_BASE_URL"):
            said = world.sh(session, f'curl -sS -m 100 -w " %{{http_code}}" -H "Authorization: Bearer ${key}" ${base}{path}')
            return said.strip().rsplit(" ", 1)

        equal(ask("/chat/completions")[1], "200")
        equal(used(world, session)["tokens"], (105, None))
        equal(used(world, session)["cost"], (100 * 10 + 5 * 100, None))
        equal(ask("/denied", "SELF_KEY", "SELF_BASE")[1], "403")
        equal(used(world, session)["requests"], (1, 4))
        equal([ask("/paid")[1] for _ in range(3)], ["200"] * 3)
        body, status = ask("/beyond")
        equal((status, json.loads(body)["error"]["code"]), ("429", "requests"))
        check(not secrets_world.origin(suite).has("/beyond"), "a request arrived")
        raise_to(world, session, "requests=5", "tokens=100")
        body, status = ask("/beyond")
        equal((status, json.loads(body)["error"]["code"]), ("429", "tokens"))


def saved():
    """Counts are stored every two seconds."""
    time.sleep(3)


def test_counts_survive_a_kill(suite):
    """`kill -9` of the supervisor loses what two seconds brought at most, and never begins anew."""
    with suite.world() as world:
        world.start()
        session = agent(world, "budget-kill", "{requests: 40, bytes_out: 5MiB}", PRICES)
        equal(world.call(session, "kept_requests", urls=[f"http://{HOST}/a"] * 10)["statuses"], [200] * 10)
        world.call(session, "spend", way="connect", authority=f"{HOST}:1012", size=1 << 20)
        before = used(world, session)
        saved()
        world.kill()
        world.start()
        after = used(world, session)
        equal(after, before, "three seconds after the last use, nothing is lost")
        equal(world.call(session, "kept_requests", urls=[f"http://{HOST}/a"] * 10)["statuses"], [200] * 10)
        saved()
        lost = []
        for _ in range(3):
            before = used(world, session)
            world.call(session, "spend", way="connect", authority=f"{HOST}:1012", size=200000)
            told = used(world, session)
            world.kill()
            world.start()
            after = used(world, session)
            lost.append(told["bytes_out"][0] - after["bytes_out"][0])
            check(before["bytes_out"][0] - 200000 <= after["bytes_out"][0] <= told["bytes_out"][0], f"{before} {after} {told}")
            check(after["requests"][0] == 20, f"{after}")
        print(f"     a kill right after 200000 bytes lost {lost} of them")
        saved()
        world.kill()
        world.start()
        statuses = world.call(session, "single_requests", urls=[f"http://{HOST}/a"] * 30)["statuses"]
        equal(statuses, [200] * 20 + [429] * 10)
        equal(len(notices(world, session)), 1)
        # An event is stored with what says that it was told: at once.
        world.kill()
        world.start()
        equal(world.call(session, "all_refusals", host=HOST)["http"]["status"], 429)
        equal(len(notices(world, session)), 1, "it is not said again")
        raise_to(world, session, "requests=50")
        world.kill()
        world.start()
        equal(used(world, session)["requests"], (40, 50), "the raise is kept")
        # An orderly stop loses nothing.
        world.call(session, "spend", way="connect", authority=f"{HOST}:1012", size=100000)
        before = used(world, session)
        world.kill(15)
        world.start()
        equal(used(world, session), before)


def test_how_much_a_kill_loses(suite):
    """Requests come all the time; what the server had seen and the next supervisor does not know is what was lost."""
    with suite.world() as world:
        world.start()
        session = agent(world, "budget-loss", "{requests: 1000000}")
        lost = []
        for number in range(4):
            known, word = used(world, session)["requests"][0], f"/loss{number}"
            began = time.monotonic()
            world.start_call(session, "paced", url=f"http://{HOST}{word}", seconds=30, pause=0.005)
            time.sleep(2.5 + 0.45 * number)
            world.kill()
            took, arrived = time.monotonic() - began, suite.net.record.count(word)
            world.start()
            kept = used(world, session)["requests"][0] - known
            check(arrived > 50 and 0 <= arrived - kept, f"{arrived} requests arrived, {kept} are known")
            lost.append((arrived - kept) * took / arrived)
            eventually(lambda: world.show(session)["status"] == "idle", "the end of the turn", 60)
        print("     a kill lost the last " + ", ".join(f"{seconds:.2f}" for seconds in lost) + " s of the count")
        check(max(lost) < 3, f"lost {lost} s")


def test_denials_are_said_once(suite):
    """The first of each destination is an event; the open conversation and `sessions network` show it."""
    world = suite.main
    session = agent(world, "budget-denials", None)
    for _ in range(3):
        world.sh(session, "curl -s http://forbidden.example/ https://forbidden.example/; curl -s --noproxy '*' http://un.example/")
    said = [event["destination"] for event in notices(world, session, "network.denied")]
    equal(sorted(said), ["forbidden.example:443", "forbidden.example:80", "un.example"])
    done = world.cli("run", "budget-denials", "curl -s http://forbidden.example/ || true", "--single")
    check("Network: forbidden.example:80 was denied" in done.stderr, done.stderr)
    check("Network:" not in done.stdout, done.stdout)
    shown = world.cli("sessions", "network", session["id"]).stdout
    check(re.search(r"Denied: +\d+, in this hour", shown) and re.search(r"3 +forbidden.example:443", shown), shown)


def test_a_flood_of_denials(suite):
    """10,000 denied connections to 2,000 names: few events, flat memory, all of them counted."""
    world = suite.main
    session = agent(world, "budget-flood", None)
    world.call(session, "denied", count=500, hosts=1)
    memory, count = world.memory()[0], 10_000
    found = world.call(session, "denied", count=count, hosts=2000)
    equal(found["refused"], count)
    grown = world.memory()[0] - memory
    said = notices(world, session, "network.denied")
    print(f"     {count} denials in {found['seconds']:.1f} s, {len(said)} events, memory {grown / (1 << 20):+.1f} MiB")
    check(len(said) <= 21, f"{len(said)} events")
    check(grown < 24 << 20, f"memory grows by {grown}")
    answer = world.get(f"/v1/sessions/{session['id']}/network").json
    equal(answer["denied"], count + 500)
    check(len(answer["denials"]) <= 10, "destinations that are shown")
    world.check_alive()


def test_what_is_no_budget(suite):
    world = suite.main
    session = agent(world, "budget-words", "{tokens: 10}")
    for word in ("tokens", "tokens=", "tokens=-1", "bytes_out=1.5", "bytes_out=20MB", "cost=1e3", "tokens=1x", "people=3"):
        done = world.cli("sessions", "network", session["id"], "budget", word)
        check(done.returncode == 1 and "Error" in done.stderr, f"{word}: {done}")
    equal(used(world, session)["tokens"], (0, 10))
    world.agent("budget-wrong", setting.AGENT + "none\nbudget:\n  bytes_out: 20MB")
    done = world.cli("run", "budget-wrong", "true", "--single")
    check(done.returncode != 0, str(done))
    with open(os.path.join(world.agents, "budget-wrong.yaml")) as file:
        line = file.read().split("\n").index("  bytes_out: 20MB") + 1
    check(f"budget-wrong.yaml:{line}: 'bytes_out' must be a size" in world.read_log(), world.read_log()[-800:])
    os.unlink(os.path.join(world.agents, "budget-wrong.yaml"))


def test_ceilings_of_deployed_agents(suite):
    """Who is no operator stays within `allowed_budget`, in the file and afterwards; operators do not have to."""
    group, name = f"ssbud-{os.getpid()}", f"ssbud-a{os.getpid()}"
    config = ("allowed_network: open\nallowed_budget: {requests: 5, bytes_out: 1MiB, cost: 1}\n"
              "prices: {\"*\": {input: 1, output: 1}}\n" f"socket_group: {group}")
    with suite.world(config=config) as world:
        subprocess.run(["groupadd", "-f", group], check=True)
        world.stack.callback(subprocess.run, ["groupdel", group], stderr=subprocess.DEVNULL)
        subprocess.run(["useradd", "--no-create-home", "-G", group, name], check=True)
        world.stack.callback(subprocess.run, ["userdel", name], stderr=subprocess.DEVNULL)
        os.chmod(world.home, 0o777)
        world.start()
        project = os.path.join(world.dir, "project")
        os.mkdir(project)
        text = "name: mine\nprotocol: exec\ncommand: [/bin/sh, -c, \"{message}\"]\nnetwork: {allow: [www.example]}\n"

        def deploy(more, user):
            world.write(os.path.join(project, "superserve.yaml"), text + more)
            return world.cli("deploy", project, user=user)
        done = deploy("budget:\n  requests: 3\n  bytes_out: 2MiB\n", name)
        check(done.returncode == 1 and "superserve.yaml:7: 'budget.bytes_out' is more than the setting 'allowed_budget'"
              in done.stderr, str(done))
        equal(deploy("budget:\n  requests: 3\n", name).returncode, 0)
        session = {"id": run_for(world, name)}
        limits = {kind: limit for kind, (_, limit) in used(world, session).items()}
        equal((limits["requests"], limits["bytes_out"], limits["cost"], limits["tokens"]), (3, 1 << 20, 1_000_000, None))

        def edit(user, *words):
            return world.cli("sessions", "network", session["id"], "budget", *words, user=user)
        equal(edit(name, "requests=5").returncode, 0, "up to the ceiling")
        for word in ("requests=6", "requests=none", "bytes_out=2MiB", "cost=1.01"):
            done = edit(name, word)
            check(done.returncode == 1 and "may be at most" in done.stderr, f"{word}: {done}")
        equal(edit(None, "requests=6").returncode, 0, "an operator")
        equal(used(world, session)["requests"], (0, 6))


def run_for(world, name):
    done = world.cli("run", "mine", "true", "--single", user=name)
    equal(done.returncode, 0, done.stderr)
    return done.stderr.split("Session ID: ")[1].split()[0]


test_ceilings_of_deployed_agents.root_only = True
