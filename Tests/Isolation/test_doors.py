"""Every door of the probe, tried from inside a session: all must be shut."""

import os
import shutil
import subprocess

from setting import check

# What the host must have left in the tree, which only root can.
LEFT = {"device-left-in-tree": "device=/workspace/left-device", "set-user-id": "setuid=/workspace/left-program"}


def leave_behind(world, session):
    """A device and a set-user-id program of another user, in the session's workspace, as root of the host."""
    workspace = os.path.join(world.tree(session), "workspace")
    owner = os.stat(workspace).st_uid
    device = os.path.join(workspace, "left-device")
    os.mknod(device, 0o20666, os.makedev(1, 3))
    os.chmod(device, 0o666)
    program = os.path.join(workspace, "left-program")
    shutil.copy(world.programs.probe, program)
    os.chown(program, owner - 1, owner - 1)  # the id before the agent's is init's: the session's root
    os.chmod(program, 0o6755)
    return list(LEFT.values())


def other_session(world):
    """A second session with a file, and the path of that on the host."""
    other = world.create("probe")
    world.run(other, "echo secret > /workspace/secret; chmod 644 /workspace/secret")
    path = os.path.join(world.tree(other), "workspace", "secret")
    return other, f"other.tree={path}"


def test_doors(suite):
    with suite.running() as world:
        _, tree = other_session(world)
        with world.session() as session:
            words = [tree] + (leave_behind(world, session) if suite.root else [])
            found = world.probe(session, *words)
        judge(suite, found)
        if suite.root:
            check(subprocess.run(["cat", tree.partition("=")[2]], capture_output=True).stdout == b"secret\n",
                  "the other session's file is there")


def judge(suite, found):
    for name, door in suite.programs.doors.items():
        verdict, detail = found.get(name, ("BROKEN", "no answer"))
        if name in LEFT and not suite.root:
            suite.skip(name, "only root can leave this in a session's tree")
            continue
        suite.attack(door.group, name, verdict == "SHUT", f"{verdict} {detail}", door.bare)
