"""Files of a session in and out: tar streams made and taken by a helper with the agent's rights."""

import contextlib
import io
import os
import random
import subprocess
import tarfile
import time

import wire
import world as fixtures
from steps import ENV, disconnects, python, refused, shell
from wire import FILES_GET, FILES_PUT, STARTED


def begin(init, kind, path):
    """(request number, descriptor) of a transfer."""
    frame = init.ask(kind, ("PATH", path))
    assert frame.fd is not None
    return init.request, frame.fd


def outcome(init, request):
    done = init.until(lambda: init.done.pop(request, None))
    if done["STATUS"] != 0:
        raise wire.Failed({"STAGE": "files", **done})
    return done


def get_bytes(init, path):
    request, fd = begin(init, FILES_GET, path)
    with os.fdopen(fd, "rb") as stream:
        return request, stream.read()


def get(init, path):
    """The members of the stream as {name: (TarInfo, content)}."""
    request, data = get_bytes(init, path)
    outcome(init, request)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {m.name: (m, archive.extractfile(m).read() if m.isreg() else None) for m in archive}


def put(init, path, data):
    request, fd = begin(init, FILES_PUT, path)
    with contextlib.suppress(BrokenPipeError), os.fdopen(fd, "wb") as stream:
        stream.write(data)
    return outcome(init, request)


