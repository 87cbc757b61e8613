"""stress-ng and trinity as agents, for minutes, beside a session that has to go on working."""

import contextlib
import os
import re
import shutil
import threading
import time

import canaries
import harness
import test_leaks
from setting import Failure, check, eventually

# No session has limits of memory and disk yet; the host's own programs must go on.
BOUNDS = "ulimit -v 4194304; ulimit -f 2097152"  # KiB of one process; blocks of 512 bytes (dash) of one file
SMALLER = " ".join(f"--{name}-bytes 128m" for name in ("hdd", "iomix", "fallocate", "readahead", "revio", "copy-file"))
MEMORY, DISK = 0.10, 4 << 30  # what must be left: of memory a part, of the disk bytes
PROCESSES = 4096  # of an id, see docs/security.md
AGENT = """protocol: exec
command: [/bin/sh, -c, "exec 2>&1; {message}"]
source: probe
"""
LATE = 60  # seconds in which the neighbour must have answered
STRESSED = 120  # stressors that did something, at least
STRESSORS = 225  # of stress-ng's class `os`, about: each gets its part of the time
CALLS = 100_000  # that trinity must have made, for each minute


def free_memory():
    values = dict(line.split(":") for line in canaries.text("/proc/meminfo").splitlines())
    return int(values["MemAvailable"].split()[0]) / int(values["MemTotal"].split()[0])


def tasks_of(uid):
    """Processes and threads of a host id."""
    count = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{name}").st_uid == uid:
                count += len(os.listdir(f"/proc/{name}/task"))
    return count


class Watch:
    """Looks at host and neighbour while the workload runs."""

    def __init__(self, world, session, neighbour):
        self.world, self.session, self.neighbour = world, session, neighbour
        self.uid = test_leaks.block_of(world, session)
        self.memory, self.disk, self.tasks, self.late, self.answers = 1.0, 1 << 60, 0, 0.0, 0
        self.problems = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.world.run(self.neighbour, "echo kept > canary; date > alive; "
                       "(while sleep 1; do date > next; mv next alive; done) >/dev/null 2>&1 &")
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.ended.set()
        self.thread.join()

    def run(self):
        while not self.ended.wait(1):
            try:
                self.look()
            except (OSError, Failure) as error:
                self.problems.append(f"{type(error).__name__}: {error}")
            if len(self.problems) > 20:
                return

    def look(self):
        self.memory = min(self.memory, free_memory())
        self.disk = min(self.disk, shutil.disk_usage(self.world.state).free)
        self.tasks = max(self.tasks, tasks_of(self.uid))
        began = time.monotonic()
        said = self.world.ask(self.neighbour, "cat canary; test -s alive && echo alive")
        self.late = max(self.late, time.monotonic() - began)
        self.answers += 1
        if said != "kept\nalive\n":
            self.problems.append(f"the neighbour said {said!r}")
        if self.memory < MEMORY or self.disk < DISK:
            self.problems.append(f"ended to save the host: {self.memory:.0%} of memory, {self.disk >> 20} MiB of disk left")
            self.world.post(f"/v1/sessions/{self.session['id']}/end")
            self.ended.set()


class Turns:
    """Turns of a session one after the other, until the time is up; what was said."""

    def __init__(self, world, session, script, seconds, again):
        self.said, self.endings = [], []
        until = time.monotonic() + seconds
        while not self.said or (again and time.monotonic() < until - 5 and len(self.said) < 1000):
            left = max(until - time.monotonic(), 5)
            # A turn that does not end by itself is cancelled.
            timer = threading.Timer(left + seconds + 120, world.post, [f"/v1/sessions/{session['id']}/cancel"])
            timer.start()
            try:
                events = world.say(session, script.replace("SECONDS", str(int(left))))
            finally:
                timer.cancel()
            self.said.append(harness.text_of(events))
            self.endings.append(events[-1]["type"])


def stress(suite, world, session, minutes):
    each = max(1, int(minutes * 60 / STRESSORS))
    script = (f"{BOUNDS}; rm -rf s; mkdir s && cd s && stress-ng --class os --sequential 2 --timeout {each}s --oomable "
              f"--metrics-brief --no-rand-seed --temp-path . {SMALLER} > ../said 2>&1; tail -c 60000 ../said")
    turns = Turns(world, session, script, minutes * 60, again=False)
    said = turns.said[0]
    ran = {name for name, count in re.findall(r"^stress-ng: metrc: \[\d+\] ([a-z]\S*) +(\d+) ", said, re.MULTILINE)
           if int(count) > 0}
    gave_up = set(re.findall(r"\((\S+)\) (?:terminated with an error|aborted early)", said))
    print(f"     stress-ng: {len(ran)} stressors did something, {each} s each; ended as {turns.endings}")
    print(f"     stress-ng: gave up, for what they want is refused or not there: {' '.join(sorted(gave_up))}")
    suite.check("stress-ng: most stressors ran", len(ran) >= STRESSED, said[-3000:])


