"""What init promises: connections, agents, signals, its end."""

import contextlib
import json
import os
import random
import re
import signal
import time
import unittest

import wire
from steps import ENV, disconnects, python, refused, shell
from wire import ALL, GROUP, STARTED, STDERR, STDOUT_EOF, Disconnected, Failed

# --- connections ----------------------------------------------------------------------------------------------


def test_hello_tells_the_state(world):
    with world.init() as init:
        state = init.state
        assert state["GENERATION"] == 0 and state["RUNNING"] == 0, state
        assert state["LOG_START"] == state["LOG_END"] == state["INPUT_ACCEPTED"] == 0, state
        init.start(7, ["cat"], ENV)
        init.wait_record(STARTED, 7)
        init.input(b"abc", 0)
        init.until(lambda: init.output(7) == b"abc")
        state = init.session.connect().state
        assert state["GENERATION"] == 7 and state["RUNNING"] == 1, state
        assert state["LOG_END"] == init.log_end and state["INPUT_ACCEPTED"] == 3, state


def test_wrong_hello_is_closed(world):
    with world.init() as init:
        path = init.session.path
        for payload in (wire.fields(("NONCE", bytes(16))), wire.fields(("NONCE", b"x")), b"",
                        wire.fields(("NONCE", init.nonce))[:-1]):
            stranger = wire.Init(path, init.nonce, hello=False)
            stranger.send(wire.HELLO, payload)
            with disconnects():
                stranger.receive()
        stranger = wire.Init(path, init.nonce, hello=False)
        stranger.send(wire.SHUTDOWN)
        with disconnects():
            stranger.receive()
        assert init.run(1, ["true"], ENV)[0][0] == 0  # the served one is not disturbed


def test_newest_connection_is_served(world):
    with world.init() as first:
        second = first.session.connect()
        with disconnects():
            first.receive()
        assert second.run(1, ["true"], ENV)[0][0] == 0


def test_silent_connections_do_not_pile_up(world):
    with world.init() as init:
        silent = [wire.Init(init.session.path, init.nonce, hello=False) for _ in range(12)]
        with disconnects():
            silent[0].receive()
        assert init.run(1, ["true"], ENV)[0][0] == 0
        if os.geteuid() == 0:  # nobody else may look
            assert len(os.listdir(f"/proc/{init.session.pid}/fd")) < 24
        for connection in silent:
            connection.close()
        init.session.connect()


def test_malformed_packets_close_the_connection(world):
    header = wire.HEADER
    bad = [
        b"x",
        header.pack(wire.MAGIC + 1, 1, wire.SHUTDOWN, 0, 1, 0),
        header.pack(wire.MAGIC, 2, wire.SHUTDOWN, 0, 1, 0),
        header.pack(wire.MAGIC, 1, wire.SHUTDOWN, 1, 1, 0),
        header.pack(wire.MAGIC, 1, wire.SHUTDOWN, 0, 1, 0) + b"tail",
        header.pack(wire.MAGIC, 1, wire.INPUT, wire.FRAME_MAX, 1, 0) + bytes(wire.FRAME_MAX),
    ]
    with world.session() as session:
        for packet in bad:
            init = session.connect()
            init.send(0, raw=packet)
            with disconnects():
                init.receive()
        init = session.connect()
        with refused(wire.ENOSYS):
            init.ask(999)
        for kind in (wire.START, wire.SIGNAL, wire.FILES_GET, wire.FILES_PUT):
            with refused(wire.EPROTO, wire.EINVAL):
                init.send(kind, b"\xff" * 20, init.next_request())
                frame = init.until(lambda: init.answers.pop(init.request, None))
                raise Failed(dict(wire.parse_fields(frame.payload)))


