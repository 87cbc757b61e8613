"""Name queries of sessions: each gets its own answer, whatever else comes."""

import json
import subprocess

import wire
from networks import ASKERS, GOT, NAMES, PORTS, Names, network, received
from steps import ENV, probe, python


def test_queries_get_their_own_answers(world):
    places = [("127.0.0.1", 0), ("0.0.0.0", 0), ("127.8.8.8", 0), ("198.18.5.5", 0), ("198.19.1.1", 0)]
    with network(world) as (init, inside):
        inside(ASKERS + """
for i, s in enumerate(askers):
    for j in range(3): s.sendto(b'%d %d' % (i, j), ('127.0.0.1', 53))""", places=places)
        init.until(lambda: len(init.queries) == 15)
        assert len({offset for offset, _ in init.queries}) == 15  # one socket may ask twice
        for offset, datagram in reversed(init.queries):
            init.reply(offset, b"to " + datagram)
        found = inside(GOT)
        for number, got in enumerate(found):
            assert got == [[f"to {number} {j}", list(NAMES)] for j in (2, 1, 0)], (number, got)


def test_answers_that_nothing_waits_for_do_no_harm(world):
    with network(world) as (init, inside):
        inside(ASKERS + "askers[0].sendto(b'q', ('127.0.0.1', 53))", places=[("127.0.0.1", 0), ("127.0.0.1", 0)])
        init.until(lambda: init.queries)
        (offset, _), = init.queries
        other = inside("result = askers[1].getsockname()[1]")
        wrong = [0, (1 << 64) - 1, offset ^ 1, offset ^ (1 << 63), offset ^ (1 << 48),
                 (offset & ~0xFFFF) | other, 0x7F000001 << 16 | other]
        for number in wrong:
            init.reply(number, b"wrong")
        init.reply(offset, b"right")
        for _ in range(200):
            init.reply(offset, b"twice")
        assert inside(GOT) == [[["right", list(NAMES)]], []]
        # The count has not gone wrong: as many wait as ever, and not one more.
        inside("for i in range(200): askers[i % 2].sendto(b'%d' % i, ('127.0.0.1', 53))")
        init.quiet()
        assert len(init.queries) == 1 + wire.QUERIES_MAX, len(init.queries)


def test_queries_wait_for_answers(world):
    with network(world) as (init, inside):
        inside(ASKERS + "for i in range(80): askers[0].sendto(b'%d' % i, ('127.0.0.1', 53))",
               places=[("127.0.0.1", 0)])
        init.quiet()
        assert [data for _, data in init.queries] == [b"%d" % i for i in range(wire.QUERIES_MAX)]
        init.reply(init.queries[5][0])  # no answer, but no longer waited for
        init.until(lambda: len(init.queries) == wire.QUERIES_MAX + 1)
        init.quiet()
        assert len(init.queries) == wire.QUERIES_MAX + 1
        init.reply(init.queries[7][0], bytes(wire.DATAGRAM_MAX + 1))  # too long to be sent
        init.reply(init.queries[8][0], b"x" * wire.DATAGRAM_MAX)
        init.until(lambda: len(init.queries) == wire.QUERIES_MAX + 3)
        got, = inside(GOT)
        assert [len(text) for text, _ in got] == [wire.DATAGRAM_MAX], got
        # Nobody is there any more to take it.
        inside("for s in askers: s.close()")
        for offset, _ in init.queries:
            init.reply(offset, b"late")
        init.until(lambda: len(init.queries) == 80)
        inside.end()
        assert init.run(2, ["true"], ENV)[0][0] == 0


def test_long_and_empty_datagrams_are_dropped(world):
    with network(world) as (init, inside):
        sizes = [0, 1, 4096, 4097, 9000, 60000, 0, 12]
        inside(ASKERS + "for n in sizes: askers[0].sendto(b'x' * n, ('127.0.0.1', 53))",
               places=[("127.0.0.1", 0)], sizes=sizes)
        init.until(lambda: len(init.queries) == 3)
        init.quiet()
        assert [len(data) for _, data in init.queries] == [1, 4096, 12]


def test_programs_resolve_names_and_connect(world):
    script = """
import json, socket, subprocess, time
s = socket.create_connection(('models.example', 443), 10); s.sendall(b'hi')
began = time.monotonic()
try: socket.getaddrinfo('elsewhere.example', 443); refused = False
except socket.gaierror: refused = True
took = time.monotonic() - began
found = subprocess.run(['getent', 'hosts', 'models.example'], capture_output=True, text=True).stdout.split()
print(json.dumps([refused, took, found, socket.gethostbyname('localhost'), s.recv(10).decode()]))
"""
    with world.init(network=1, ports=PORTS) as init:
        init.admit(10)
        init.start(1, python(script), ENV)
        answered = 0
        while not init.find(wire.EXITED):
            init.step()
            for offset, query in init.queries[answered:]:
                init.reply(offset, Names.answer(query))
            answered = len(init.queries)
            for guest in init.guests:
                guest.sendall(b"hello")
                init.guests.remove(guest)
                assert guest.getsockname() == (Names.ADDRESS, 443)
                assert received(guest, 2) == b"hi"
                guest.close()
        init.wait_end()
        refusal, took, found, localhost, text = json.loads(init.output() or init.output(1, wire.STDERR))
        assert refusal and took < 1 * wire.SLOWNESS, took  # at once, not after a time limit
        assert found[0] == Names.ADDRESS and localhost == "127.0.0.1" and text == "hello", (found, localhost, text)


def test_certificates_are_there(world):
    script = """
import json, os, ssl
broken = [name for name in os.listdir('/etc/ssl/certs') if not os.path.exists('/etc/ssl/certs/' + name)]
private = [place for place in ('/etc/ssl/private', '/etc/pki/tls/private/localhost.key') if os.path.exists(place)]
print(json.dumps([ssl.create_default_context().cert_store_stats()['x509_ca'], broken, private,
                  os.path.exists('/etc/ssl/openssl.cnf')]))
"""
    here = json.loads(subprocess.run(
        python(script), check=True, capture_output=True, text=True, env=ENV).stdout)
    assert here[0] > 0, "the host has no certificates"
    for options in ({}, {"network": 1}):
        with world.init(**options) as init:
            count, broken, private, configured = probe(init, script)
            assert count == here[0] and private == [] and configured == here[3], (count, here)
            assert broken == here[1], broken
