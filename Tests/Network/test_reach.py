"""What must work: programs with and without knowledge of a proxy, and every shape of traffic."""

import hashlib
import os

from harness import check, equal, eventually
from servers import pattern

PYTHON = "import sys, {0}; print({1})"
CLIENTS = {
    "curl": "curl -sS --cacert /agent/ca.pem {scheme}://{name}/by-curl",
    "curl over SOCKS": "curl -sS --cacert /agent/ca.pem -x socks5h://127.0.0.1:3128 {scheme}://{name}/by-curl",
    "urllib": """python3 -c 'import urllib.request as u; print(u.urlopen("{scheme}://{name}/by-urllib").read().decode())'""",
    "requests": """python3 -c 'import requests; print(requests.get("{scheme}://{name}/by-requests").text)'""",
    "httpx": """python3 -c 'import httpx, ssl; c = ssl.create_default_context(cafile="/agent/ca.pem"); """
             """print(httpx.get("{scheme}://{name}/by-httpx", verify=c).text)'""",
    "node": """NODE_EXTRA_CA_CERTS=/agent/ca.pem node -e 'fetch("{scheme}://{name}/by-node").then(r => r.text())"""
            """.then(t => console.log(t), e => console.log(String(e.cause || e)))'""",
}
NO_PROXY = "unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy NO_PROXY no_proxy; "


def test_programs(suite):
    """Each with proxy variables and without, in clear and over TLS, and each refused elsewhere."""
    world = suite.main
    session = world.session_of("strict")
    for client, command in CLIENTS.items():
        if client in ("requests", "httpx") and not os.path.exists(os.path.join(suite.programs, "lib", client)):
            suite.skip(f"programs: {client}", "not to be had from PyPI")
            continue
        if client == "node" and not os.path.exists("/usr/bin/node"):
            suite.skip("programs: node", "nodejs is not installed")
            continue
        for scheme in ("http", "https"):
            for before in ("", NO_PROXY) if "SOCKS" not in client else ("",):
                label = f"programs: {client}, {scheme}" + (", without proxy variables" if before else "")
                said = world.sh(session, before + command.format(scheme=scheme, name="www.example"))
                good = "host=www.example uri=/by-" in said
                refused = world.sh(session, before + command.format(scheme=scheme, name="forbidden.example"))
                bad = "host=forbidden.example" in refused
                suite.result(label, None if good and not bad else f"{said!r}; elsewhere: {refused!r}")
    said = world.sh(session, "/agent/client www.example 80 /by-client; /agent/client forbidden.example 80 /by-client")
    check("host=www.example uri=/by-client" in said and "no address for forbidden.example" in said, said)


def test_requests_and_answers(suite):
    """HTTP through the proxy: several hosts on one connection, HEAD, no bodies, large bodies, old clients."""
    world = suite.main
    found = world.call(world.session_of("reach"), "variety", host="www.example", authority="tools.example:80")
    for number, name in enumerate(["www.example", "other.example", "a.good.example", "www.example"]):
        check(f"host={name} uri=/kept{number}" in found[f"kept{number}"], f"kept{number}: {found}")
    check("GET /kept4 HTTP/1.1" in found["kept4"], found["kept4"])
    check("200" in found["head"] and "ontent-" in found["head"], found["head"])
    check(found["nothing"].startswith("HTTP/1.1 204"), found["nothing"])
    check("transfer-encoding" not in found["nothing"].lower(), f"a body after 204: {found['nothing']}")
    check(found["unchanged"].startswith("HTTP/1.1 304"), found["unchanged"])
    check("uri=/x?y=1" in found["options"] and "uri=/last" in found["last"], f"{found['options']} {found['last']}")
    check(found["continue"].startswith("HTTP/1.1 100"), found["continue"])
    check(found["continued"].endswith("5"), found["continued"])
    check("HTTP/1.0 200" in found["old"] or "HTTP/1.1 200" in found["old"], found["old"])
    check("uri=/old" in found["old"] and "chunked" not in found["old"], found["old"])
    check(found["until-end"].endswith("no length, but an end"), found["until-end"])
    check("but an end" in found["until-end-11"] and found["until-end-11"].endswith("0\r\n\r\n"), found["until-end-11"])
    check(found["cut"].endswith("only this"), found["cut"])
    equal(found["chunked"], found["expected"], "a chunked body")
    equal(found["large"], found["expected"], "a large body")


def test_events_come_one_by_one(suite):
    world = suite.main
    for way in ("proxy", "connect", "socks", "itself"):
        times = world.call(world.session_of("reach"), "events", way=way)["times"]
        equal(len(times), 5, f"{way}: events")
        check(times[4] - times[0] > 0.25, f"{way}: all at once: {times}")