def test_random_packets_do_no_harm(world):
    generator = random.Random(1)
    kinds = [wire.START, wire.INPUT, wire.INPUT_EOF, wire.ACK, wire.SIGNAL, wire.FILES_GET,
             wire.FILES_PUT, wire.ADMIT, wire.ANSWER, 77, wire.LOG]
    with world.session(network=1, ports=[443]) as session:
        for _ in range(40):
            init = session.connect()
            with contextlib.suppress(Disconnected):
                for _ in range(20):
                    good = wire.fields(("GENERATION", 0), ("SIGNAL", 0), ("PATH", "/nope"))
                    payload = bytearray(generator.choice([good, generator.randbytes(60)]))
                    for _ in range(generator.randrange(3)):
                        payload[generator.randrange(len(payload))] = generator.randrange(256)
                    init.send(generator.choice(kinds), bytes(payload), 1,
                              generator.choice([0, 1, 1 << 20, 1 << 63, (1 << 64) - 1]))
            init.close()
        assert session.connect().run(1 << 63, ["true"], ENV)[0][0] == 0


def test_client_that_asks_and_never_reads_is_dropped(world):
    with world.session() as session:
        init = session.connect()
        with disconnects():
            for _ in range(100000):
                init.send(wire.SIGNAL, b"", init.next_request())
        session.connect().run(1, ["true"], ENV)


# --- agents ---------------------------------------------------------------------------------------------------

PROBE = r"""
import os, signal
for line in open('/proc/self/status'):
    if line.split(':')[0] in ('Uid Gid Groups CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp SigBlk '
                              'SigIgn Umask NSpid').split(): print(line.replace('\t', ' ').strip())
print('fds', *sorted(os.listdir('/proc/self/fd')))
print('sid', os.getsid(0) == os.getpid() == os.getpgrp())
print('cwd', os.getcwd())
print('env', sorted(os.environ))
print('tty', [os.isatty(fd) for fd in (0, 1, 2)])
print('oom', int(open('/proc/self/oom_score_adj').read()) > 0)
"""


def test_agent_has_nothing(world):
    with world.init() as init:
        # SIGPIPE: Python ignores it by itself (bit 0x1000), and SIGXFSZ (0x1000000).
        result, out, err = init.run(1, python(PROBE), {"PATH": ENV["PATH"], "A": "1"})
        assert result[:2] == (0, 0), err
        lines = dict(line.split(" ", 1) for line in out.decode().splitlines() if " " in line)
        zero = "0" * 16
        expected = {
            "Uid:": "1000 1000 1000 1000", "Gid:": "1000 1000 1000 1000", "CapInh:": zero,
            "CapPrm:": zero, "CapEff:": zero, "CapBnd:": zero, "CapAmb:": zero, "NoNewPrivs:": "1",
            "Seccomp:": "2", "SigBlk:": zero, "SigIgn:": "0000000001001000", "Umask:": "0022",
            "sid": "True", "cwd": "/workspace", "fds": "0 1 2 3", "tty": "[False, False, False]",
            "oom": "True",
        }
        for name, value in expected.items():
            assert lines[name] == value, (name, lines[name])
        assert lines.get("Groups:", "").strip() == ""
        assert re.match(r"\['A', ('LC_CTYPE', )?'PATH'\]$", lines["env"]), lines["env"]


INIT_PROBE = r"""
import ctypes, os, resource
libc = ctypes.CDLL(None, use_errno=True)
def refused(name, call):
    try: call()
    except OSError: return
    print('OPEN', name)
def ptrace():
    if libc.ptrace(16, 1, 0, 0) != 0: raise OSError(ctypes.get_errno())
for name in 'mem environ root cwd exe fd maps syscall fdinfo io'.split():
    path = '/proc/1/' + name
    refused(path, lambda: os.listdir(path) if name in ('fd', 'fdinfo', 'root', 'cwd') else open(path, 'rb'))
refused('kill', lambda: os.kill(1, 9))
refused('ptrace', ptrace)
refused('prlimit', lambda: resource.prlimit(1, resource.RLIMIT_NOFILE, (10, 10)))
refused('renice', lambda: os.setpriority(os.PRIO_PROCESS, 1, 19))
refused('affinity', lambda: os.sched_setaffinity(1, {0}))
refused('oom', lambda: open('/proc/1/oom_score_adj', 'w').write('1000'))
print('done')
"""


def test_agent_cannot_reach_init(world):
    with world.init() as init:
        result, out, err = init.run(1, python(INIT_PROBE), ENV)
        assert out == b"done\n", (result, out, err)


