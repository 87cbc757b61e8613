"""`superserve sessions network`: what a session may reach is shown, changed while it runs, and what it tried."""

import json

from harness import check, equal


def reach(world, session, name, token="edited"):
    rows = {"one": ("get", {"way": "connect", "authority": f"{name}:80", "token": token})}
    return "uri=/" in world.table(session, rows)["one"]["said"]


def test_edits_hold_at_once(suite):
    world = suite.main
    with world.session("strict") as session:
        check(not reach(world, session, "forbidden.example"), "before")
        done = world.cli("sessions", "network", session["id"], "allow", "forbidden.example")
        equal(done.returncode, 0, done.stderr)
        check("allow   forbidden.example" in done.stdout and "this session only" in done.stdout, done.stdout)
        check(reach(world, session, "forbidden.example"), "after it was allowed")
        done = world.cli("sessions", "network", session["id"], "deny", "www.example", "*.good.example")
        equal(done.returncode, 0, done.stderr)
        check(not reach(world, session, "www.example") and not reach(world, session, "a.good.example"), "after denials")
        shown = json.loads(world.cli("sessions", "network", session["id"], "--json").stdout)
        check("forbidden.example" in shown["allow"] and "www.example" in shown["deny"], str(shown))
        with world.session("strict") as other:
            check(reach(world, other, "www.example") and not reach(world, other, "forbidden.example"), "another session")


def test_what_is_no_rule_is_refused(suite):
    world = suite.main
    with world.session("strict") as session:
        for rule in ("http://a.example", "a.example:0", "a..example", "*", "a.*.example", "10.0.0.0/33", "1.2.3", "ä.example"):
            done = world.cli("sessions", "network", session["id"], "allow", rule)
            check(done.returncode != 0 and "Error" in done.stderr, f"{rule}: {done}")
        equal(world.cli("sessions", "network", session["id"], "allow").returncode, 64)
        before = world.get(f"/v1/sessions/{session['id']}/network").json
        equal(before["edited"], [], "nothing was changed")


def test_the_log(suite):
    """Allowed, denied and failed, with what is needed to understand them and no query."""
    world = suite.main
    with world.session("strict") as session:
        suite.net.names.table["gone.good.example"] = []
        world.table(session, {
            "a": ("exchange", {"data": "GET http://www.example/logged?secret=1 HTTP/1.1\r\nHost: www.example\r\n"
                                       "Connection: close\r\n\r\n"}),
            "b": ("get", {"way": "connect", "authority": "forbidden.example:443", "token": "x"}),
            "c": ("get", {"way": "socks", "authority": "gone.good.example:80", "token": "x"}),
            "d": ("get", {"way": "itself", "authority": "www.example:80", "token": "self"}),
            "f": ("tls", {"way": "itself", "authority": "www.example:443", "name": "www.example", "token": "self"}),
            "e": ("ask", {"name": "unknown.evil.example"})})
        request = world.wait_record(session, "a request", kind="request", host="www.example", path="/logged")
        equal((request["verdict"], request["method"], request["status"], request["address"], request["port"]),
              ("allowed", "GET", 200, "203.0.113.10", 80))
        denied = world.wait_record(session, "a denied tunnel", kind="connect", host="forbidden.example")
        equal((denied["verdict"], denied["port"], denied["status"]), ("denied", 443, 403))
        failed = world.wait_record(session, "a failed one", kind="socks", host="gone.good.example")
        equal(failed["verdict"], "failed")
        for found in (world.wait_record(session, "a program without a proxy", kind="transparent", port=443),
                      world.wait_record(session, "its request", kind="request", path="/self")):
            equal((found["verdict"], found["host"], found["address"]), ("allowed", "www.example", "203.0.113.10"))
            check(found["received"] > 0, str(found))
        world.wait_record(session, "a refused name", kind="name", host="unknown.evil.example", verdict="denied")
        lines = world.cli("sessions", "network", session["id"], "--log").stdout
        check("secret" not in lines, "the log has the query")
        records = [json.loads(line) for line in lines.splitlines()]
        check(any(record.get("path") == "/logged" for record in records), lines)
        shown = world.cli("sessions", "network", session["id"]).stdout
        check("denied" in shown and "forbidden.example:443" in shown and "failed" in shown, shown)


