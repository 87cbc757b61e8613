"""Keys that never enter the sandbox: what the gateway sends where, and that nothing of a key is left inside."""

import contextlib
import fcntl
import hashlib
import json
import os
import pty
import re
import subprocess
import termios

import harness
import secrets_world
import servers
from harness import check, equal
from secrets_world import new_key, origin, set_key, started

CURL = 'curl -sS -m 100 -H "Authorization: Bearer $OPENAI_API_KEY" '
CLIENTS = {
    "curl": CURL + "$OPENAI_BASE_URL/by-curl",
    "urllib": """python3 -c 'import os, urllib.request as u; print(u.urlopen(u.Request("""
              """os.environ["OPENAI_BASE_URL"] + "/by-urllib", """
              """headers={"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]})).read().decode())'""",
    "requests": """python3 -c 'import os, requests; print(requests.get("""
                """os.environ["OPENAI_BASE_URL"] + "/by-requests", """
                """headers={"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}).text)'""",
    "httpx": """python3 -c 'import os, httpx; print(httpx.get(os.environ["OPENAI_BASE_URL"] + "/by-httpx", """
             """headers={"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}).text)'""",
    "node": """node -e 'fetch(process.env.OPENAI_BASE_URL + "/by-node", {headers: {Authorization: "Bearer " + """
            """process.env.OPENAI_API_KEY}}).then(r => r.text()).then(t => console.log(t), """
            """e => console.log(String(e.cause || e)))'""",
}


def error_of(said):
    """The code of the gateway's answer."""
    try:
        return json.loads(said)["error"]["code"]
    except (ValueError, KeyError):
        raise harness.Failure(f"no answer of the gateway: {said[:500]!r}") from None


def test_key_arrives_and_only_there(suite):
    with started(suite) as (world, values):
        session = world.create("keyed")
        real = values["OPENAI_API_KEY"]
        for client, command in CLIENTS.items():
            if client in ("requests", "httpx") and not os.path.exists(os.path.join(suite.programs, "lib", client)):
                suite.skip(f"secrets: {client}", "not to be had from PyPI")
                continue
            if client == "node" and not os.path.exists("/usr/bin/node"):
                suite.skip("secrets: node", "nodejs is not installed")
                continue
            said = world.sh(session, command)
            equal(origin(suite).keys(f"/v1/by-{client}"), [f"Bearer {real}"], f"{client}: {said}")
            check(f"GET /v1/by-{client} HTTP/1.1" in said and real not in said, f"{client}: {said}")
            check("sk-superserve-" in said, f"{client}: the stand-in in the key's place: {said}")
        said = world.sh(session, 'curl -sS -m 100 -H "X-Key: $OTHER_KEY" $OTHER_BASE/by-other')
        equal(origin(suite).keys("/other/by-other"), [values["OTHER_KEY"]], said)
        said = world.sh(session, CURL.replace("OPENAI_API_KEY", "LOCAL_KEY") + "$LOCAL_BASE/by-local")
        equal(origin(suite).keys("/v1/by-local"), [f"Bearer {values['LOCAL_KEY']}"], said)
        record = world.wait_record(session, "the request", kind="request", path="/v1/by-curl")
        equal((record["secret"], record["host"], record["port"], record["status"], record["verdict"]),
              ("OPENAI_API_KEY", "api.example", 8444, 200, "allowed"))
        world.check_alive()