def test_change_of_protocol(suite):
    world = suite.main
    for way in ("proxy", "connect", "socks", "itself"):
        found = world.call(world.session_of("reach"), "upgrade", way=way)
        check(found["head"].startswith("HTTP/1.1 101"), f"{way}: {found}")
        equal((found["greeting"], found["back"]), ("hi ", "\x00\xff not HTTP\r\n\r\n"), way)


def test_a_server_that_speaks_first(suite):
    world = suite.main
    for way in ("connect", "socks", "itself"):
        found = world.call(world.session_of("reach"), "first_word", way=way)
        equal(found, {"greeting": "220 mail.example ready\r\n", "answer": "250 EHLO me\r\n"}, way)


def test_words_without_an_end_of_line(suite):
    """What could begin a request reaches a server that answers it, and never becomes one."""
    world = suite.main
    for way in ("connect", "socks"):
        found = world.call(world.session_of("reach"), "single_bytes", way=way)
        equal(found, {"answers": "1GET / HTTP/1.1\r\n", "pieces": ""}, way)


def test_half_close_with_much_before_it(suite):
    """50 MB before each end, nothing cut off, in both directions and both ways."""
    world = suite.main
    size = 50 << 20
    digest = hashlib.sha256()
    for block in pattern(size):
        digest.update(block)
    for way in ("connect", "socks"):
        found = world.call(world.session_of("reach"), "upload", way=way, authority="tools.example:1008", size=size)
        equal(found["said"], found["sent"], f"{way}, up")
        found = world.call(world.session_of("reach"), "download", way=way, authority="tools.example:1009", size=size)
        equal(found, {"total": size, "hash": digest.hexdigest()}, f"{way}, down")


def test_half_close_at_once(suite):
    """A client that ends before it said anything whole, or anything at all: the server hears of it and answers."""
    world = suite.main
    rows = {f"{way} {data!r}": ("half_close", {"way": way, "authority": "tools.example:7", "data": data})
            for way in ("connect", "socks", "itself") for data in ("", "word", "\x01bytes", "GET /", "\x16\x03")}
    for name, found in world.table(world.session_of("reach"), rows).items():
        check("error" not in found, f"{name}: {found}")
        equal(repr(found["said"]), name.split(" ", 1)[1], name)
    # No end of such a connection may be missed: the other side holds none open, and neither does superserved.
    equal(world.call(world.session_of("reach"), "half_close", way="itself", authority="tools.example:1007", data=""), "")
    eventually(lambda: suite.net.held.open == 0, "the server's end")


def test_clients_that_leave_early_cost_nothing(suite):
    world = suite.main
    session = world.session_of("reach")
    for data in ("", "\x05", "\x05\x01\x00\x05\x01", "GET", "GET http://www.example/ HTTP/1.1\r\nHo", "CONNECT www.example:80"):
        before = world.memory()[1]
        world.call(session, "left", count=50, data=data)
        eventually(lambda: world.memory()[1] <= before + 5, f"descriptors after {data!r}", 10)


def test_slow_readers_and_writers(suite):
    world = suite.main
    size = 8 << 20
    digest = hashlib.sha256()
    for block in pattern(size):
        digest.update(block)
    found = world.call(world.session_of("reach"), "download", way="connect", authority="tools.example:1009", size=size,
                       slow=True)
    equal(found, {"total": size, "hash": digest.hexdigest()}, "a slow reader in the session")
    found = world.call(world.session_of("reach"), "upload", way="connect", authority="tools.example:1010", size=size)
    equal(found["said"], f"{size}\n", "a slow reader outside")


def test_resets_come_through(suite):
    world = suite.main
    for way in ("connect", "socks"):
        found = world.call(world.session_of("reach"), "fate", way=way, authority="tools.example:1011")
        equal(found["data"], "and now", way)
        check(found["end"] in ("end", "ConnectionResetError"), str(found))


def test_a_large_file_over_http(suite):
    world = suite.main
    digest = hashlib.sha256()
    for block in pattern(50 << 20):
        digest.update(block)
    for scheme in ("http", "https"):
        said = world.sh(world.session_of("strict"), f"curl -sS {scheme}://www.example/big | sha256sum")
        check(said.startswith(digest.hexdigest()), f"{scheme}: {said}")


def test_both_families(suite):
    """Names with IPv6 addresses only, with both, aliases, and a rule for an address."""
    world = suite.main
    rows = {name: ("get", {"way": way, "authority": f"{name}:80", "token": "family"})
            for name, way in (("six.example", "connect"), ("both.example", "socks"), ("alias.example", "itself"))}
    rows["address"] = ("get", {"way": "connect", "authority": "203.0.113.10:80", "token": "family"})
    rows["echo6"] = ("say", {"way": "connect", "authority": "tools6.example:7", "data": "\x01over six\n"})
    del rows["echo6"]
    for name, found in world.table(world.session_of("reach"), rows).items():
        check("uri=/family" in found["said"], f"{name}: {found}")



