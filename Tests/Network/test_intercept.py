"""Clients that insist on https:// and the real name: an authority of the session, for the names of its keys only."""

import os

from harness import check, equal, eventually
from secrets_world import new_key, origin, set_key, started

URL = "https://caught.example:8444/v1"
CLIENTS = {
    "curl": f'curl -sS -m 60 -H "Authorization: Bearer $CAUGHT_KEY" {URL}/PATH',
    "curl over SOCKS": f'curl -sS -m 60 -x socks5h://127.0.0.1:3128 -H "Authorization: Bearer $CAUGHT_KEY" {URL}/PATH',
    "urllib": f"""python3 -c 'import os, urllib.request as u; print(u.urlopen(u.Request("{URL}/PATH", """
              """headers={"Authorization": "Bearer " + os.environ["CAUGHT_KEY"]})).read().decode())'""",
    "requests": f"""python3 -c 'import os, requests; print(requests.get("{URL}/PATH", """
                """headers={"Authorization": "Bearer " + os.environ["CAUGHT_KEY"]}).text)'""",
    "httpx": f"""python3 -c 'import os, httpx; print(httpx.get("{URL}/PATH", """
             """headers={"Authorization": "Bearer " + os.environ["CAUGHT_KEY"]}).text)'""",
    "node": f"""node -e 'fetch("{URL}/PATH", {{headers: {{Authorization: "Bearer " + process.env.CAUGHT_KEY}}}})"""
            """.then(r => r.text()).then(t => console.log(t), e => console.log(String(e.cause || e)))'""",
}
NO_PROXY = "unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy NO_PROXY no_proxy; "
ISSUER = """python3 -c '
import socket, ssl, sys
c = ssl.create_default_context(); c.load_verify_locations("/agent/ca.pem")
s = socket.create_connection(("127.0.0.1", 3128))
s.sendall(b"CONNECT %s HTTP/1.1\\r\\nHost: %s\\r\\n\\r\\n" % (sys.argv[1].encode(), sys.argv[1].encode()))
d = b""
while b"\\r\\n\\r\\n" not in d: d += s.recv(1)
t = c.wrap_socket(s, server_hostname=sys.argv[1].split(":")[0])
print(dict(x[0] for x in t.getpeercert()["issuer"]))' """


def test_programs(suite):
    """Each with proxy variables and without; trust comes with the session."""
    with started(suite) as (world, values):
        session = world.create("caught")
        for number, (client, command) in enumerate(CLIENTS.items()):
            if client in ("requests", "httpx") and not os.path.exists(os.path.join(suite.programs, "lib", client)):
                suite.skip(f"intercept: {client}", "not to be had from PyPI")
                continue
            if client == "node" and not os.path.exists("/usr/bin/node"):
                suite.skip("intercept: node", "nodejs is not installed")
                continue
            for before in ("", NO_PROXY) if "SOCKS" not in client else ("",):
                path = f"caught{number}{'t' if before else ''}"
                said = world.sh(session, before + command.replace("PATH", path))
                label = f"intercept: {client}" + (", without proxy variables" if before else "")
                good = origin(suite).keys(f"/v1/{path}") == [f"Bearer {values['CAUGHT_KEY']}"]
                clean = values["CAUGHT_KEY"] not in said and "sk-superserve-" in said
                suite.result(label, None if good and clean else f"{said!r}, {origin(suite).keys(f'/v1/{path}')}")
        newer = new_key()
        set_key(world, "caught", "CAUGHT_KEY", newer)
        world.kill()
        world.start()
        said = world.sh(session, CLIENTS["curl"].replace("PATH", "restarted"))
        equal(origin(suite).keys("/v1/restarted"), [f"Bearer {newer}"], f"after a restart: {said}")
        world.check_alive()


def test_only_what_is_bound(suite):
    """Other hosts, other paths and requests without the stand-in get no key; other hosts are never opened."""
    with started(suite) as (world, values):
        real = values["CAUGHT_KEY"]
        session = world.create("caught")
        bearer = '-H "Authorization: Bearer $CAUGHT_KEY"'
        for name, command in {
                "another path": f"curl -sS {bearer} https://caught.example:8444/v2/out1",
                "no stand-in": "curl -sS https://caught.example:8444/v1/out2",
                "dots": f"curl -sS --path-as-is {bearer} https://caught.example:8444/v1/../out3"}.items():
            said = world.sh(session, command)
            check("is not allowed" in said, f"{name}: the session's own policy: {said}")
        said = world.sh(session, f"curl -sSk {bearer} https://www.example/out4; "
                                 f"curl -sSk {bearer} https://caught.example/out5")
        check("host=" not in said and "GET" not in said, said)
        suite.net.settle()
        check(not origin(suite).has("/out") and not suite.net.reached("out4"), "something arrived")
        with world.session("both") as other:
            for path, with_key in (("/v1/in6", True), ("/v2/out7", False)):
                said = world.sh(other, f"curl -sS {bearer} https://caught.example:8444{path}")
                check(f"GET {path} " in said, f"the policy allows it: {said}")
                found = origin(suite).keys(path)
                equal(found == [f"Bearer {real}"], with_key, f"{path}: {found}")
            said = world.sh(other, "curl -sS https://caught.example:8444/v1/out8")
            equal(origin(suite).keys("/v1/out8"), [None], f"without a key as it came: {said}")
            said = world.sh(other, ISSUER + "www.example:443")
            check("authority of the test" in said, f"another host is not opened: {said}")
            own = ISSUER.replace('c.load_verify_locations("/agent/ca.pem")', "pass")
            said = world.sh(other, own + "caught.example:8444")
            check("superserve session" in said, f"the control: {said}")
            inner = world.sh(session, "cat $SSL_CERT_FILE | tail -n 20")
            outer = world.sh(other, "cat $SSL_CERT_FILE | tail -n 20")
            check("BEGIN CERTIFICATE" in inner and inner != outer, "each session has an authority of its own")
        world.check_alive()


