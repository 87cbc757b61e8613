"""What init promises about output and input: complete, in order, exactly once, bounded."""

import contextlib
import hashlib
import os
import random
import signal

import wire
import world as fixtures
from steps import ENV, disconnects, python, refused, shell
from wire import EXITED, STARTED, STDERR, STDOUT, STDOUT_EOF


# --- log ------------------------------------------------------------------------------------------------------

# Numbered lines on both outputs: nothing may be lost, doubled or moved.
LINES = r"""
import os, sys
for i in range(int(sys.argv[1])):
    os.write(1 if i % 3 else 2, b'%d %s\n' % (i, b'x' * (i % 200)))
"""


def expected_lines(count, kind):
    return b"".join(b"%d %s\n" % (i, b"x" * (i % 200)) for i in range(count)
                    if (kind == STDERR) == (i % 3 == 0))


def test_output_is_complete_and_in_order(world):
    with world.init() as init:
        init.start(1, ["python3", "-c", LINES, "5000"], ENV)
        while not (init.find(EXITED) and init.find(STDOUT_EOF) and init.find(wire.STDERR_EOF)):
            init.step()
            init.acknowledge()
        assert init.records[0].type == STARTED
        for kind in (STDOUT, STDERR):
            assert init.output(1, kind) == expected_lines(5000, kind)
        last = max(r.end for r in init.records if r.type in (STDOUT, STDERR))
        assert init.find(EXITED).start >= last
        offset = 0
        for record in init.records:
            assert record.start == offset
            offset = record.end


def test_output_is_exactly_once_over_reconnections(world):
    generator = random.Random(2)
    with world.init() as init:
        session = init.session
        init.start(1, ["python3", "-c", LINES, "20000"], ENV)
        committed, offset = [], 0
        while True:
            # A supervisor that commits, but often dies before it acknowledges, or loses what it got.
            with contextlib.suppress(TimeoutError):
                for _ in range(generator.randrange(1, 12)):
                    init.step(0.05)
            keep = generator.randrange(len(init.records) + 1)
            new = [r for r in init.records[:keep] if r.start >= offset]
            committed += new
            if new:
                assert new[0].start == offset
                offset = new[-1].end
            if generator.random() < 0.7:
                init.acknowledge(offset)
            kinds = {r.type for r in committed}
            if {EXITED, STDOUT_EOF, wire.STDERR_EOF} <= kinds:
                break
            if generator.random() < 0.8:
                init.close()
                init = session.connect()
                assert init.state["LOG_START"] <= offset <= init.state["LOG_END"]
            else:
                init.records = [r for r in init.records if r.end > offset]
        init.records = committed
        for kind in (STDOUT, STDERR):
            assert init.output(1, kind) == expected_lines(20000, kind)


def test_flood_is_held_back_and_then_arrives(world):
    size = 24 << 20
    script = ("import os, hashlib\nh = hashlib.sha256()\n"
              f"for i in range({size} >> 16):\n"
              "  b = hashlib.sha256(b'%d' % i).digest() * 2048\n  h.update(b)\n"
              "  while b: b = b[os.write(1, b):]\n"
              "os.write(2, h.hexdigest().encode())")
    with world.init() as init:
        init.start(1, python(script), ENV)
        init.quiet(0.5)
        held = init.log_end
        assert wire.RING_SIZE - 65536 < held <= wire.RING_SIZE, held
        assert int(fixtures.status_field(init.session.pid, "VmRSS").split()[0]) < 4096
        # Nobody reads at all: the socket's buffer does not matter to what init holds.
        second = init.session.connect()
        second.until(lambda: second.log_end == held)
        digest, records = hashlib.sha256(), 0
        while not (second.find(EXITED) and second.find(STDOUT_EOF) and second.find(wire.STDERR_EOF)):
            for record in second.records[records:]:
                if record.type == STDOUT:
                    digest.update(record.payload)
            second.records = [r for r in second.records if r.type != STDOUT]
            records = len(second.records)
            second.acknowledge()
            second.step()
        for record in second.records[records:]:
            if record.type == STDOUT:
                digest.update(record.payload)
        assert second.output(1, STDERR).decode() == digest.hexdigest()


def test_exit_waits_for_output_and_room(world):
    with world.init() as init:
        # Dead with a full log and a full pipe: the end comes after everything it wrote.
        init.start(1, python("import os,time,signal\nos.set_blocking(1, False)\n"
                             "n = 0; last = time.monotonic()\n"
                             "while time.monotonic() - last < 0.5:\n"
                             "  try: n += os.write(1, b'y' * 4096); last = time.monotonic()\n"
                             "  except BlockingIOError: pass\n"
                             "open('/workspace/n', 'w').write(str(n)); os.kill(os.getpid(), 9)"), ENV)
        init.quiet(1.5)
        assert not init.find(EXITED)
        state = init.session.connect().state
        assert state["RUNNING"] == 1
        init = init.session.connections[-1]
        with refused(wire.EBUSY):
            init.start(2, ["true"])
        while not (init.find(EXITED) and init.find(STDOUT_EOF)):
            init.step()
            init.acknowledge()
        assert init.find(EXITED).start >= max(r.end for r in init.records if r.type == STDOUT)
        _, out, _ = init.run(3, ["cat", "n"], ENV)
        assert int(out) == len(init.output(1))