def archive(*entries, form=tarfile.PAX_FORMAT, mode=None):
    """entries: (name, bytes) a file, (name, None) a directory, (name, "target") a link, (name, ["t"]) a hard link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.mtime = 1700000000
            info.mode = mode if mode is not None else 0o755 if content is None else 0o640
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            elif isinstance(content, list):
                info.type, info.linkname = tarfile.LNKTYPE, content[0]
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def run(init, script):
    """Output of a shell script run as the agent."""
    result, out, err = init.run(init.state.setdefault("next", 1), shell(script), ENV)
    init.state["next"] += 1
    assert result[0] == 0, (result, out, err)
    return out.decode()


def test_tree_comes_out(world):
    with world.init() as init:
        run(init, "mkdir -p d/e d/empty; echo hi > d/f; chmod 4750 d/f; ln -s f d/l; ln -s /nope d/e/dangling;"
                  "mkfifo d/pipe; head -c 3000000 /dev/zero > d/e/big; n=$(printf x%.0s {1..200});"
                  "echo long > d/$n; ln -s $n d/e/ll; touch -d @-5 d/old; touch -d @1700000000 d/f;"
                  "printf 1 > $'d/\\377 \\n'; ln d/f d/hard")
        tree = get(init, "/workspace/d")
        long = "x" * 200
        assert set(tree) == {"d", "d/e", "d/empty", "d/f", "d/l", "d/e/dangling", "d/e/big", "d/" + long,
                             "d/e/ll", "d/old", "d/\udcff \n", "d/hard"}, set(tree)
        assert tree["d/f"][1] == tree["d/hard"][1] == b"hi\n"
        assert tree["d/f"][0].mode == 0o750 and tree["d/f"][0].mtime == 1700000000
        assert tree["d"][0].isdir() and tree["d"][0].mode == 0o755
        assert tree["d/e/big"][1] == bytes(3000000)
        assert tree["d/l"][0].linkname == "f" and tree["d/e/dangling"][0].linkname == "/nope"
        assert tree["d/e/ll"][0].linkname == long and tree["d/old"][0].mtime == -5
        assert tree["d/f"][0].uid == tree["d/f"][0].gid == 0


def test_paths_mean_what_they_mean_to_the_agent(world):
    with world.init() as init:
        run(init, "mkdir d; echo hi > d/f; ln -s d link; ln -s d/f file; mkfifo p; mkdir no; chmod 0 no; : > n; chmod 0 n")
        assert set(get(init, "d/f")) == {"f"}
        assert set(get(init, "/workspace/link")) == {"link", "link/f"}
        assert get(init, "/workspace/file")["file"][1] == b"hi\n"
        assert set(get(init, "/workspace/d/")) == {"d", "d/f"}
        assert set(get(init, "/workspace/d/.")) == {".", "./f"}
        for path, errno in [("/nope", wire.ENOENT), ("d/f/x", wire.ENOTDIR), ("p", wire.EINVAL),
                            ("no", wire.EACCES), ("n", wire.EACCES), ("/dev/zero", wire.EINVAL),
                            ("/proc/1/root", wire.EACCES), ("/proc/1/environ", wire.EACCES)]:
            with refused(errno, *([wire.ENOENT] if "/proc/1" in path else [])):  # or not to be seen
                get(init, path)
        for pairs in ([], [("PATH", "")], [("PATH", "a\0b")], [("PATH", "/" * 5000)]):
            with refused(wire.EPROTO, wire.ENOENT, wire.EINVAL, wire.ENAMETOOLONG):
                init.ask(FILES_GET, *pairs)


def test_what_cannot_be_read_is_told_and_the_rest_comes(world):
    with world.init() as init:
        run(init, "mkdir d d/no; echo 1 > d/a; echo 2 > d/no/b; echo 3 > d/z; chmod 0 d/no")
        request, data = get_bytes(init, "d")
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            assert set(tar.getnames()) == {"d", "d/a", "d/z"}
        with refused(wire.EACCES):
            outcome(init, request)


def test_files_that_change_while_they_are_read(world):
    with world.init() as init:
        run(init, "mkdir d; for i in 1 2 3 4 5 6 7 8; do head -c 200000 /dev/urandom > d/$i; done")
        init.start(90, python(
            "import os, random, shutil\nwhile True:\n  p = f'd/{random.randrange(1, 9)}'\n"
            "  try:\n    c = random.randrange(5)\n"
            "    if c == 0: os.truncate(p, random.randrange(400000))\n"
            "    elif c == 1: os.unlink(p); os.mkdir(p)\n"
            "    elif c == 2: shutil.rmtree(p, True); os.symlink('/etc', p)\n"
            "    elif c == 3: os.unlink(p); os.mkfifo(p)\n"
            "    else: os.unlink(p); open(p, 'wb').write(bytes(random.randrange(400000)))\n"
            "  except OSError: pass"), ENV)
        init.wait_record(STARTED, 90)
        for _ in range(60):
            request, data = get_bytes(init, "d")
            with contextlib.suppress(wire.Failed):
                outcome(init, request)
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:  # whole, whatever happened
                assert not [n for n in tar.getnames() if "passwd" in n]


def test_tree_goes_in(world):
    with world.init() as init:
        deep = "y" * 150 + "/" + "z" * 150
        for number, form in enumerate((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)):
            where = f"in{number}"
            run(init, f"mkdir {where}")
            entries = [("t", None), ("t/f", b"x" * 1000), ("t/l", "f"), ("t/hard", ["t/f"])]
            if form != tarfile.USTAR_FORMAT:
                entries += [("t/" + deep, b"deep"), ("t/ll", "w" * 300)]
            entries.append(("made/by/us", b"1"))
            put(init, where, archive(*entries, form=form))
            tree = get(init, where)
            assert tree[where + "/t/f"][1] == b"x" * 1000 and tree[where + "/t/f"][0].mode == 0o640
            assert tree[where + "/t"][0].mtime == tree[where + "/t/f"][0].mtime == 1700000000
            assert tree[where + "/made/by/us"][1] == b"1"
            if form != tarfile.USTAR_FORMAT:
                assert tree[f"{where}/t/{deep}"][1] == b"deep"
                assert tree[where + "/t/ll"][0].linkname == "w" * 300
            assert run(init, f"stat -c '%h %u:%g %A' {where}/t/f").strip() == "2 1000:1000 -rw-r-----"


def test_what_comes_out_goes_in_again(world):
    with world.init() as init:
        run(init, "mkdir -p src/a/b; echo 1 > src/a/b/c; ln -s ../x src/a/l; chmod 555 src/a/b; touch -d @99 src/a")
        _, data = get_bytes(init, "src")
        init.until(lambda: init.done.popitem() if init.done else None)
        put(init, "copy", data)
        again = get(init, "copy")
        first = get(init, "src")
        assert {n.replace("copy", "src", 1): (m.mode, m.mtime, m.linkname, c) for n, (m, c) in again.items()} \
            == {n: (m.mode, m.mtime, m.linkname, c) for n, (m, c) in first.items()}


def test_target_that_is_new_renames_the_top(world):
    with world.init() as init:
        one = archive(("a", b"1"))
        put(init, "/workspace/new", one)
        put(init, "/workspace/new", archive(("b", b"22")))  # a file: replaced
        assert run(init, "cat new") == "22"
        put(init, "dir/", archive((".", None), ("./x", b"1"), ("./y/z", b"2")))
        assert run(init, "cat dir/x dir/y/z") == "12"
        put(init, "dir", one)  # a directory: into it
        assert run(init, "cat dir/a") == "1"
        run(init, "ln -s dir link")
        put(init, "link", archive(("b", b"9")))
        assert run(init, "cat dir/b") == "9"
        for path, data, errno in [
                ("/nope/a", one, wire.ENOENT), ("two", archive(("a", b"1"), ("b", b"2")), wire.EEXIST),
                ("new", archive(("d", None), ("d/x", b"1")), wire.ENOTDIR), ("new/x", one, wire.ENOTDIR),
                ("/usr", one, wire.EACCES), ("/agent", one, wire.EACCES), ("/", one, wire.EACCES),
                ("/proc/1/root", one, wire.EACCES)]:
            with refused(errno, wire.EROFS, *([wire.ENOENT] if "/proc/1" in path else [])):
                put(init, path, data)


def test_names_stay_below_the_target(world):
    with world.init() as init:
        run(init, "mkdir t outside; ln -s ../outside t/link; echo keep > outside/f; ln -s ../outside/f t/flink")
        evil = [("../evil", b"x"), ("/abs", b"x"), ("a/../../evil", b"x"), ("..", None), ("link/in", b"x"),
                ("link/deep/er", b"x"), ("new", "/tmp"), ("new/in", b"x"), ("h1", ["../outside/f"]),
                ("h2", ["/workspace/outside/f"]), ("h3", ["link/f"]), ("h4", ["nope"])]
        for entry in evil:
            if entry[0] == "new":
                put(init, "t", archive(entry))
                continue
            with refused(wire.EINVAL, wire.ENOTDIR, wire.ENOENT, wire.ELOOP):
                put(init, "t", archive(entry))
        put(init, "t", archive(("flink", b"mine")))  # the link is replaced, not followed
        assert run(init, "cat outside/f; ls -A outside; cat t/flink; ls /tmp; ls") == "keep\nf\nmineoutside\nt\n"
        assert run(init, "ls -A t").split() == ["flink", "link", "new"]
        # One bad entry does not keep the others out.
        with refused(wire.EINVAL):
            put(init, "t", archive(("good1", b"1"), ("../bad", b"2"), ("good2", b"3")))
        assert run(init, "cat t/good1 t/good2") == "13"


def test_broken_archives(world):
    generator = random.Random(4)
    with world.init() as init:
        run(init, "mkdir t")
        good = archive(("d", None), ("d/a", generator.randbytes(70000)), ("e" * 200, b"1"), ("l", "x" * 300))
        ends = [0, 1, 511, 512, 513, 1024, 40000, len(good.rstrip(b"\0"))]
        for end in ends:
            with refused(wire.EPROTO):
                put(init, "t", good[:end])
        with refused(wire.EPROTO):
            put(init, "t", b"no tar" * 1000)
        put(init, "t", bytes(1024))
        put(init, "t", good + bytes(1 << 20))  # what follows the end is read and ignored
        for _ in range(150):
            data = bytearray(good)
            for _ in range(generator.randrange(1, 6)):
                data[generator.choice([generator.randrange(3072), generator.randrange(len(data))])] = \
                    generator.randrange(256)
            try:
                put(init, "t", bytes(data))
            except wire.Failed as failure:
                assert failure.errno != wire.ECANCELED, "the helper crashed"
        big = tarfile.TarInfo("big")
        big.size = 1 << 62
        with refused(wire.EPROTO):
            put(init, "t", big.tobuf(tarfile.GNU_FORMAT) + b"x" * 1000)
        assert run(init, "echo fine") == "fine\n"


def test_ordinary_tar_understands_and_is_understood(world):
    with world.init() as init:
        run(init, "mkdir -p d/e; seq 100000 > d/e/n; ln d/e/n d/hard; ln -s e d/l; chmod 700 d")
        _, data = get_bytes(init, "d")
        listing = subprocess.run(["tar", "tvf", "-"], input=data, capture_output=True, check=True)
        assert b"d/e/n" in listing.stdout and not listing.stderr
        for form in ("gnu", "pax", "ustar", "v7", "oldgnu"):
            out = io.BytesIO(subprocess.run(["tar", "-C", "/usr/share/doc", "--format", form, "-cf", "-", "tar"],
                                            capture_output=True, check=True).stdout)
            put(init, form, out.getvalue())
            assert "copyright" in run(init, f"ls {form}")


def test_transfers_are_bounded_and_protected(world):
    with world.init() as init:
        run(init, "head -c 4000000 /dev/zero > big")
        transfers = [begin(init, FILES_GET, "big") for _ in range(4)]
        with refused(wire.EBUSY):
            init.ask(FILES_GET, ("PATH", "big"))
        # The agent's rights on files, yet closed to it: the helper has init's memory.
        probe = ("import ctypes, os\nlibc = ctypes.CDLL(None)\nme = os.getpid(); n = 0\n"
                 "for p in map(int, filter(str.isdigit, os.listdir('/proc'))):\n"
                 "  if p in (1, me): continue\n  n += 1\n"
                 "  for name in ('mem', 'environ', 'maps', 'fd', 'root', 'exe'):\n"
                 "    try: (os.listdir if name in ('fd', 'root') else open)(f'/proc/{p}/{name}'); print('OPEN', name)\n"
                 "    except OSError: pass\n"
                 "  if libc.ptrace(16, p, 0, 0) == 0: print('OPEN ptrace')\nprint(n)")
        result, out, _ = init.run(80, python(probe), ENV)
        # Four, or none to be seen at all.
        assert out in (b"4\n", b"0\n"), out
        # Signals to all leave them alone; a client that goes away ends its own.
        init.start(81, ["sleep", "1000"], ENV)
        init.wait_record(STARTED, 81)
        init.signal(9, 81, wire.ALL)
        init.wait_exit(81)
        assert not init.done
        request, fd = transfers.pop()
        with os.fdopen(fd, "rb") as stream:
            assert len(stream.read()) > 4000000
        outcome(init, request)
        for request, fd in transfers:
            os.close(fd)
            with refused(wire.ECANCELED):
                outcome(init, request)
        assert len(get(init, "big")["big"][1]) == 4000000


HOLD_UP = """
import os, resource, signal, subprocess, sys
own = subprocess.Popen(['sleep', '1000'])
def attempt(name, pid, action):
    try: action()
    except ProcessLookupError: return
    except (PermissionError, ValueError): counts['refused'] += 1
    else: print('own' if pid == own.pid else 'OTHER', name)
