"""Random kills under load: the supervisor at random places and moments, launcher, keeper, inits and agents."""

import collections
import contextlib
import os
import random
import signal
import threading
import time

from client import Load, Patient
from harness import Failure, World, children_named, equal
from invariants import all_hold, processes_of
from places import AT_START, CONFIG, POINTS, Reviver, prepare

LOADS = 24  # sessions that stream at the same time
#: Which phase of a session's life a place belongs to.
PHASES = {
    "create": ("create.", "sandbox.", "discard."), "accepted": ("turn.accept", "turn.acted"),
    "streaming": ("turn.output", "turn.streamed"), "terminal write": ("turn.ended",),
    "end": ("end.", "timeout."), "recovery": ("recovery.",),
}
#: Share of kills by a place, and by who is killed from outside.
OUTSIDE = ("supervisor", "launcher", "keeper", "init", "agent")


def phase_of(point):
    return next((phase for phase, starts in PHASES.items() if point.startswith(starts)), None)


class Killer:
    """Decides what dies next, and counts."""

    def __init__(self, world, seed):
        self.world, self.random = world, random.Random(seed)
        self.counts = collections.Counter()
        self.points = [p for p in POINTS if phase_of(p) and p != "timeout.due"]
        self.planned = None

    def fault(self):
        """The place at which the supervisor that starts now will die."""
        phases = list(PHASES)
        phase = min(phases, key=lambda name: (self.counts[name], self.random.random()))
        if self.random.random() < 0.4:
            phase = self.random.choice(phases)
        point = self.random.choice([p for p in self.points if phase_of(p) == phase])
        self.planned = point
        return f"{point}:{1 if point in AT_START else self.random.randint(1, 12)}"

    def died(self):
        """A supervisor has died at its place."""
        if self.planned:
            self.counts[phase_of(self.planned)] += 1
        self.planned = None

    def from_outside(self):
        """Kills one process of the world; returns what it was, None when there was none."""
        what = self.random.choice(OUTSIDE)
        pids = self.candidates(what)
        if not pids:
            return None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self.random.choice(pids), signal.SIGKILL)
            self.counts[f"{what}, from outside"] += 1
        return what

    def candidates(self, what):
        world = self.world
        if what == "supervisor":
            self.planned = None
            return [world.process.pid] if world.process else []
        if what in ("launcher", "keeper"):
            return [pid for pid in children_named(world.runtime) if role(pid) == what]
        inits = processes_of(world)
        if what == "init":
            return inits
        return [pid for pid in children_named("/agent/agent.py") if parent(pid) in set(inits)]


def role(pid):
    with contextlib.suppress(OSError, IndexError):
        words = open(f"/proc/{pid}/cmdline").read().split("\0")
        if words[0].endswith("superserve-launcher"):
            return {"keeper": "keeper", "init": "init"}.get(words[1], "launcher")
    return None


def parent(pid):
    with contextlib.suppress(OSError):
        return int(open(f"/proc/{pid}/status").read().split("PPid:")[1].split()[0])
    return None


def kill_for_a_while(world, killer, reviver, kills, loads):
    """Until so many have died. A supervisor of root cannot start a keeper, so it is started again with it."""
    last, moved = 0, time.monotonic()
    while (total := killer.counts.total()) < kills:
        if total != last:
            last, moved = total, time.monotonic()
            if total % 50 == 0:
                print(f"  {total} kills", flush=True)
        if time.monotonic() - moved > 60:
            raise Failure(f"nothing has died for a minute; planned: {killer.planned}")
        for load in loads:
            if load.failure:
                raise load.failure
        before = len(reviver.deaths)
        time.sleep(killer.random.uniform(0.05, 0.6))
        process = world.process
        if len(reviver.deaths) == before and process and process.poll() is None:
            if killer.from_outside() == "keeper" and world.user is None:
                killer.planned = None
                process.kill()
        reviver()


def chaos(options):
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    print(f"chaos: {options.chaos} kills, {LOADS} loads, seed {seed}", flush=True)
    began = time.monotonic()
    with World(user=options.user, config=CONFIG) as world:
        prepare(world)
        killer = Killer(world, seed)
        reviver = CountingReviver(world, killer)
        with contextlib.suppress(Failure):  # it may die before it answers
            world.start(fault=killer.fault())
        stop = threading.Event()
        loads = [Load(Patient(world, reviver), stop, seed + number) for number in range(LOADS)]
        for load in loads:
            load.start()
        try:
            kill_for_a_while(world, killer, reviver, options.chaos, loads)
        finally:
            reviver.fault = lambda: None
            stop.set()
            if world.process:
                killer.planned = None
                world.process.kill()
            for load in loads:
                load.join(200)
        for load in loads:
            if load.failure:
                raise load.failure
        reviver()
        records = [record for load in loads for record in load.sessions.values()]
        turns = all_hold(world, Patient(world, reviver), records)
        equal([load for load in loads if load.is_alive()], [], "every client has got its answer")
    print(f"{sum(len(r['turns']) for r in records)} accepted messages in {len(records)} sessions; "
          f"{turns} turns of live sessions compared with the agents' own files", flush=True)
    for name, count in sorted(killer.counts.items(), key=lambda item: -item[1]):
        print(f"  {count:5d}  {name}")
    print(f"{killer.counts.total()} kills in {time.monotonic() - began:.0f} s", flush=True)
    return 1, []


class CountingReviver(Reviver):
    """Tells the killer of each death, and asks it where the next one will be."""

    def __init__(self, world, killer):
        super().__init__(world)
        self.killer = killer
        self.fault = self.next_fault

    def next_fault(self):
        self.killer.died()
        return self.killer.fault()
