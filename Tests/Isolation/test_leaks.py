"""What is left when sessions have come and gone: nothing, of anything."""

import os
import re

import harness
from setting import check, eventually

WARM_UP = 3
# Connections of the store are a pool that fills as reads meet: eight readers (SQLiteStore) and a writer at most, of
# up to three files each.
STORE, STORE_MOST = "superserve.sqlite", 27
KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


def service(world):
    """Pids of supervisor, keeper and launcher, which all name the world's runtime directory."""
    found = {}
    for pid in harness.processes_with(world.runtime):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
        found["superserved" if words[0].endswith(b"superserved") else words[1].decode()] = pid
    return found


def below(pids):
    """Every process that descends from one of `pids`."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
        except OSError:
            continue
    found = set()
    while True:
        more = {pid for pid, parent in parents.items() if parent in found | set(pids)} - found
        if not more:
            return found
        found |= more


def descriptors(world):
    """What the service's processes hold, by number, to tell what a number that grew is."""
    found = set()
    for name, pid in service(world).items():
        for number in os.listdir(f"/proc/{pid}/fd"):
            try:
                found.add((name, int(number), os.readlink(f"/proc/{pid}/fd/{number}")))
            except OSError:
                continue
    return found


def lines(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return len(file.readlines())


def groups(world):
    """Control groups of this world's sessions; their directory is named after the runtime directory (cgroup.c)."""
    number = 2166136261
    for byte in os.path.realpath(world.runtime).encode():
        number = (number ^ byte) * 16777619 % 2**32
    count = 0
    for place, directories, _ in os.walk("/sys/fs/cgroup"):
        if place.endswith(f"superserve-sessions.{number:08x}"):
            count += sum(bool(re.fullmatch("[0-9a-f]{32}", name)) for name in directories)
    return count


def has_groups(world):
    """Whether sessions get groups here: the launcher says so by sitting in the leaf beside them."""
    with open(f"/proc/{service(world)['launcher']}/cgroup", encoding="ascii") as file:
        return "superserve-sessions." in file.read()


def snapshot(world):
    """Counts of what a session is made of."""
    pids = service(world)
    children = below(pids.values()) - set(pids.values())
    spaces = {(kind, os.readlink(f"/proc/{pid}/ns/{kind}")) for pid in {*pids.values(), *children} for kind in KINDS
              if os.access(f"/proc/{pid}/ns/{kind}", os.R_OK)}
    found = {"processes": len(children), "namespaces": len(spaces), "groups": groups(world),
             "mounts of the host": lines("/proc/self/mountinfo"),
             "trees": len(os.listdir(f"{world.state}/sessions")), "sockets": len(os.listdir(f"{world.runtime}/s")),
             "abstract and unix sockets": sum(world.runtime in line for line in open("/proc/net/unix"))}
    for name, pid in pids.items():
        found[f"descriptors of {name}"] = sum(owner == name and STORE not in target
                                              for owner, _, target in descriptors(world))
        found[f"mounts of {name}"] = lines(f"/proc/{pid}/mountinfo")
    return found


def block_of(world, session):
    """The first host id of the session: its workspace's owner."""
    return os.stat(os.path.join(world.tree(session), "workspace")).st_uid


def cycle(world, number):
    """A session that leaves as much behind as it can."""
    with world.session() as session:
        said = world.run(session, "echo x > file; mkfifo pipe; python3 -c 'import ctypes; "
                         "ctypes.CDLL(None).shmget(7, 4096, 0o1600)'; setsid sleep 600 >/dev/null 2>&1 & echo done")
        check("done" in said, f"cycle {number}: {said}")
        return block_of(world, session)


def slab():
    """Kibibytes of kernel memory that cannot be given back."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return int(next(line for line in file if line.startswith("SUnreclaim")).split()[1])


def test_leaks(suite):
    if not suite.root:
        return suite.skip("leaks", "only root can look into the directories and processes of the service")
    with suite.running() as world:
        for number in range(WARM_UP):
            first = cycle(world, number)
        eventually(lambda: not os.listdir(f"{world.state}/sessions"), "the trees are deleted")
        before, held, memory = snapshot(world), descriptors(world), slab()
        check({"descriptors of launcher", "descriptors of keeper", "descriptors of superserved"} <= set(before), before)
        ids = {cycle(world, number) for number in range(suite.options.cycles)}
        with world.session() as session:
            world.run(session, "true")
            during = snapshot(world)
        suite.check("leaks: the counts see a session",
                    all(during[name] > before[name] for name in ("processes", "namespaces", "trees", "sockets"))
                    and (during["groups"] > 0 or not has_groups(world)),
                    (before, during))
        after = {}

        def settled():
            after.clear()
            after.update(snapshot(world))
            return all(after[name] <= before[name] for name in before)

        try:
            eventually(settled, "everything is as before", 20)
        except harness.Failure:
            pass
        print(f"     {suite.options.cycles} sessions: {'':20} before   after")
        for name in sorted(before):
            print(f"     {name:34} {before[name]:6}  {after[name]:6}")
            suite.check(f"leaks: {name}", after[name] <= before[name],
                        f"{before[name]} before, {after[name]} after; new: {sorted(descriptors(world) - held)}")
        store = sum(STORE in target for _, _, target in descriptors(world))
        suite.check("leaks: the store's pool is bounded", 0 < store <= STORE_MOST, store)
        print(f"     {'kernel memory (SUnreclaim), KiB':34} {memory:6}  {slab():6}")
        suite.check("leaks: ids are used again", ids == {first}, ids)
