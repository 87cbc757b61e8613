"""As two services: a launcher that somebody else starts, what both tell a service manager, and reloads."""

import contextlib
import os
import pwd
import signal
import socket
import subprocess

from harness import BIN, SLOWNESS, check, equal, eventually

SERVICE_ID = 1_900_000_000  # of a service that root starts
COUNT = "command: [/bin/sh, -c, 'i=0; while sleep 0.1; do i=$((i + 1)); echo $i; done']\nprotocol: exec"


class Manager:
    """The end of NOTIFY_SOCKET that a service manager holds."""

    def __init__(self, world, name):
        self.name = f"@{os.path.basename(world.dir)}-{name}"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        world.stack.callback(self.socket.close)
        self.socket.bind("\0" + self.name[1:])
        self.socket.settimeout(60 * SLOWNESS)

    def wait(self, variable):
        """The lines of the next message that has `variable`."""
        while True:
            lines = dict(line.split("=", 1) for line in self.socket.recv(65536).decode().splitlines())
            if variable in lines:
                return lines


def make_places(world):
    """As a package's unit has them made."""
    owner = pwd.getpwnam(world.user).pw_uid if world.user else SERVICE_ID
    for path in (world.state, world.runtime):
        os.mkdir(path, 0o700)
        if os.geteuid() == 0:
            os.chown(path, owner, owner if not world.user else pwd.getpwnam(world.user).pw_gid)


def start_keeper(world, manager):
    with open(world.log, "a", encoding="utf-8") as log:
        keeper = subprocess.Popen(
            [f"{BIN}/superserve-launcher", "keeper", "--state-dir", world.state, "--runtime-dir", world.runtime],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**world.environment(), "NOTIFY_SOCKET": manager.name}, **world.demoted())
    world.stack.callback(end, keeper)
    equal(manager.wait("READY")["READY"], "1", "the keeper is ready")
    return keeper


def end(keeper):
    with contextlib.suppress(ProcessLookupError):
        keeper.terminate()
    keeper.wait(60 * SLOWNESS)


def go(world, session):
    equal(world.post(f"/v1/sessions/{session['id']}/messages", {"content": "go", "detach": True}).status, 202, "a turn")


def begin_turn(world):
    """A session whose turn runs and has said something."""
    session = world.create("count")
    go(world, session)
    eventually(lambda: said(world, session) > 0, "the agent speaks")
    return session


def said(world, session):
    return sum(e["type"] == "message.delta" for e in world.stream(
        "GET", f"/v1/sessions/{session['id']}/events?follow=0"))


def outcome(world, session):
    """The code that the last turn failed with, once it is over."""
    eventually(lambda: world.show(session)["status"] == "idle", "the turn ends", 60)
    events = list(world.stream("GET", f"/v1/sessions/{session['id']}/events?follow=0"))
    return events[-1].get("error", {}).get("code")


def test_a_launcher_that_somebody_else_starts(world):
    make_places(world)
    world.agent("count", COUNT)
    manager = Manager(world, "keeper")
    keeper = start_keeper(world, manager)
    world.start("--separate-launcher")
    session = begin_turn(world)
    # Killed, it leaves its sessions alone; the supervisor starts none in its place.
    keeper.kill()
    keeper.wait()
    before = said(world, session)
    eventually(lambda: said(world, session) > before, "the agent goes on")
    refused = world.post("/v1/sessions", {"agent": "count"})
    equal(refused.status, 500, f"without a launcher: {refused.body!r}")
    check("systemctl start superserve-launcher.service" in refused.error["message"], refused.body)
    check(not os.path.exists(f"{world.runtime}/stopped"), "a kill is no stop")
    keeper = start_keeper(world, manager)
    other = begin_turn(world)
    # Stopped in order, it says so, and so do the turns: also that of an earlier keeper's session.
    keeper.send_signal(signal.SIGTERM)
    equal(manager.wait("STOPPING")["STOPPING"], "1", "the keeper leaves")
    equal(keeper.wait(60 * SLOWNESS), 0, "the keeper's status")
    equal(outcome(world, other), "stopped", "the end of the turn")
    keeper = start_keeper(world, manager)
    go(world, other)