counts = {'refused': 0}
for pid in range(2, 500):
    if pid == os.getpid(): continue
    attempt('nice', pid, lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
    attempt('idle', pid, lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0)))
    attempt('affinity', pid, lambda: os.sched_setaffinity(pid, {0}))
    attempt('limit', pid, lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, 0)))
    for number in signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL:
        attempt(signal.Signals(number).name, pid, lambda: os.kill(pid, number))
own.wait()
print(counts['refused'])
"""


def test_agent_cannot_hold_up_a_transfer(world):
    with world.init() as init:
        run(init, "head -c 4000000 /dev/zero > big")
        get_request, get_fd = begin(init, FILES_GET, "big")
        put_request, put_fd = begin(init, FILES_PUT, "/workspace")
        # One id for files, another one for everything else.
        inside = fixtures.outside_ids(init.session.pid)
        ids = [inside[1], inside[1], inside[1], inside[1000]]
        deadline = time.monotonic() + wire.DEADLINE
        while (seen := [fixtures.ids_of(pid)
                        for pid in fixtures.children_of(init.session.pid)]) != [ids] * 2:
            assert time.monotonic() < deadline, (seen, inside)
            time.sleep(0.01)  # they are on their way
        result, out, err = init.run(90, python(HOLD_UP), ENV)
        *did, refusals = out.decode().split("\n")[:-1]
        assert did == ["own " + name for name in
                       ("nice", "idle", "affinity", "limit", "SIGSTOP", "SIGTERM", "SIGKILL")], (out, err)
        assert int(refusals) == 2 * len(did), refusals
        init.start(91, python("import os\nos.kill(-1, 9)\nos.kill(0, 9)"), ENV)
        assert init.wait_exit(91)[1] == 9
        with os.fdopen(put_fd, "wb") as stream:
            stream.write(archive(("t", None), ("t/f", b"1"), ("t/l", "f")))
        outcome(init, put_request)
        with os.fdopen(get_fd, "rb") as stream:
            assert len(stream.read()) > 4000000
        outcome(init, get_request)
        init.state["next"] = 92
        assert run(init, "stat -c '%u:%g' t t/f t/l").split() == ["1000:1000"] * 3


def test_signals_to_all_catch_those_that_fork_away(world):
    """Processes that are another one at every moment; looking for them one by one would never end."""
    runaway = ("import os, time\n"
               "for _ in range(8):\n"
               "  if os.fork() == 0:\n"
               "    while True:\n"
               "      try:\n        if os.fork(): os._exit(0)\n"
               "      except OSError: pass\n"
               "print('up', flush=True)\ntime.sleep(1000)")
    with world.init() as init:
        run(init, "head -c 4000000 /dev/zero > big")
        request, fd = begin(init, FILES_GET, "big")
        for generation in range(70, 80):
            init.start(generation, python(runaway), ENV)
            init.until(lambda: init.output(generation) == b"up\n")
            init.signal(9, generation)
            assert init.wait_exit(generation)[1] == 9
            # They have its output open as long as one of them lives.
            init.quiet(0.1)
            assert not init.find(wire.STDOUT_EOF, generation)
            init.signal(9, generation, wire.ALL)
            init.until(lambda: init.find(wire.STDOUT_EOF, generation))
        with os.fdopen(fd, "rb") as stream:
            assert len(stream.read()) > 4000000
        outcome(init, request)


def test_transfers_of_a_lost_connection_end_quietly(world):
    with world.init() as init:
        run(init, "head -c 4000000 /dev/zero > big; mkdir t")
        transfers = [begin(init, FILES_GET, "big"), begin(init, FILES_PUT, "t")]
        second = init.session.connect()
        with disconnects():
            init.quiet()
        for _, fd in transfers:
            os.close(fd)
        second.quiet()
        assert not second.done
        for _ in range(4):
            get(second, "big")


def test_throughput_of_files(world):
    with world.init() as init:
        run(init, "head -c 100000000 /dev/zero > /tmp/big")
        started = time.monotonic()
        _, data = get_bytes(init, "/tmp/big")
        init.until(lambda: init.done.popitem() if init.done else None)
        seconds = time.monotonic() - started
        assert len(data) > 100000000
        assert seconds < 10 * wire.SLOWNESS, seconds