def test_what_gets_no_key(suite):
    """Each with the code of the answer, and nothing arrives."""
    with started(suite) as (world, values):
        session = world.create("keyed")
        key = 'curl -sS -m 100 --path-as-is -H "Authorization: Bearer '
        rows = {
            "another path": (key + '$OPENAI_API_KEY" $OPENAI_BASE_URL/../other/nokey1', "bad_path"),
            "an encoded one": (key + '$OPENAI_API_KEY" $OPENAI_BASE_URL/%2e%2e/other/nokey2', "bad_path"),
            "an encoded slash": (key + '$OPENAI_API_KEY" $OPENAI_BASE_URL/..%2fother/nokey3', "bad_path"),
            "encoded twice": (key + '$OPENAI_API_KEY" $OPENAI_BASE_URL/%252e%252e/nokey4', "bad_path"),
            "no stand-in": ("curl -sS -m 100 $OPENAI_BASE_URL/nokey5", "stand_in_missing"),
            "another one's": (key + '$OTHER_KEY" $OPENAI_BASE_URL/nokey6', "stand_in_missing"),
            "part of it": (key + '${OPENAI_API_KEY%%?}" $OPENAI_BASE_URL/nokey7', "stand_in_missing"),
            "no such secret": (key + '$OPENAI_API_KEY" http://127.0.0.1:3128/NOBODY/nokey8', "unknown_secret"),
            "not set": (key + '$UNSET_KEY" $UNSET_BASE/nokey9', "secret_not_set"),
            "self-signed": (key + '$SELF_KEY" $SELF_BASE/nokey10', "bad_certificate"),
            "wrong name": (key + '$WRONG_KEY" $WRONG_BASE/nokey11', "bad_certificate"),
            "in clear": (key + '$CLEAR_KEY" $CLEAR_BASE/nokey12', "policy"),
            "a private address": (key + '$INWARD_KEY" $INWARD_BASE/nokey13', "policy"),
            "TRACE": (key + '$OPENAI_API_KEY" -X TRACE $OPENAI_BASE_URL/nokey14', "bad_method"),
        }
        for name, (command, code) in rows.items():
            said = world.sh(session, command)
            equal(error_of(said), code, f"{name}: {said}")
        # A secret opens nothing for the session itself.
        for way in ("-x http://127.0.0.1:3128 --noproxy x", "--noproxy '*'"):
            said = world.sh(session, f"curl -sSk -m 20 {way} https://api.example:8444/nokey15")
            check("GET" not in said, f"{way}: {said}")
        said = world.sh(session, CURL + "$OPENAI_BASE_URL/packed")
        equal(error_of(said), "coded_answer", said)
        suite.net.settle()
        check(not origin(suite).has("nokey"), f"a request arrived: {origin(suite).heads[-1]}")
        said = world.sh(session, CURL + "-i $OPENAI_BASE_URL/away")
        check("302" in said and "Location: https://evil.example:8444/" in said, f"a redirect is passed on: {said}")
        with world.session("keyed") as other:
            mine = world.sh(session, "echo $OPENAI_API_KEY").strip()
            said = world.sh(other, f'curl -sS -H "Authorization: Bearer {mine}" $OPENAI_BASE_URL/nokey16')
            equal(error_of(said), "stand_in_missing", "another session's stand-in")
        world.cli("sessions", "network", session["id"], "deny", "api.example:8444")
        equal(error_of(world.sh(session, CURL + "$OPENAI_BASE_URL/nokey17")), "policy", "denied for this session")
        check(not origin(suite).has("nokey"), "a request arrived")
        world.check_alive()


STREAM = """python3 -c '
import json, os, time, urllib.request as u
h = {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
r = u.urlopen(u.Request(os.environ["OPENAI_BASE_URL"] + "/events", headers=h))
lines = [(time.monotonic(), l.decode()) for l in r if l.strip()]
print(json.dumps(lines))'"""
UPGRADE = """python3 -c '
import os, socket
s = socket.create_connection(("127.0.0.1", 3128))
s.sendall(("GET /OPENAI_API_KEY/upgrade HTTP/1.1\\r\\nHost: 127.0.0.1:3128\\r\\n"
           "Connection: Upgrade\\r\\nUpgrade: echo\\r\\n"
           "Authorization: Bearer " + os.environ["OPENAI_API_KEY"] + "\\r\\n\\r\\n").encode())
d = b""
while b"hi " not in d: d += s.recv(999)
for n in range(50):
    s.sendall(b"x" * 1000)
    got = 0
    while got < 1000: got += len(s.recv(1000 - got))
s.shutdown(1)
print(d.split(b"\\r\\n")[0].decode(), "echoed", len(s.recv(9)))'"""
KEPT = """python3 -c '
import http.client, os
c = http.client.HTTPConnection("127.0.0.1", 3128)
n = 0
for i in range(30):
    h = {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
    b = b"y" * i * 100 if i % 2 else None
    c.request("POST" if b else "GET", "/OPENAI_API_KEY/kept%d" % i, body=b, headers=h)
    r = c.getresponse(); b = r.read(); n += r.status == 200 and ("/v1/kept%d " % i).encode() in b
print(n)'"""


