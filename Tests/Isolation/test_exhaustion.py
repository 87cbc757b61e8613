"""One session takes all that it gets of something; the session beside it must still get what it needs."""

import errno

from setting import Failure

GROUP = "resource exhaustion"
HOLD = 60  # seconds at most that the taker keeps what it has
# thing: (asked for by the taker, needed by the neighbour, what ends the taker's greed)
THINGS = {
    "processes": (5000, 50, {errno.EAGAIN}),
    "descriptors": (70_000, 100, {errno.EMFILE}),
    "watchers": (1000, 8, {errno.EMFILE}),
    "terminals": (5000, 16, {errno.ENOSPC}),
    "pipes": (2000, 4, {errno.EPERM}),
    "tmp": (600, 16, {errno.ENOSPC}),
    "shm": (300, 16, {errno.ENOSPC}),
    "files": (140_000, 100, {errno.ENOSPC, errno.EDQUOT}),
    "locked": (1000, 16, {errno.ENOMEM, errno.EAGAIN}),
    "queues": (40_000, 16, {errno.ENOSPC}),
    "segments": (5000, 16, {errno.ENOSPC}),
    "signals": (20_000, 100, {errno.EAGAIN}),
}


def first_words(stream):
    """What the agent says first; the turn goes on."""
    said = ""
    for event in stream:
        if event["type"] == "message.delta":
            said += event["content"]
            if said.endswith("\n"):
                return said.split()
        elif event["type"].startswith("run.") and event["type"] != "run.started":
            raise Failure(f"ended early: {event}")
    raise Failure("the stream ended")


def take(world, session, thing, most, seconds):
    """(the open stream, how many were had, errno)."""
    stream = world.send(session, f"exec /agent/probe use {thing} {most} {seconds}")
    try:
        count, error = map(int, first_words(stream))
    except ValueError as bad:
        raise Failure(f"{thing}: {bad}") from bad
    return stream, count, error


def try_thing(suite, world, thing):
    most, needed, ends = THINGS[thing]
    name = f"exhaust-{thing}"
    with world.session() as neighbour, world.session() as taker:
        world.run(neighbour, "true")
        stream, count, error = take(world, taker, thing, most, HOLD)
        try:
            suite.control(name, error in ends and count > needed, f"the taker got {count}, errno {error}: not all")
            beside = world.run(neighbour, f"/agent/probe use {thing} {needed} 0 & wait $!").split()
            suite.attack(GROUP, name, beside[:1] == [str(needed)],
                         f"the neighbour got {beside} of {needed} when the other had {count}")
            with world.session() as fresh:
                suite.check(f"{name}: a session starts beside it", world.run(fresh, "echo started") == "started\n")
        finally:
            stream.close()


def test_exhaustion(suite):
    with suite.running() as world:
        for thing in THINGS:
            try_thing(suite, world, thing)
