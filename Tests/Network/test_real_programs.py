"""Programs that were made for the real services, as `exec` agents: `llm` from PyPI, and Claude Code, whose program is in
the wheel of `claude-agent-sdk`. The other side is model.py."""

import json
import os

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


def ways(scheme):
    """How the key gets to the endpoint: name -> what the agent's file says, for either API."""
    base = f"{scheme}://model.example"
    return {"OPENAI_BASE_URL": f"{base}/v1", "OPENAI_API_KEY": KEY, "ANTHROPIC_BASE_URL": base, "ANTHROPIC_API_KEY": KEY}


def each_way(suite, name, yaml, test):
    """The test in a session for each way; nothing the server saw may have been wrong."""
    if not os.path.exists(os.path.join(suite.real, name)):
        return suite.skip(f"test_real_programs: {name}", "not to be had from PyPI")
    model = suite.net.model
    with suite.world() as world:
        world.start()
        text = yaml.format(real=suite.real, ca=os.path.join(suite.net.dir, "ca.pem"))
        for scheme in ("http", "https"):
            model.take()
            world.agent(f"{name}-{scheme}", text + f"env: {json.dumps({**PLAIN, **ways(scheme)})}")
            session = world.create(f"{name}-{scheme}")
            test(world, session)
            equal(model.violations, [], f"{scheme}: what the model server found wrong")
            requests = model.take()
            check(requests and not any(request.get("refused") for request in requests), f"{scheme}: {len(requests)} requests")
            ports = {record["port"] for record in world.records(session) if record.get("host") == "model.example"}
            equal(ports, {443 if scheme == "https" else 80}, "the way it took")
        world.check_alive()


def test_llm(suite):
    """Streams, and goes on with its conversation in the next process."""
    def test(world, session):
        equal(world.ask(session, script({"say": "hello from a model", "pause": 0.01})).strip(), "hello from a model")
        said = json.loads(world.ask(session, script({"history": 1})))
        check(len(said) == 2 and "hello from a model" in said[0], str(said))
        refused = world.say(session, script({"status": 400}))
        equal(refused[-1]["error"]["code"], "agent_exited", str(refused[-1]))
    each_way(suite, "llm", LLM, test)


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