def test_every_shape(suite):
    """Events one by one, a change of protocol, kept connections, 100 MB both ways, an answer that is cut."""
    with started(suite) as (world, values):
        session = world.create("keyed")
        real = values["OPENAI_API_KEY"]
        lines = json.loads(world.sh(session, STREAM).strip().splitlines()[-1])
        texts = [text for _, text in lines]
        check(texts[0] == "data: 0\n" and texts[-1] == "data: 4\n" and len(texts) == 3, f"{texts}")
        check(real not in "".join(texts) and "sk-superserve-" in texts[1], f"the key in pieces: {texts}")
        check(lines[-1][0] - lines[0][0] > 0.4, f"all at once: {lines}")
        said = world.sh(session, UPGRADE)
        check("101" in said and "echoed 0" in said, said)
        equal(origin(suite).keys("/v1/upgrade"), [f"Bearer {real}"])
        equal(world.sh(session, KEPT).strip(), "30", "requests on one connection")
        size = 100 << 20
        script = (f"head -c {size} /dev/urandom >big; sha256sum big | cut -c1-64; " + CURL
                  + "-H Expect:100-continue -T big $OPENAI_BASE_URL/sink; rm big")
        before = world.memory()[0]
        digest, said = world.sh(session, script).strip().splitlines()[-2:]
        equal(said, f"{size} {digest}", "100 MB sent")
        said = world.sh(session, CURL + f'"$OPENAI_BASE_URL/big?{size}" | sha256sum')
        expected = hashlib.sha256()
        for block in servers.pattern(size):
            expected.update(block)
        equal(said.split()[0], expected.hexdigest(), "100 MB received")
        grown = world.memory()[0] - before
        print(f"     memory grew by {grown >> 10} KiB over 200 MB")
        check(grown < 60 << 20, f"memory grew by {grown >> 20} MiB")
        said = world.sh(session, CURL + "$OPENAI_BASE_URL/cut")
        check("not all of it" in said and "curl: (18)" in said, f"an answer that is cut is one: {said}")
        world.check_alive()


def test_rotation_and_deletion(suite):
    """From the next request on, in the session that runs; and the same stand-in after a restart."""
    with started(suite) as (world, values):
        session = world.create("keyed")
        check("200" in world.sh(session, CURL + "-o /dev/null -w '%{http_code}' $OPENAI_BASE_URL/one"), "before")
        stand_in = world.sh(session, "echo $OPENAI_API_KEY")
        newer = new_key()
        set_key(world, "keyed", "OPENAI_API_KEY", newer)
        world.sh(session, CURL + "$OPENAI_BASE_URL/two")
        equal(origin(suite).keys("/v1/two"), [f"Bearer {newer}"], "the new value")
        world.kill()
        world.start()
        world.sh(session, CURL + "$OPENAI_BASE_URL/three")
        equal(origin(suite).keys("/v1/three"), [f"Bearer {newer}"], "after a restart")
        equal(world.sh(session, "echo $OPENAI_API_KEY"), stand_in, "the stand-in after a restart")
        done = world.cli("secrets", "delete", "keyed", "OPENAI_API_KEY")
        equal(done.returncode, 0, done.stderr)
        equal(error_of(world.sh(session, CURL + "$OPENAI_BASE_URL/four")), "secret_not_set")
        equal(origin(suite).keys("/v1/four"), [])


