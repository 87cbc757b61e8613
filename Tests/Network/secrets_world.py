"""A supervisor with an agent that has keys, for the tests of the gateway."""

import contextlib
import os
import secrets

import origins
from harness import equal

AGENT = """protocol: exec
command: [/bin/sh, -c, "{message}"]
turn_timeout: 30m
source: tools
env: {PYTHONPATH: /agent/lib, PYTHONDONTWRITEBYTECODE: "1"}
"""
KEYED = AGENT + """secrets:
  OPENAI_API_KEY: {api: openai, url: "https://api.example:8444/v1"}
  OTHER_KEY: {url: "https://api.example:8444/other", header: X-Key, base_url: [OTHER_BASE]}
  SELF_KEY: {url: "https://api.example:8445/v1", base_url: [SELF_BASE]}
  WRONG_KEY: {url: "https://api.example:8446/v1", base_url: [WRONG_BASE]}
  LOCAL_KEY: {url: "http://10.9.8.7:8447/v1", base_url: [LOCAL_BASE]}
  CLEAR_KEY: {url: "http://api.example:8447/v1", base_url: [CLEAR_BASE]}
  INWARD_KEY: {url: "https://private.good.example:8444/v1", base_url: [INWARD_BASE]}
  UNSET_KEY: {url: "https://api.example:8444/v1", base_url: [UNSET_BASE]}
  PLAIN_KEY: {plain: true}
"""
CAUGHT = AGENT + """secrets:
  CAUGHT_KEY: {url: "https://caught.example:8444/v1", intercept: true}
"""
NAMES = ["OPENAI_API_KEY", "OTHER_KEY", "SELF_KEY", "WRONG_KEY", "LOCAL_KEY", "CLEAR_KEY", "INWARD_KEY", "PLAIN_KEY"]

_origin = []


def origin(suite):
    if not _origin:
        _origin.append(origins.start(suite.net))
    return _origin[0]


def new_key():
    return "sk-real-" + secrets.token_hex(20)


def set_key(world, agent, name, value, **more):
    done = world.cli("secrets", "set", agent, name, input=value + "\n", **more)
    equal(done.returncode, 0, f"secrets set {agent} {name}: {done.stderr}")


@contextlib.contextmanager
def started(suite, more=""):
    """The world, and the value of each key."""
    origin(suite)
    config = f'gateway_ca: {os.path.join(suite.net.dir, "ca.pem")}\nprivate_destinations: ["10.9.8.7:8447"]\n{more}'
    with suite.world(config=config) as world:
        world.agent("keyed", KEYED)
        world.agent("caught", CAUGHT)
        world.agent("both", CAUGHT + "network: {allow: [\"caught.example:8444\", www.example]}")
        world.start()
        values = {name: new_key() for name in NAMES}
        for name, value in values.items():
            set_key(world, "keyed", name, value)
        values["CAUGHT_KEY"] = new_key()
        for agent in ("caught", "both"):
            set_key(world, agent, "CAUGHT_KEY", values["CAUGHT_KEY"])
        yield world, values
