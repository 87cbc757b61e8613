"""Ends of sessions that do not want to end, with trees that lead elsewhere."""

import os
import secrets
import shutil

import harness
from archives import Canaries
from setting import check, eventually

GROUP = "teardown races"
HOSTILE = """
ln -s {top} link; ln -s / root; mkdir -p d; ln -s {top}/deep d/deep; ln -s ../../../../../../../..{top} up
mkdir -p locked/inner; touch locked/inner/f; chmod 000 locked/inner locked
touch -- -rf '*' 'a
b' "$(printf 'bell\\007')" --; mkfifo pipe
python3 - <<'END'
import os, socket
s = socket.socket(socket.AF_UNIX); s.bind('/workspace/socket')
os.symlink('x' * 4000, '/workspace/long')
os.makedirs('/workspace/wide')
for i in range(2000): open('/workspace/wide/%d' % i, 'w')
os.chdir('/workspace')
for i in range(3000):
    os.mkdir('deeper'); os.chdir('deeper')
os.symlink('{top}', 'end')
END
"""
# Everything that a process can do to stay.
STAYERS = """
setsid sh -c 'trap "" HUP INT TERM QUIT; while :; do sleep 3600.{mark}; done' >/dev/null 2>&1 &
setsid sh -c 'sleep 3600.{mark} & kill -STOP $!; kill -STOP $$' >/dev/null 2>&1 &
python3 - <<'END' >/dev/null 2>&1 &
import ctypes, os, time
pid = os.fork()
if pid == 0: os.execvp('sleep', ['sleep', '3600.{mark}'])
time.sleep(0.2)
ctypes.CDLL(None).ptrace(16, pid, 0, 0)
os.execvp('sleep', ['sleep', '3600.{mark}'])
END
while [ $(ps ax | grep -c '[s]leep 3600.{mark}') -lt 4 ]; do sleep 0.05; done
echo ready
"""


def end(world, session):
    answer = world.post(f"/v1/sessions/{session['id']}/end")
    check(answer.status < 300, f"end: {answer.status} {answer.body!r}")
    return eventually(lambda: not os.path.lexists(world.tree(session)), "the tree is deleted", 30)


def naive_delete(top):
    """Deletes what a directory holds, by name; what a link leads to goes too."""
    for name in os.listdir(top):
        path = os.path.join(top, name)
        if os.path.isdir(path):
            naive_delete(path)
        else:
            os.unlink(path)


def test_teardown_of_hostile_trees(suite):
    with suite.running() as world:
        canaries = Canaries(world)
        session = world.create("probe")
        world.run(session, HOSTILE.format(top=canaries.top))
        gone = end(world, session)
        suite.attack(GROUP, "teardown: links", gone and not canaries.changes(), canaries.changes())
        decoy, tree = os.path.join(world.dir, "decoy"), os.path.join(world.dir, "tree")
        shutil.copytree(canaries.top, decoy)
        os.mkdir(tree)
        os.symlink(decoy, os.path.join(tree, "link"))
        naive_delete(tree)
        suite.control("teardown: links", not os.path.exists(os.path.join(decoy, "f")), "nothing was lost")


def test_teardown_of_stayers(suite):
    """Processes that ignore, are stopped or traced are gone when the session is."""
    with suite.running() as world:
        session, mark = world.create("probe"), secrets.randbelow(10**9)
        check("ready" in world.run(session, STAYERS.format(mark=mark)), "they run")
        suite.control("teardown: stayers", len(harness.children_named(f"3600.{mark}")) >= 4)
        gone = end(world, session)
        left = harness.children_named(f"3600.{mark}")
        suite.attack(GROUP, "teardown: stayers", gone and not left, left)


def test_teardown_while_files_are_made(suite):
    """A writer that makes files and directories as fast as it can is no match for the deletion."""
    with suite.running() as world:
        canaries = Canaries(world)
        made = []
        for _ in range(5):
            session = world.create("probe")
            script = ("for n in 1 2 3; do (i=0; while :; do i=$((i+1)); mkdir -p w$n/$i; : > w$n/$i/f; "
                      f"ln -sfn {canaries.top} w$n/l; done) & done; "
                      "while [ $(ls w1 2>/dev/null | wc -l) -lt 20 ]; do sleep 0.05; done; ls w1 | wc -l; wait")
            stream = world.send(session, script)
            for event in stream:
                if event["type"] == "message.delta":
                    made.append(int(event["content"].split()[0]))
                    break
            gone = end(world, session)
            stream.close()
            check(gone, "the tree is gone")
        suite.control("teardown: writers", all(count > 10 for count in made), made)
        suite.attack(GROUP, "teardown: writers", not canaries.changes(), canaries.changes())