def test_another_url_withholds(suite):
    """Who changes an agent's file cannot have its key sent elsewhere."""
    with started(suite) as (world, values):
        old = world.create("keyed")
        world.agent("keyed", secrets_world.KEYED.replace(
            "https://api.example:8444/v1\"}\n  OTHER", "https://evil.example:8444/v1\"}\n  OTHER"))
        new = world.create("keyed")
        said = world.sh(new, CURL + "$OPENAI_BASE_URL/stolen")
        equal(error_of(said), "secret_withheld", said)
        check("set it again" in said and values["OPENAI_API_KEY"] not in said, said)
        check(not origin(suite).has("stolen"), "it was sent")
        shown = world.cli("secrets", "list", "keyed").stdout
        check("withheld" in shown, shown)
        world.sh(old, CURL + "$OPENAI_BASE_URL/kept-version")
        equal(origin(suite).keys("/v1/kept-version"), [f"Bearer {values['OPENAI_API_KEY']}"], "the old version")
        set_key(world, "keyed", "OPENAI_API_KEY", new_key())
        equal(error_of(world.sh(old, CURL + "$OPENAI_BASE_URL/stolen")), "secret_withheld", "the old version now")


def test_command_line(suite):
    """Never an argument; nothing shows a value; mistakes say what to do."""
    with started(suite) as (world, values):
        shown = world.cli("secrets", "list", "keyed").stdout
        check("OPENAI_API_KEY" in shown and "https://api.example:8444/v1" in shown and "not set" in shown, shown)
        check(re.search(r"PLAIN_KEY +set +PLAIN", shown), shown)
        as_json = world.cli("secrets", "list", "keyed", "--json").stdout
        for value in values.values():
            check(value not in shown + as_json + world.read_log(), "a value is shown")
        rows = [
            (("set", "nobody", "K"), "sk-0123456789\n", "No agent named"),
            (("set", "keyed", "NOPE"), "sk-0123456789\n", "no secret"),
            (("set", "keyed", "OTHER_KEY"), "", "empty"), (("set", "keyed", "OTHER_KEY"), "short\n", "8 to 16384"),
            (("set", "keyed", "OTHER_KEY"), "a-key-with\nlines\n", "one line"),
            (("set", "keyed", "OTHER_KEY"), "x" * 16385 + "\n", "longer than"),
            (("delete", "keyed", "UNSET_KEY"), "", "no value"), (("delete", "keyed", "NOPE"), "", "no secret"),
        ]
        for words, given, part in rows:
            done = world.cli("secrets", *words, input=given)
            check(done.returncode == 1 and part in done.stderr, f"{words}: {done}")
        equal(world.cli("secrets", "set", "keyed", "OTHER_KEY", "sk-on-the-command-line").returncode, 64)
        equal(world.get("/v1/agents/keyed/secrets/OTHER_KEY").status, 404, "there is no way to read one")


def test_prompt_shows_nothing(suite):
    """On a terminal the value is asked for without echo, and the echo is back afterwards, whatever ends the command."""
    with started(suite) as (world, _):
        for ends_by in ("enter", "interrupt"):
            value = new_key()
            leader, follower = pty.openpty()
            process = subprocess.Popen(
                [f"{harness.BIN}/superserve", "secrets", "set", "keyed", "UNSET_KEY"], stdin=follower, stdout=follower,
                stderr=follower, env=world.environment(), cwd=world.dir, start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), **world.demoted())

            def echoes():
                return termios.tcgetattr(follower)[3] & termios.ECHO
            check(echoes(), "the terminal echoes before")
            harness.eventually(lambda: not echoes(), "the echo is off")
            said = b""
            while b"Value of UNSET_KEY: " not in said:
                said += os.read(leader, 1000)
            os.write(leader, value.encode() + (b"\n" if ends_by == "enter" else b"\x03"))
            status = process.wait(30 * harness.SLOWNESS)
            check(echoes(), f"{ends_by}: the terminal echoes again")
            os.set_blocking(leader, False)
            with contextlib.suppress(BlockingIOError):
                said += os.read(leader, 65536)
            check(value.encode() not in said, f"the value is shown: {said}")
            equal(status == 0, ends_by == "enter", f"{ends_by}: {said}")
            os.close(leader)
            os.close(follower)
        state = json.loads(world.cli("secrets", "list", "keyed", "--json").stdout)["secrets"]
        equal({s["name"]: s["state"] for s in state}["UNSET_KEY"], "set")


