"""The supervisor is killed under an agent that is at work on the network."""

from harness import check, equal


def test_new_connections_work_after_a_kill(suite):
    """In the same process of the agent: the tunnel broke, new connections work, also to names resolved before."""
    with suite.world() as world:
        world.start()
        session = world.create("reach")
        working = world.start_call(
            session, "keep_trying", authority="tools.example:1007", address="", path="/workspace/ready", host="www.example")
        world.wait_file(session, "/workspace/ready")
        world.kill()
        world.start()
        # The answer of a turn that a kill interrupted is read from the session's history.
        try:
            found = working(10)
        except Exception:  # noqa: BLE001 - the stream of the killed supervisor ended
            found = None
        if found is None:
            import json
            import harness
            events = []
            for event in world.stream("GET", f"/v1/sessions/{session['id']}/events?follow=1"):
                events.append(event)
                if event["type"].startswith("run.") and event["type"] != "run.started":
                    break
            text = harness.text_of(events)
            check(text.strip(), f"no answer: {events[-3:]}")
            found = json.loads(text.strip().splitlines()[-1])
        check(found["cut"], f"the tunnel did not break: {found}")
        for step in ("connect", "itself", "address", "tls", "name"):
            equal(found.get(step), "ok", f"{step}: {found}")