def test_a_stop_is_known_to_the_next_supervisor(world):
    make_places(world)
    world.agent("count", COUNT)
    manager = Manager(world, "keeper")
    keeper = start_keeper(world, manager)
    world.start("--separate-launcher")
    session = begin_turn(world)
    equal(world.kill(signal.SIGTERM), 0, "the supervisor leaves")
    keeper.send_signal(signal.SIGTERM)
    equal(keeper.wait(60 * SLOWNESS), 0, "the keeper's status")
    start_keeper(world, manager)
    world.start("--separate-launcher")
    equal(outcome(world, session), "stopped", "the end of the turn")


def test_a_supervisor_tells_how_it_is(world):
    manager = Manager(world, "supervisor")
    environment = world.environment
    world.environment = lambda fault=None: {
        **environment(fault), "NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "4000000"}
    world.start()
    equal(manager.wait("READY")["STATUS"], "Serving", "the status")
    equal(manager.wait("WATCHDOG")["WATCHDOG"], "1", "a sign of life")
    world.process.send_signal(signal.SIGHUP)
    check(int(manager.wait("RELOADING")["MONOTONIC_USEC"]) > 0, "the time of the reload")
    equal(manager.wait("READY")["STATUS"], "Serving", "the status")
    world.process.send_signal(signal.SIGTERM)
    equal(manager.wait("STOPPING")["STOPPING"], "1", "it leaves")


def test_reload(world):
    world.agent("one", "command: [/bin/echo, first]\nprotocol: exec")
    world.start()
    with open(world.config_file, encoding="utf-8") as file:
        right = file.read()
    world.write(world.config_file, right + "idle_timeout: 77\nmax_clients: 9\n")
    said_ = world.cli("supervisor", "reload", "--json")
    equal(said_.returncode, 0, said_.stderr)
    check('"waiting":["max_clients"]' in said_.stdout.replace(" ", ""), said_.stdout)
    equal(world.create("one")["idle_timeout_seconds"], 77, "the new setting")
    line = len(right.splitlines()) + 1
    for wrong, word in (("nonsense: 1", "unknown key"), ("idle_timeout: soon", "'idle_timeout'"), (": :", "not YAML")):
        world.write(world.config_file, f"{right}{wrong}\n")
        refused = world.cli("supervisor", "reload")
        equal(refused.returncode, 1, f"{wrong}: {refused.stdout}")
        check(f"{world.config_file}:{line}: " in refused.stderr and word in refused.stderr, refused.stderr)
        equal(world.create("one")["idle_timeout_seconds"], 77, "the old setting stays")
    world.write(world.config_file, right)
    world.agent("one", "command: [/bin/echo, second]\nprotocol: exec\nwrong: 1")
    refused = world.cli("supervisor", "reload")
    equal(refused.returncode, 1, refused.stdout)
    check(f"{world.agents}/one.yaml:4: unknown key 'wrong'" in refused.stderr, refused.stderr)
    equal(world.ask(world.create("one"), "x"), "first\n", "the old version stays")
    world.agent("one", "command: [/bin/echo, second]\nprotocol: exec")
    equal(world.cli("supervisor", "reload").returncode, 0, "a reload")
    equal(world.ask(world.create("one"), "x"), "second\n", "the new version")


def test_reload_is_for_operators(world):
    world.start()
    os.chmod(world.runtime, 0o755)
    os.chmod(world.socket, 0o666)
    if os.geteuid() == 0:
        stranger = subprocess.run(
            [f"{BIN}/superserve", "supervisor", "reload"], capture_output=True, text=True, check=False,
            env=world.environment(), user=65534, group=65534, extra_groups=[], timeout=60 * SLOWNESS)
        equal(stranger.returncode, 1, stranger.stdout)
        check("Only operators" in stranger.stderr, stranger.stderr)
    equal(world.cli("supervisor", "reload").returncode, 0, "its own user's")
