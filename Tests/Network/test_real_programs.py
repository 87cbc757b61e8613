"""Programs that were made for the real services, as `exec` agents: `llm` from PyPI, and Claude Code, whose program is in
the wheel of `claude-agent-sdk`. The other side is model.py."""

import json
import os
import time

import harness
from harness import check, equal
from model import script

KEY = "sk-test-0123456789"
LLM = """protocol: exec
command: [python3, -m, llm, -m, gpt-4o-mini, --, "{{message}}"]
continue: [python3, -m, llm, -m, gpt-4o-mini, -c, --, "{{message}}"]
mounts: ["{real}/llm:/opt/llm", "{ca}:/opt/company/ca.pem"]
network: {{allow: [model.example]}}
"""
CLAUDE = """protocol: exec
command: [/opt/claude/claude, -p, --dangerously-skip-permissions, --, "{{message}}"]
continue: [/opt/claude/claude, -p, --dangerously-skip-permissions, -c, --, "{{message}}"]
mounts: ["{real}/claude/claude_agent_sdk/_bundled:/opt/claude", "{ca}:/opt/company/ca.pem"]
network: {{allow: [model.example]}}
"""
PLAIN = {"PYTHONPATH": "/opt/llm", "PYTHONDONTWRITEBYTECODE": "1", "SSL_CERT_FILE": "/opt/company/ca.pem",
         "NODE_EXTRA_CA_CERTS": "/opt/company/ca.pem", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
         "DISABLE_AUTOUPDATER": "1"}


OUTSIDE = """secrets:
  OPENAI_API_KEY: {api: openai, url: "https://model.example/v1"}
  ANTHROPIC_API_KEY: {api: anthropic, url: "https://model.example"}
"""


def ways():
    """How key and requests get to the endpoint: a name, what the agent's file says, the port that is reached."""
    for scheme, port in (("http", 80), ("https", 443)):
        base = f"{scheme}://model.example"
        values = {"OPENAI_BASE_URL": f"{base}/v1", "OPENAI_API_KEY": KEY, "ANTHROPIC_BASE_URL": base,
                  "ANTHROPIC_API_KEY": KEY}
        yield scheme, f"env: {json.dumps({**PLAIN, **values})}\n", port
    yield "outside", f"env: {json.dumps(PLAIN)}\n{OUTSIDE}", 443


def each_way(suite, name, yaml, test):
    """The test in a session for each way; nothing the server saw may have been wrong."""
    if not os.path.exists(os.path.join(suite.real, name)):
        return suite.skip(f"test_real_programs: {name}", "not to be had from PyPI")
    began = time.monotonic()
    model = suite.net.model
    authority = os.path.join(suite.net.dir, "ca.pem")
    with suite.world() as probe:
        has_secrets = "  secrets " in probe.cli("--help").stdout
    with suite.world(config=f"gateway_ca: {authority}" if has_secrets else "") as world:
        world.start()
        for way, more, port in ways():
            label = f"{name}-{way}"
            if way == "outside" and not has_secrets:
                suite.skip(f"test_real_programs: {label}", "there is no `superserve secrets` yet")
                continue
            model.take()
            world.agent(label, yaml.format(real=suite.real, ca=authority) + more)
            for key in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY") if way == "outside" else ():
                done = world.cli("secrets", "set", label, key, input=KEY + "\n")
                equal(done.returncode, 0, done.stderr)
            session = world.create(label)
            test(world, session)
            equal(model.violations, [], f"{way}: what the model server found wrong")
            requests = model.take()
            check(requests and not any(request.get("refused") for request in requests), f"{way}: {len(requests)} requests")
            ports = {record["port"] for record in world.records(session) if record.get("host") == "model.example"}
            equal(ports, {port}, f"{way}: the way it took")
            if way == "outside":
                check(KEY.encode() not in everything_of(world, session), f"{way}: the key is in the session")
            suite.result(f"test_real_programs: {label}", seconds=time.monotonic() - began)
            began = time.monotonic()
        world.check_alive()


def everything_of(world, session):
    """The files of a session and its events."""
    found = [world.get(f"/v1/sessions/{session['id']}/messages").body]
    for path, _, files in os.walk(world.tree(session)):
        for file in files:
            name = os.path.join(path, file)
            if os.path.isfile(name) and not os.path.islink(name):
                with open(name, "rb") as opened:
                    found.append(opened.read())
    check(len(found) > 1, "no file of the session is found")
    return b"".join(found)


def test_llm(suite):
    """Streams, and goes on with its conversation in the next process."""
    def test(world, session):
        equal(world.ask(session, script({"say": "hello from a model", "pause": 0.01})).strip(), "hello from a model")
        said = json.loads(world.ask(session, script({"history": 1})))
        check(len(said) == 2 and "hello from a model" in said[0], str(said))
        refused = world.say(session, script({"status": 400}))
        equal(refused[-1]["error"]["code"], "agent_exited", str(refused[-1]))
    each_way(suite, "llm", LLM, test)


test_llm.counts_itself = True


def test_claude_code(suite):
    """Makes a file and runs a command with its own tools, and goes on in the next process."""
    def test(world, session):
        said = world.ask(session, script(
            {"call": [["Write", {"file_path": "/workspace/made.txt", "content": "by claude\n"}]]},
            {"call": [["Bash", {"command": "cat made.txt; echo $((6*7)); id -u"}]]}, {"results": 1}, text="make a file"))
        check("by claude\\n42\\n1000" in said, said)
        equal(harness.get_files(world, session, "made.txt").status, 200, "the file in the workspace")
        said = json.loads(world.ask(session, script({"history": 1})))
        check(any("make a file" in text for text in said[:-1]), str(said)[:2000])
    each_way(suite, "claude", CLAUDE, test)


test_claude_code.counts_itself = True