def test_acknowledgements_that_make_no_sense(world):
    with world.init() as init:
        init.start(1, shell("echo one; read; echo two"), ENV)
        init.until(lambda: init.output() == b"one\n")
        end = init.log_end
        for offset in (end + 1, 1 << 63, (1 << 64) - 1, 5):
            init.acknowledge(offset)
        state = init.session.connect().state
        assert (state["LOG_START"], state["LOG_END"]) == (0, end), state
        init = init.session.connections[-1]
        init.until(lambda: init.log_end == end)
        middle = init.records[0].end + 3
        init.acknowledge(middle)
        init.acknowledge(init.records[0].start)
        state = init.session.connect().state
        assert state["LOG_START"] == init.records[0].end, state


# --- input ----------------------------------------------------------------------------------------------------


def test_input_is_exactly_once_over_reconnections(world):
    generator = random.Random(3)
    data = generator.randbytes(3 << 20)
    script = ("import os,time,hashlib\nh = hashlib.sha256(); n = 0\n"
              "while True:\n  b = os.read(0, 1 << (n % 17))\n  if not b: break\n"
              "  h.update(b); n += 1\n  if n % 50 == 0: time.sleep(0.001)\n"
              "print(h.hexdigest())")
    with world.init() as init:
        session = init.session
        init.start(1, python(script), ENV)
        sent = 0
        while init.accepted < len(data):
            window = min(len(data), init.accepted + wire.INPUT_WINDOW)
            if sent < window:
                size = generator.randrange(1, min(wire.CHUNK_MAX, window - sent) + 1)
                init.input(data[sent:sent + size], sent)
                sent += size
            else:
                init.step()
            if generator.random() < 0.05:
                init.close()
                init = session.connect()
                sent = init.accepted - generator.randrange(min(init.accepted, 5000) + 1)
        init.close_input(len(data))
        result = init.wait_end()
        assert init.output().decode().strip() == hashlib.sha256(data).hexdigest(), result


def test_input_is_accepted_when_it_is_written(world):
    with world.init() as init:
        init.start(1, ["sleep", "1000"], ENV)
        init.wait_record(STARTED)
        init.input(bytes(wire.INPUT_WINDOW), 0)
        init.quiet()
        pipe = init.accepted
        assert 4096 <= pipe <= 65536, pipe
        init.input(bytes(wire.INPUT_WINDOW), pipe - 5000)  # as much as the window allows: fine
        with disconnects():
            init.input(bytes(5001), pipe + wire.INPUT_WINDOW - 5000)  # one byte more: not
            init.quiet()
        init = init.session.connect()
        assert init.accepted == pipe
        # What the agent never read is discarded at its end, and counted.
        init.signal(signal.SIGKILL)
        init.wait_end()
        init.until(lambda: init.accepted > pipe)
        assert init.accepted == pipe + wire.INPUT_WINDOW - 5000, (init.accepted, pipe)


def test_input_gap_is_an_error(world):
    with world.init() as init:
        init.start(1, ["cat"], ENV)
        init.wait_record(STARTED)
        init.input(b"abc", 0)
        init.input(b"xyz", 4)
        failure = init.until(lambda: init.answers.pop(0, None))
        assert failure.type == wire.FAILED
        init.input(b"bcd", 1)
        init.close_input(4)
        init.wait_end()
        assert init.output() == b"abcd" and init.accepted == 4


def test_input_for_nobody_is_discarded(world):
    with world.init() as init:
        init.input(b"nobody", 0)
        init.until(lambda: init.accepted == 6)
        _, out, _ = init.run(1, ["cat"], ENV)
        assert out == b""
        init.start(2, shell("exec <&-; echo closed; sleep 1000"), ENV)
        init.until(lambda: init.output(2) == b"closed\n")
        init.input(bytes(100000), 6)
        init.until(lambda: init.accepted == 100006)
        init.signal(9, 2)
        init.wait_end(2)
        init.start(3, ["no-such-program"])
        init.input(b"late", 100006)
        init.start_failure(3)
        init.until(lambda: init.accepted == 100010)
        init.start(4, ["cat"], ENV)
        init.input(b"again", 100010)
        init.close_input(100015)
        init.wait_end(4)
        assert init.output(4) == b"again"


def test_end_of_input_waits_for_its_bytes(world):
    with world.init() as init:
        init.start(1, ["cat"], ENV)
        init.close_input(6)  # announced before the bytes come
        init.input(b"abc", 0)
        init.until(lambda: init.output() == b"abc")
        init.input(b"defghi", 3)  # more than announced: not for this agent
        init.wait_end()
        assert init.output() == b"abcdef"
        init.until(lambda: init.accepted == 9)
        init.start(2, ["cat"], ENV)  # with an open stdin again
        init.input(b"j", 9)
        init.until(lambda: init.output(2) == b"j")


# --- what agents leave behind ---------------------------------------------------------------------------------


def test_children_keep_talking_after_the_agent(world):
    with world.init() as init:
        init.start(1, shell("(while ! [ -e go ]; do sleep 0.02; done; echo late) & echo early"), ENV)
        init.wait_exit()
        assert init.output() == b"early\n" and not init.find(STDOUT_EOF)
        _, out, _ = init.run(2, shell("touch go; echo second"), ENV)
        assert out == b"second\n"
        init.until(lambda: init.find(STDOUT_EOF) and init.find(wire.STDERR_EOF))
        assert init.output() == b"early\nlate\n"


def test_left_over_outputs_are_bounded(world):
    with world.init() as init:
        for generation in range(1, 26):
            init.start(generation, shell("sleep 1000 & exit 0"), ENV)
            init.wait_exit(generation)
        init.until(lambda: init.find(STDOUT_EOF, 8))
        assert not init.find(STDOUT_EOF, 9) and not init.find(STDOUT_EOF, 25)
        if os.geteuid() == 0:  # nobody else may look
            assert len(os.listdir(f"/proc/{init.session.pid}/fd")) < 60