def test_no_network(suite):
    """`none`: nothing listens. An empty list: everything is refused, names too."""
    world = suite.main
    with world.session("none") as session:
        script = ("for p in 3128 53 80 443; do (exec 3<>/dev/tcp/127.0.0.1/$p) 2>/dev/null && echo open $p; done; "
                  "(exec 3<>/dev/tcp/198.18.0.5/80) 2>/dev/null && echo open; env | grep -i proxy; echo end")
        equal(world.sh(session, f"bash -c '{script}'").strip(), "end")
        rows = {"address": ("get", {"way": "itself", "authority": "203.0.113.10:80", "token": "nonetoken"}),
                "name": ("ask", {"name": "nonetoken.example"}),
                "datagram": ("datagram", {"address": "203.0.113.20", "port": 7, "token": "nonetoken"})}
        for name, found in world.table(session, rows).items():
            check(found.get("error"), f"{name}: {found}")
    with world.session("empty") as session:
        rows = {way: ("get", {"way": way, "authority": "www.example:80", "token": "nonetoken"})
                for way in ("connect", "socks", "itself")}
        rows["name"] = ("ask", {"name": "www.example", "token": "nonetoken"})
        found = world.table(session, rows)
        check("code 5" in found.pop("name")["said"], "a name query is refused")
        for name, came in found.items():
            check(came.get("error") and not came["said"], f"{name}: {came}")
    suite.net.settle()
    check(not suite.net.reached("nonetoken"), "something came through")


def test_sockets_of_the_supervisor(suite):
    """Its own and the launcher's cannot be reached from inside; on the host they can."""
    import inside_attempts
    world = suite.main
    with world.session("strict") as session:
        paths = [world.socket]
        found = world.table(session, {path: ("unix", {"path": path, "token": "t"}) for path in paths})
        for path in paths:
            check(found[path].get("error"), f"{path}: {found[path]}")
            equal(inside_attempts.unix(path, "t"), b"t", f"the control: {path} on the host")


def test_only_owner_and_operators_change(suite):
    """Another user of the socket sees, but does not change; the creator stays within the agent's ceiling."""
    import subprocess
    import os
    group, names = f"ssnet-{os.getpid()}", [f"ssnet-a{os.getpid()}", f"ssnet-b{os.getpid()}"]
    with suite.world(config=f"socket_group: {group}") as world:
        subprocess.run(["groupadd", "-f", group], check=True)
        world.stack.callback(subprocess.run, ["groupdel", group], stderr=subprocess.DEVNULL)
        for name in names:
            subprocess.run(["useradd", "--no-create-home", "-G", group, name], check=True)
            world.stack.callback(subprocess.run, ["userdel", name], stderr=subprocess.DEVNULL)
        os.chmod(world.home, 0o777)
        world.start()
        done = world.cli("run", "strict", "echo hello", "--single", user=names[0])
        equal(done.returncode, 0, done.stderr)
        session = done.stderr.split("Session ID: ")[1].split()[0]

        def edit(user, *words):
            return world.cli("sessions", "network", session, *words, user=user)
        for user, words in ((names[1], ("allow", "www.example")), (names[1], ("deny", "www.example")),
                            (names[0], ("allow", "forbidden.example")), (names[0], ("allow", "0.0.0.0/0:*"))):
            done = edit(user, *words)
            equal(done.returncode, 1, f"{user} {words}: {done}")
        equal(edit(names[0], "deny", "www.example").returncode, 0, "less is always allowed")
        equal(edit(None, "allow", "forbidden.example").returncode, 0, "an operator")


test_only_owner_and_operators_change.root_only = True
