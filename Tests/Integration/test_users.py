"""Several Unix users on one supervisor: sharing by id, and who stays outside."""

import contextlib
import os
import subprocess

from harness import check, equal
from test_terminal import Terminal


def test_two_users_and_an_outsider(world):
    group, (alice, bob, mallory) = "sstest-team", ("sstest-alice", "sstest-bob", "sstest-mallory")
    subprocess.run(["groupadd", "-f", group], check=True)
    world.stack.callback(subprocess.run, ["groupdel", group], stderr=subprocess.DEVNULL)
    for name in (alice, bob, mallory):
        subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", name], check=True)
        world.stack.callback(subprocess.run, ["userdel", name], stderr=subprocess.DEVNULL)
    for name in (alice, bob):
        subprocess.run(["usermod", "-aG", group, name], check=True)
    with open(world.config_file, "a") as file:
        file.write(f"socket_group: {group}\n")
    os.chmod(world.home, 0o777)
    world.start()

    def run(user, *arguments):
        return world.cli(*arguments, user=user)

    created = run(alice, "run", "shell", "echo from alice", "--single")
    equal((created.returncode, created.stdout), (0, "from alice\n"), created.stderr)
    short = created.stderr.split("Session ID: ")[1].split()[0]
    check(short not in run(bob, "sessions", "list").stdout, "not in the other's list yet")
    unknown = run(bob, "sessions", "get", short[:6])
    equal(unknown.returncode, 1)
    check(f"No session found matching '{short[:6]}'" in unknown.stderr, unknown.stderr)

    # Alice's open terminal shows what Bob writes, as it happens.
    terminal = Terminal(world, user=alice)
    terminal.type(f"superserve sessions resume {short}")
    terminal.wait("You > ")
    resumed = run(bob, "sessions", "resume", short, "echo from bob", "--single")
    equal((resumed.returncode, resumed.stdout), (0, "from bob\n"), resumed.stderr)
    terminal.wait("echo from bob")
    screen = terminal.wait("Agent > from bob")
    check(bob in screen, f"the terminal names who wrote: {screen}")
    terminal.key("C-d")
    terminal.wait("saved. Resume with")
    events = world.stream("GET", f"/v1/sessions/{short}/events?follow=0")
    starts = [e for e in events if e["type"] == "run.started"]
    equal([e["user"]["name"] for e in starts], [alice, bob], "the record shows who wrote what")

    check(short in run(bob, "sessions", "list").stdout, "now in the other's list")
    forbidden = run(bob, "sessions", "end", short)
    equal(forbidden.returncode, 1)
    check("Only sstest-alice" in forbidden.stderr, forbidden.stderr)

    project = os.path.join(world.home, "mine")
    os.mkdir(project, 0o755)
    world.write(os.path.join(project, "superserve.yaml"), "name: mine\nprotocol: exec\ncommand: [cat]\n")
    equal(run(alice, "deploy", project).returncode, 0)
    equal(run(alice, "deploy", project).returncode, 0, "again: version 2")
    for refused in (run(bob, "deploy", project), run(bob, "agents", "delete", "mine")):
        equal(refused.returncode, 1)
        check("Only sstest-alice, who deployed agent 'mine'" in refused.stderr, refused.stderr)
    world.write(os.path.join(project, "superserve.yaml"),
                "name: greedy\ncommand: [cat]\nmounts: [/srv]\n")
    greedy = run(bob, "deploy", project)
    check("this supervisor allows deployed agents no mounts" in greedy.stderr, greedy.stderr)
    for network, expected in (("open", "'network' is open"), ("{allow: [a.example]}", "allows a.example")):
        world.write(os.path.join(project, "superserve.yaml"),
                    f"name: greedy\ncommand: [cat]\nnetwork: {network}\n")
        greedy = run(bob, "deploy", project)
        equal(greedy.returncode, 1)
        check(expected in greedy.stderr and "'allowed_network'" in greedy.stderr, greedy.stderr)

    outside = run(mallory, "sessions", "list")
    equal(outside.returncode, 1)
    check(group in outside.stderr, f"the group to join is named: {outside.stderr}")
    equal(run(alice, "sessions", "end", short).returncode, 0)


test_two_users_and_an_outsider.root_only = True


def test_the_socket_is_closed_to_others_without_a_group(world):
    name = "sstest-other"
    subprocess.run(["useradd", "--no-create-home", name], check=True)
    world.stack.callback(subprocess.run, ["userdel", name], stderr=subprocess.DEVNULL)
    world.start()
    with contextlib.suppress(FileNotFoundError):
        result = world.cli("sessions", "list", user=name)
        equal(result.returncode, 1)
        check("Error: " in result.stderr, result.stderr)


test_the_socket_is_closed_to_others_without_a_group.root_only = True