def test_key_file(suite):
    """A file that others can read is refused, a lost one makes each key unreadable, and neither ends the supervisor."""
    with started(suite) as (world, values):
        path = os.path.join(world.state, "secrets.key")
        status = os.stat(path)
        equal((status.st_mode & 0o7777, status.st_size), (0o600, 32))
        session = world.create("keyed")
        world.sh(session, "true")
        world.kill()
        os.chmod(path, 0o644)
        world.start()
        done = world.cli("secrets", "set", "keyed", "OTHER_KEY", input=new_key())
        check(done.returncode == 1 and "mode 644" in done.stderr, done.stderr)
        events = world.say(session, "true")
        check(events[-1]["type"] == "run.failed" and "mode 644" in str(events[-1]), str(events[-1]))
        world.kill()
        os.unlink(path)
        world.start()
        with world.session("keyed") as other:
            said = world.sh(other, CURL + "$OPENAI_BASE_URL/nokey20")
            equal(error_of(said), "secret_unreadable", said)
        check("unreadable" in world.cli("secrets", "list", "keyed").stdout, "the list")
        set_key(world, "keyed", "OPENAI_API_KEY", new_key())
        with world.session("keyed") as other:
            check("200 OK" in world.sh(other, CURL + "-i $OPENAI_BASE_URL/again"), "set again")
        world.check_alive()


def test_key_from_the_service_manager(suite):
    """As systemd hands it over: no file is made, one of another size stops the start with a reason."""
    with started(suite) as (world, values):
        world.kill()
        os.unlink(os.path.join(world.state, "secrets.key"))
        directory = os.path.join(world.dir, "credentials")
        os.mkdir(directory, 0o755)
        own = world.environment
        world.environment = lambda fault=None: {**own(fault), "CREDENTIALS_DIRECTORY": directory}
        credential = world.write(os.path.join(directory, "superserve-secrets.key"), "k" * 32, 0o600)
        world.start()
        check("unreadable" in world.cli("secrets", "list", "keyed").stdout, "sealed with another key")
        set_key(world, "keyed", "OPENAI_API_KEY", values["OPENAI_API_KEY"])
        with world.session("keyed") as session:
            world.sh(session, CURL + "$OPENAI_BASE_URL/by-credential")
        equal(origin(suite).keys("/v1/by-credential"), [f"Bearer {values['OPENAI_API_KEY']}"])
        check(not os.path.exists(os.path.join(world.state, "secrets.key")), "a file was made")
        world.kill()
        world.write(credential, "k" * 31, 0o600)
        try:
            world.start()
        except harness.Failure as error:
            check("31 bytes" in str(error), str(error))
        else:
            raise harness.Failure("it starts with a credential of 31 bytes")


# The proof

def files_with(needles, directory):
    """(file, needle) for each regular file below that has one."""
    found = []
    for path, _, files in os.walk(directory):
        for name in files:
            with contextlib.suppress(OSError), open(os.path.join(path, name), "rb") as file:
                data = file.read()
                found += [(os.path.join(path, name), needle) for needle in needles if needle.encode() in data]
    return found


