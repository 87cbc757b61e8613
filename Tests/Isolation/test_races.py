"""Names that change while the host works with them: a process exchanges a directory and a link to the host's canaries
as often as `--swaps` says, and meanwhile the host copies, deploys, starts and deletes."""

import http.client
import os
import subprocess
import threading

from archives import SECRET, Canaries, get, member, put
from setting import check, eventually

GROUP = "symlink and rename races"
# The link's target as the host would take it, and as somebody who climbs would.
SETUP = """set -e; for kind in absolute relative; do
mkdir -p race-$kind/a; printf inside > race-$kind/a/f
done
ln -s {top} race-absolute/b; ln -s ../../../../../../../../../..{top} race-relative/b"""


def swapping(world, session, kind, swaps):
    """The stream of a turn that exchanges a and b."""
    return world.send(session, f"/agent/probe swap /workspace/race-{kind} {swaps}")


def until_done(stream, work):
    """Repeats `work` until the turn ends; (how often, what the agent said)."""
    said, rounds = [], 0
    ended = threading.Event()

    def listen():
        for event in stream:
            said.append(event.get("content") or "")
        ended.set()

    listener = threading.Thread(target=listen)
    listener.start()
    while not ended.is_set():
        work(rounds)
        rounds += 1
    listener.join()
    return rounds, "".join(said)


def run_race(suite, world, session, kind, work):
    rounds, said = until_done(swapping(world, session, kind, suite.options.swaps), work)
    check(f"{suite.options.swaps} exchanges" in said, f"the exchange went wrong: {said}")
    check(rounds >= 3, f"only {rounds} rounds")


def test_races_of_copies(suite):
    with suite.running() as world, world.session() as session:
        canaries = Canaries(world)
        world.run(session, SETUP.format(top=canaries.top))
        seen = {"inside": 0, "secret": 0}

        def read(turn):
            path = ("race-absolute/a/f", "race-absolute/a", "race-absolute")[turn % 3]
            try:
                answer = get(world, session, path)
                check(answer.status in (200, 404, 409), f"{answer.status} {answer.body[:200]}")
                body = answer.body
            except http.client.IncompleteRead as cut:  # how a copy that fails on the way ends
                body = cut.partial
            seen["inside"] += b"inside" in body
            seen["secret"] += SECRET in body

        run_race(suite, world, session, "absolute", read)
        check(seen["inside"] > 0, "the file was never read")
        suite.attack(GROUP, "race: copy out", not seen["secret"] and not canaries.changes(), seen)

        def write(turn):
            target = ("race-relative/a/new", "race-relative/a/f")[turn % 2]
            put(world, session, target, [(member("planted"), b"planted")])

        run_race(suite, world, session, "relative", write)
        suite.attack(GROUP, "race: copy in", not canaries.changes(), canaries.changes())
        local = os.path.join(world.home, "local")

        def by_program(turn):
            short = session["short_id"]
            if turn % 2:
                world.cli("sessions", "cp", f"{short}:race-absolute", f"{local}-{turn}")
            else:
                world.cli("sessions", "cp", world.config_file, f"{short}:race-absolute/a/new")

        run_race(suite, world, session, "absolute", by_program)
        copied = subprocess.run(["grep", "-r", "canary", world.home], capture_output=True)
        suite.attack(GROUP, "race: cp", not canaries.changes() and copied.returncode == 1, copied.stdout)


def test_races_of_end_and_start(suite):
    with suite.running() as world:
        canaries = Canaries(world)
        with world.session() as session:
            world.run(session, SETUP.format(top=canaries.top))

            def start(turn):
                with world.session() as other:
                    check(world.run(other, "ls /workspace") == "", "a fresh workspace")

            run_race(suite, world, session, "absolute", start)
            suite.attack(GROUP, "race: start", not canaries.changes(), canaries.changes())
        for turn in range(8):
            session = world.create("probe")
            tree = world.tree(session)
            world.run(session, SETUP.format(top=canaries.top))
            stream = swapping(world, session, ("absolute", "relative")[turn % 2], 10 * suite.options.swaps)
            for event in stream:
                if event["type"] == "run.started":
                    break
            world.post(f"/v1/sessions/{session['id']}/end")
            stream.close()
            gone = wait_gone(tree)
            check(gone, f"{tree} is still there")
        suite.attack(GROUP, "race: end", not canaries.changes(), canaries.changes())


def wait_gone(tree):
    return eventually(lambda: not os.path.lexists(tree), "the tree is deleted", 30)


def host_race(world, canaries, place):
    """A project with names that are exchanged by a process of the host, as the world's user."""
    lib = os.path.join(place, "lib")
    os.makedirs(os.path.join(lib, "a"))
    world.write(os.path.join(lib, "a", "f"), "inside")
    os.symlink(canaries.top, os.path.join(lib, "b"))
    for path in (place, lib, os.path.join(lib, "a")):
        os.chmod(path, 0o777)
    return subprocess.Popen([world.programs.probe, "swap", lib, "100000000"], stdout=subprocess.DEVNULL)


def test_races_of_deploy(suite):
    with suite.running() as world:
        canaries = Canaries(world)
        project = os.path.join(world.home, "racing")
        os.makedirs(project)
        swapper = host_race(world, canaries, project)
        try:
            world.write(os.path.join(project, "superserve.yaml"),
                        'name: racing\nprotocol: exec\ncommand: [/bin/sh, -c, "{message}"]\nsource: .\n')
            found, deployed = [], 0
            for _ in range(10):
                if world.cli("deploy", project).returncode == 0:
                    deployed += 1
                    with world.session("racing") as session:
                        found.append(world.run(session, "grep -rl canary /agent 2>/dev/null"))
            suite.attack(GROUP, "race: deploy", not "".join(found) and not canaries.changes() and deployed > 0,
                         f"{deployed} deployed, {found}")
            seen = naive(project, canaries)
            for name in ("copy out", "copy in", "cp", "start", "end", "deploy", "source"):
                suite.control(f"race: {name}", seen, "whoever opens by name is not led astray")
        finally:
            swapper.kill()
            swapper.wait()
        source = os.path.join(world.agents, "swapped")
        os.makedirs(source)
        swapper = host_race(world, canaries, source)
        try:
            found = []
            for turn in range(6):
                world.agent("swapped", f'protocol: exec\nidle_timeout: {600 + turn}s\n'
                                       'command: [/bin/sh, -c, "{message}"]\nsource: swapped')
                answer = world.post("/v1/sessions", {"agent": "swapped"})
                if answer.status == 201:
                    found.append(world.run(answer.json, "grep -rl canary /agent 2>/dev/null"))
                    world.post(f"/v1/sessions/{answer.json['id']}/end")
            suite.attack(GROUP, "race: source", not "".join(found) and not canaries.changes(), found)
        finally:
            swapper.kill()
            swapper.wait()


def naive(project, canaries):
    """Whether a reader that opens by name reads a canary, as all of the above would if they opened by name."""
    path = os.path.join(project, "lib", "a", "f")
    for _ in range(200_000):
        try:
            with open(path, "rb") as file:
                if file.read() == SECRET:
                    return True
        except OSError:
            continue
    return False