def test_arguments_environment_and_directory_arrive(world):
    with world.init() as init:
        values = ["", "a b", "ü\u4e2d", "--", "x" * 20000]
        script = "import os,sys,json; print(json.dumps([sys.argv[1:], os.environ['V'], os.getcwd()]))"
        result, out, err = init.run(
            1, ["python3", "-c", script] + values, {**ENV, "V": "=é="}, cwd="/usr/bin/../lib")
        assert json.loads(out) == [values, "=é=", "/usr/lib"], err


def test_start_failures_say_what_and_why(world):
    with world.init() as init:
        init.run(1, shell("printf '#!/nope\\n' > script; chmod 755 script; : > plain; mkdir dir;"
                          "printf 'no magic' > odd; chmod 755 odd"), ENV)
        cases = [
            (["no-such-program"], {}, "exec", wire.ENOENT, "no-such-program"),
            (["/no/such"], {}, "exec", wire.ENOENT, "/no/such"),
            (["./plain"], {}, "exec", wire.EACCES, "./plain"),
            (["./dir"], {}, "exec", wire.EACCES, "./dir"),
            (["./script"], {}, "exec", wire.ENOENT, "interpreter"),
            (["script"], {"PATH": "/workspace"}, "exec", wire.ENOENT, "interpreter"),
            (["./odd"], {}, "exec", wire.ENOEXEC, "./odd"),
            (["plain"], {"PATH": "/workspace:/usr/bin"}, "exec", wire.EACCES, "plain"),
            ([""], {}, "exec", wire.ENOENT, ""),
        ]
        for generation, (arguments, environment, stage, errno, text) in enumerate(cases, 2):
            init.start(generation, arguments, environment)
            failure = init.start_failure(generation)
            assert (failure.stage, failure.errno) == (stage, errno), (arguments, failure)
            assert text in failure.detail, failure
        places = [("/no/such", [wire.ENOENT]), ("/etc/passwd", [wire.ENOTDIR]),
                  ("/proc/1/cwd", [wire.EACCES, wire.ENOENT])]  # not for agents, or not to be seen
        for generation, (cwd, errnos) in enumerate(places, 100):
            init.start(generation, ["true"], ENV, cwd=cwd)
            failure = init.start_failure(generation)
            assert failure.stage == "working directory" and failure.errno in errnos, failure
        init.quiet()
        assert not [r for r in init.records if r.generation > 1 and r.type != wire.START_FAILED]
        assert init.run(200, ["true"], {})[0][0] == 0  # a default PATH


def test_search_goes_on_after_a_file_that_may_not_run(world):
    with world.init() as init:
        init.run(1, shell("mkdir a b; : > a/tool; printf '#!/bin/sh\necho b\n' > b/tool; chmod +x b/tool"),
                 ENV)
        _, out, _ = init.run(2, ["tool"], {"PATH": "/nope:/workspace/a:/workspace/b"})
        assert out == b"b\n", out
        _, out, _ = init.run(3, ["tool"], {"PATH": ""}, cwd="/workspace/b")  # empty: the directory
        assert out == b"b\n", out


def test_start_is_refused_or_repeated(world):
    with world.init() as init:
        good = [("GENERATION", 5), ("ARG", "cat")]
        for pairs in ([("ARG", "cat")], [("GENERATION", 0), ("ARG", "cat")], [("GENERATION", 5)],
                      good + [("ENV", "novalue")], good + [("ENV", "=x")], good + [("ARG", "a\0b")],
                      good + [("CWD", "relative")], good + [("CWD", "")]):
            with refused(wire.EINVAL, wire.EPROTO):
                init.ask(wire.START, *pairs)
        init.ask(wire.START, *good)
        init.ask(wire.START, *good)  # the same generation: nothing happens
        with refused(wire.EBUSY):
            init.start(6, ["cat"])
        with refused(wire.ESTALE):
            init.start(4, ["cat"])
        init.close_input(0)
        init.wait_end(5)
        init.ask(wire.START, *good)
        init.quiet()
        assert len([r for r in init.records if r.type == STARTED]) == 1
        init.run(6, ["true"], ENV)


def test_exit_records(world):
    with world.init() as init:
        result, _, _ = init.run(1, shell("exit 42"), ENV)
        assert result[:2] == (42, 0)
        result, _, _ = init.run(2, shell("kill -TERM $$"), ENV)
        assert result[:2] == (-1, signal.SIGTERM)
        result, _, _ = init.run(3, python("x = bytearray(64 << 20)\nfor i in range(6000000): pass"), ENV)
        assert result[0] == 0 and result[2] > 20000 and 64 << 10 < result[4] < 256 << 10, result