def processes_of(namespace):
    """Host pids in this pid namespace."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and os.readlink(f"/proc/{name}/ns/pid") == namespace:
                found.append(int(name))
    return found


def memory_with(needles, pid):
    """Needles that are in the memory of a process, and bytes that were looked through."""
    found, seen = set(), 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            if "r" not in line.split()[1] or "[v" in line:
                continue
            with contextlib.suppress(OSError, ValueError, OverflowError):
                memory.seek(start)
                data = memory.read(end - start)
                seen += len(data)
                found |= {needle for needle in needles if needle.encode() in data}
    return found, seen


def test_no_trace_of_a_key(suite):
    """The search as root on the host, through all that is the session's and the supervisor's; a plain secret is found
    by the same search."""
    with started(suite) as (world, values):
        session = world.create("keyed")
        for name, base in (("OPENAI_API_KEY", "OPENAI_BASE_URL"), ("SELF_KEY", "SELF_BASE")):
            world.sh(session, CURL.replace("OPENAI_API_KEY", name) + f"${base}/proof; env >env-{name}")
        marker = f"3{os.getpid()}.25"
        world.sh(session, f'sh -c \'{CURL} -i "$OPENAI_BASE_URL/proof" >said; cat said; exec sleep {marker}\' '
                          '</dev/null & '
                          "while [ ! -s said ]; do sleep 0.1; done; sleep 0.5")
        pids = [pid for pid in harness.children_named(marker)
                if os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid")]
        check(pids, "the process of the session is not found")
        family = processes_of(os.readlink(f"/proc/{pids[0]}/ns/pid"))
        check(len(family) >= 2, f"init and the agent's process: {family}")
        real, plain = values["OPENAI_API_KEY"], values["PLAIN_KEY"]
        stand_in = world.sh(session, "echo $OPENAI_API_KEY").strip()
        gone = [value for name, value in values.items() if name != "PLAIN_KEY"]
        needles = gone + [plain, stand_in]

        seen, in_memory, in_environment = 0, set(), set()
        for pid in family:
            hits, size = memory_with(needles, pid)
            in_memory |= hits
            seen += size
            with open(f"/proc/{pid}/environ", "rb") as file:
                data = file.read()
                in_environment |= {needle for needle in needles if needle.encode() in data}
        check(plain in in_memory and stand_in in in_memory, "the control: the search finds what is there")
        check(plain in in_environment and stand_in in in_environment, "the control in the environment")
        equal(in_memory & set(gone), set(), "memory of the session's processes")
        equal(in_environment & set(gone), set(), "environments of the session's processes")
        in_tree = files_with(needles, world.tree(session))
        check(any(needle == plain for _, needle in in_tree), "the control: `env >file` has the plain one")
        equal([hit for hit in in_tree if hit[1] in gone], [], "files of the session")
        print(f"     {len(family)} processes, {seen >> 10} KiB of memory")

        transcript = world.get(f"/v1/sessions/{session['id']}/messages").body.decode()
        records = world.get(f"/v1/sessions/{session['id']}/network?limit=1000").body.decode()
        # With what the kernel and SQLite have not written yet: the files as they are while it runs.
        everywhere = files_with(gone, world.state) + files_with(gone, world.runtime)
        equal([path for path, _ in everywhere], [], "state and runtime directory, database and its log among them")
        for value in gone:
            check(value not in transcript and value not in records, "transcript or record")
        check(not any(value in world.read_log() for value in gone + [plain]), "the supervisor's log")
        check(os.path.exists(os.path.join(world.state, "superserve.sqlite-wal")), "the database's log is searched too")
        # The control of the search through the state: the name of a key is found.
        check(files_with(["OPENAI_API_KEY"], world.state), "the control: the search finds what is in the database")
        check_no_core(world, real)


def check_no_core(world, real):
    """The supervisor's memory is for nobody of its own rights, and it leaves no core; root can read any memory."""
    pid = world.process.pid
    with open(f"/proc/{pid}/limits") as file:
        line = next(line for line in file if line.startswith("Max core file size"))
    equal(line.split()[4:6], ["1", "1"], line)
    with open(f"/proc/{pid}/status") as file:
        uid = int(next(line for line in file if line.startswith("Uid:")).split()[1])
    look = "import sys; open(f'/proc/{sys.argv[1]}/mem', 'rb')"

    def mem(target):
        return subprocess.run(["/usr/bin/python3", "-c", look, str(target)], user=uid, group=uid, extra_groups=[],
                              capture_output=True, text=True)
    done = mem(pid)
    check(done.returncode != 0 and "PermissionError" in done.stderr, f"its own user reads its memory: {done}")
    control = subprocess.Popen(["sleep", "100"], user=uid, group=uid, extra_groups=[])
    try:
        done = mem(control.pid)
        equal(done.returncode, 0, f"the control: another process of that user: {done.stderr}")
    finally:
        control.kill()
        control.wait()
    # What root could take: the control that the search would find a key in a process that has it.
    hits, _ = memory_with([real], pid)
    print(f"     root {'finds' if hits else 'does not find'} the key in the supervisor's memory")