def trinity(suite, world, session, minutes):
    # Its files are in a directory of limited size; it is started anew when it has killed itself.
    # It waits for ever where it gets no descriptor of a kind.
    script = (f"{BOUNDS}; rm -rf /tmp/t; mkdir /tmp/t && cd /tmp/t && "
              "timeout -k 5 SECONDS trinity -q -l off -a 64 -C 16 --disable-fds=perf --disable-fds=drm "
              "-N 1000000000 > said 2>&1; tail -c 2000 said | tr -c '[:print:]\\n' '\\n'")
    turns = Turns(world, session, script, minutes * 60, again=True)
    calls = [max(map(int, re.findall(r"(\d+) iterations", said)), default=0) for said in turns.said]
    print(f"     trinity: {len(calls)} starts, at least {sum(calls)} calls; endings: "
          f"{ {ending: turns.endings.count(ending) for ending in turns.endings} }")
    suite.check("trinity: enough calls were made", sum(calls) >= CALLS * minutes, turns.said[-1][-3000:])


WORKLOADS = {"stress": stress, "trinity": trinity}


@contextlib.contextmanager
def beside(suite, name, mounts=()):
    """A session for a workload, with a neighbour and canaries; checks afterwards that only that session is different."""
    with suite.running() as world, contextlib.ExitStack() as stack:
        world.agent("workload", AGENT + "".join(f"mounts: [{', '.join(mounts)}]\n" for _ in mounts[:1]))
        neighbour = world.create("probe")
        world.run(neighbour, "true")
        # Whatever a first session leaves for good is there before anything is counted.
        with world.session() as session:
            world.run(session, "true")
        trees = os.path.join(world.state, "sessions")
        eventually(lambda: len(os.listdir(trees)) == 1, "the first session's tree is deleted")
        watched = canaries.Canaries(world, stack)
        before = test_leaks.snapshot(world)
        session = world.create("workload")
        rights = inside(world, session)
        with Watch(world, session, neighbour) as watch:
            yield world, session
        check_session(suite, world, session, name, rights)
        world.post(f"/v1/sessions/{session['id']}/end")
        world.say(neighbour, "kill -KILL -1")
        check_host(suite, world, name, watched, watch, before)


def inside(world, session):
    """Rights, limits and mounts, as a process of the session finds them."""
    return world.run(session, "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status; "
                     "cat /proc/self/limits; sed 's/^[0-9]* [0-9]* [0-9:]* //' /proc/self/mountinfo; "
                     "cat /proc/sys/user/max_*; hostname; ls /proc/self/fd")


def check_session(suite, world, session, name, rights):
    """The session still answers, is as it was, and all doors are shut."""
    world.say(session, "kill -KILL -1")  # what the workload left running, this shell too
    suite.check(f"{name}: rights, limits and mounts inside are unchanged", inside(world, session) == rights,
                (rights, inside(world, session)))
    found = world.probe(session)
    doors = [door for door, (verdict, _) in found.items() if verdict == "SHUT"]
    suite.check(f"{name}: all doors are shut afterwards", len(doors) > 100 and not found.open, found.open)
    print(f"     {name}: {len(doors)} doors shut in the same session afterwards")


def check_host(suite, world, name, watched, watch, before):
    print(f"     {name}: neighbour answered {watch.answers} times, at most {watch.late:.1f} s late; at most {watch.tasks} "
          f"tasks; left were at least {watch.memory:.0%} of memory, {watch.disk >> 30} GiB of disk")
    suite.check(f"{name}: the neighbour goes on", not watch.problems and watch.answers > 0, watch.problems[:5])
    suite.check(f"{name}: the neighbour is answered in time", watch.late <= LATE * harness.SLOWNESS, watch.late)
    suite.check(f"{name}: processes stay within the limit", 0 < watch.tasks <= PROCESSES, watch.tasks)
    after = {}

    def settled():
        after.clear()
        after.update(test_leaks.snapshot(world))
        return all(after[what] <= before[what] for what in before)

    with contextlib.suppress(Failure):
        eventually(settled, "everything is as before", 60)
    print(f"     {name}: {'':30} before   after")
    for what in sorted(before):
        print(f"       {what:36} {before[what]:6}  {after[what]:6}")
        suite.check(f"{name}: {what}", after[what] <= before[what], f"{before[what]} before, {after[what]} after")
    for part, changed in watched.changes().items():
        suite.check(f"{name}: {part} as before", not changed, changed)


def run(suite, name, minutes):
    check(shutil.which({"stress": "stress-ng"}.get(name, name)), f"{name} is not installed; run: scripts/bootstrap outside")
    with beside(suite, name) as (world, session):
        WORKLOADS[name](suite, world, session, minutes)


def canaries_see(suite):
    """Control: what is changed on the host is noticed, each part by its name."""
    with suite.running() as world, contextlib.ExitStack() as stack:
        watched = canaries.Canaries(world, stack)
        quiet = {part: changed for part, changed in watched.changes().items() if changed}
        suite.check("canaries: nothing changes by itself", not quiet, quiet)
        touched = watched.touch_all()
        seen = {part for part, changed in watched.changes().items() if changed}
        suite.check("canaries: what is touched is seen", seen == touched, (seen, touched))
        os.chmod(world.agents, 0o755)
