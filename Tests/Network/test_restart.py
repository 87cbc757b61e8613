"""The supervisor is killed under an agent that is at work on the network."""

import json

import harness
from harness import check, equal


def test_new_connections_work_after_a_kill(suite):
    """In the same process of the agent: the tunnel broke, new connections work, also to names resolved before."""
    with suite.world() as world:
        world.start()
        session = world.create("reach")
        # Its stream ends with the supervisor; the answer is read from the session's record.
        world.start_call(session, "keep_trying", authority="tools.example:1007", path="/workspace/ready",
                         host="www.example")
        world.wait_file(session, "/workspace/ready")
        world.kill()
        world.start()
        found = json.loads(rest_of_turn(world, session).strip().splitlines()[-1])
        check(found["cut"], f"the tunnel did not break: {found}")
        for step in ("connect", "itself", "address", "tls", "name"):
            equal(found.get(step), "ok", f"{step}: {found}")
        world.check_alive()


def rest_of_turn(world, session):
    """The text of the turn that is under way, when it has ended."""
    events = []
    for event in world.stream("GET", f"/v1/sessions/{session['id']}/events?follow=1"):
        events.append(event)
        if event["type"].startswith("run.") and event["type"] != "run.started":
            break
    equal(events[-1]["type"], "run.completed", str(events[-1]))
    return harness.text_of(events)