HOSTILE = """python3 - <<'EOF'
import os, random, socket, ssl
random.seed(SEED)
key = os.environ["CAUGHT_KEY"].encode()
context = ssl.create_default_context()
name = "caught.example"

def opened():
    way = random.choice(("connect", "socks", "itself"))
    if way == "itself":
        return socket.create_connection((name, 8444), 5)
    s = socket.create_connection(("127.0.0.1", 3128), 5)
    if way == "connect":
        eager = random.random() < 0.3
        s.sendall(b"CONNECT caught.example:8444 HTTP/1.1\\r\\nHost: caught.example:8444\\r\\n\\r\\n"
                  + (os.urandom(random.randint(1, 300)) if eager else b""))
        d = b""
        while b"\\r\\n\\r\\n" not in d: d += s.recv(1) or b"\\r\\n\\r\\n"
    else:
        s.sendall(b"\\x05\\x01\\x00\\x05\\x01\\x00\\x03\\x0e" + name.encode() + (8444).to_bytes(2, "big"))
    return s

request = b"POST /v1/x HTTP/1.1\\r\\nHost: caught.example:8444\\r\\nAuthorization: Bearer " + key + b"\\r\\n"
bodies = [b"Content-Length: 5\\r\\n\\r\\nhello",
          b"Transfer-Encoding: chunked\\r\\n\\r\\n5\\r\\nhello\\r\\n0\\r\\n\\r\\n",
          b"Content-Length: 900\\r\\n\\r\\nshort", b"Content-Length: 1\\r\\nContent-Length: 2\\r\\n\\r\\nab",
          b"Transfer-Encoding: gzip\\r\\n\\r\\nzz", b"Upgrade: echo\\r\\nConnection: upgrade\\r\\n\\r\\nearly",
          b"Range: bytes=0-1\\r\\n\\r\\n", b"X: " + b"y" * 90000 + b"\\r\\n\\r\\n", b"\\r\\n" + request + b"\\r\\n"]
for number in range(COUNT):
    try:
        with opened() as s:
            s.settimeout(0.3)
            kind = random.randrange(4)
            if kind == 0:
                s.sendall(os.urandom(random.randint(1, 2000)))
            elif kind == 1:
                s.sendall(b"\\x16\\x03\\x01\\x02\\x00\\x01\\x00\\x01\\xfc\\x03\\x03"
                          + os.urandom(random.randint(0, 600)))
            elif kind == 2:
                s.sendall(request + random.choice(bodies))
            else:
                s.settimeout(5)
                with context.wrap_socket(s, server_hostname=name) as t:
                    if random.random() < 0.5:
                        t.sendall(request + bodies[0])
                        t.recv(1000)
                    t.settimeout(0.3)
                    for _ in range(random.randint(1, 3)):
                        t.sendall(random.choice((request + random.choice(bodies), os.urandom(500),
                                                 b"CONNECT a:1 HTTP/1.1\\r\\n\\r\\n")))
                    if random.random() < 0.5: t.recv(1000)
            if random.random() < 0.3: s.shutdown(random.choice((1, 2)))
            if random.random() < 0.5: s.recv(1000)
    except OSError:
        pass
print("done")
EOF"""


def test_hostile_clients(suite):
    """Random bytes, hellos and requests, cut anywhere, by each way: the supervisor stays, and so does its memory."""
    with started(suite) as (world, values):
        session = world.create("caught")
        world.sh(session, CLIENTS["curl"].replace("PATH", "before"))
        before = world.memory()
        count = 4000 if suite.long else 400
        said = world.sh(session, HOSTILE.replace("SEED", "20261123").replace("COUNT", str(count)))
        check(said.strip().endswith("done"), said[-500:])
        keys = origin(suite).keys("/v1/x")
        check(len(keys) >= count // 20 and set(keys) == {f"Bearer {values['CAUGHT_KEY']}"},
              f"good ones arrive: {len(keys)} of them, {keys[:3]}")
        world.check_alive()
        said = world.sh(session, CLIENTS["curl"].replace("PATH", "after-all"))
        equal(origin(suite).keys("/v1/after-all"), [f"Bearer {values['CAUGHT_KEY']}"], said)
        eventually(lambda: world.memory()[1] < before[1] + 20, f"descriptors go back to {before[1]}", 30)
        grown = world.memory()[0] - before[0]
        print(f"     {count} connections, {len(keys)} requests; memory grew by {grown >> 10} KiB")
        check(grown < 60 << 20, f"memory grew by {grown >> 20} MiB")