def test_orphans_are_reaped(world):
    with world.init() as init:
        script = ("import os,time\nfor i in range(200):\n  if os.fork() == 0:\n    os.fork(); os._exit(0)\n"
                  "while True:\n  try: os.wait()\n  except ChildProcessError: break\n"
                  "def state(p):\n  try: return open(f'/proc/{p}/stat').read().rsplit(')', 1)[1].split()[0]\n"
                  "  except OSError: return None\n"
                  "while True:\n"
                  "  states = [s for s in map(state, set(filter(str.isdigit, os.listdir('/proc'))) - {'1'}) if s]\n"
                  "  if len(states) == 1: break\n")
        assert init.run(1, python(script), ENV)[0][0] == 0


# --- signals --------------------------------------------------------------------------------------------------


def test_signals_reach_their_scope(world):
    script = "trap 'echo agent; exit 9' TERM; sleep 1000 & setsid bash -c 'echo out >&2; exec sleep 1000' & echo up; wait"
    # Those that were hit may need a moment to be gone.
    count = ("import os, sys, time\nend = time.monotonic() + 5\n"
             "def sleeps(p):\n  try: return b'sleep' in open(f'/proc/{p}/cmdline', 'rb').read()\n"
             "  except OSError: return False\n"
             "while True:\n"
             "  n = sum(sleeps(p) for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid())\n"
             "  if n <= int(sys.argv[1]) or time.monotonic() > end: break\n"
             "print(n)")
    with world.init() as init:
        with refused(wire.ESRCH):
            init.signal(15)
        for generation, (scope, left) in enumerate([(wire.AGENT, 2), (GROUP, 1), (ALL, 0)]):
            first = generation * 10 + 1
            init.start(first, shell(script), ENV)
            init.until(lambda: init.output(first) == b"up\n" and init.output(first, STDERR))
            with refused(wire.ESRCH):
                init.signal(15, first + 1)
            with refused(wire.EINVAL):
                init.signal(0, first)
            with refused(wire.EINVAL):
                init.signal(65, first)
            init.signal(15, first, scope)
            init.wait_exit(first)
            if scope != ALL:
                assert init.output(first) == b"up\nagent\n"
            _, out, _ = init.run(first + 1, python(count) + [str(left)], ENV)
            assert int(out) == left, (scope, out)
            init.signal(9, first, ALL)
            init.until(lambda: init.find(STDOUT_EOF, first))


# --- the end --------------------------------------------------------------------------------------------------


def test_shutdown_ends_everything(world):
    with world.init() as init:
        init.start(1, shell("trap '' TERM; sleep 1000 & wait"), ENV)
        init.wait_record(STARTED)
        init.ask(wire.SHUTDOWN)
        with disconnects():
            init.quiet(10)
        init.session.wait_gone()


def test_init_leaves_when_nobody_comes(world):
    with world.session(linger=1) as session:
        init = session.connect()
        time.sleep(2.5)  # longer than the time: somebody is here
        assert session.alive()
        left = time.monotonic()
        init.close()
        session.wait_gone()
        assert 1 <= time.monotonic() - left < 5 * wire.SLOWNESS


def test_init_leaves_when_its_workspace_is_deleted(world):
    if os.geteuid() != 0:
        raise unittest.SkipTest("the workspace belongs to another id")
    with world.session() as session:
        session.connect().run(1, ["true"], ENV)
        os.rmdir(os.path.join(session.tree, "workspace"))
        session.wait_gone(15)  # init looks every ten seconds


def test_idle_init_is_small(world):
    with world.init() as init:
        init.run(1, python("print('x' * 700000)"), ENV)
        init.quiet()
        deadline = time.monotonic() + 30
        while True:  # pages come back at init's next look at things
            with open(f"/proc/{init.session.pid}/smaps_rollup", encoding="ascii") as file:
                private = sum(int(line.split()[1]) for line in file if line.startswith("Private_"))
            if private < 300 or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        assert private < 300, f"{private} KiB private"
