"""Names: what the session's resolver says, what the real one is asked, and names that change where they lead."""

import threading
import time

import internet
from harness import check, equal


def test_answers_of_the_sessions_resolver(suite):
    """An address of the synthetic range for what may be reached, a refusal at once for the rest; nothing is asked."""
    world = suite.main
    before = len(suite.net.record.queries)
    found = world.call(world.session_of("strict"), "names", names=[
        "www.example", "WWW.Example", "x.good.example", "forbidden.example", "good.example", "localhost"])
    for name in ("www.example", "WWW.Example", "x.good.example"):
        check(found[name]["found"][0].startswith("198.18.") or found[name]["found"][0].startswith("198.19."), str(found))
    equal(found["www.example"]["found"], found["WWW.Example"]["found"], "one name, one address")
    for name in ("forbidden.example", "good.example"):
        check(found[name]["found"][0].startswith("["), f"{name}: {found}")
        check(found[name]["seconds"] < 2, f"{name} takes {found[name]['seconds']} s")
    equal(len(suite.net.record.queries), before, "queries at the real name server")


def test_rebinding(suite):
    """A name that leads to a public address when it is first looked at, and to a private one after."""
    world = suite.main
    for number, way in enumerate(("connect", "socks", "itself")):
        name = f"rebind{number}.good.example"
        suite.net.names.table[name] = lambda count: [("A", internet.WEB if count == 1 else "10.9.8.7")]
        said = world.call(world.session_of("strict"), "rebind", way=way, name=name, token=f"rebound{number}")
        check("uri=/before" in said, f"{way}: {said[:300]}")
        suite.net.settle()
        check(not suite.net.record.has(f"rebound{number}"), f"{way}: reached the private address")
        check(len(suite.net.record.asked(name)) >= 4, "it was looked up again")


def test_one_public_and_one_private_address(suite):
    """The public one is dialled, the private one never, whatever the order."""
    world = suite.main
    for number, records in enumerate(([("A", "10.9.8.7"), ("A", internet.WEB)], [("A", internet.WEB), ("A", "10.9.8.7")],
                                      [("AAAA", "fd12:3456::7"), ("A", internet.WEB)],
                                      [("AAAA", "::1"), ("AAAA", internet.WEB6)])):
        name, word = f"mixed{number}.good.example", f"mixedword{number}x"
        suite.net.names.table[name] = records
        said = world.call(world.session_of("strict"), "get", way="connect", authority=f"{name}:80", token=word)
        check(f"uri=/{word}" in said, f"{records}: {said[:300]}")
        check(not suite.net.record.has(word), f"{records}: reached the private address")


def test_many_and_dead_addresses(suite):
    """A name with dead addresses first still works; one that does not exist says so."""
    world = suite.main
    suite.net.names.table["long.good.example"] = [("A", internet.WEB)] * 3
    suite.net.names.table["half.good.example"] = [("AAAA", "2001:db8:1::99"), ("A", internet.WEB)]
    session = world.session_of("strict")
    for name in ("long", "half"):
        said = world.call(session, "get", way="connect", authority=f"{name}.good.example:80", token=name)
        check(f"uri=/{name}" in said, f"{name}: {said[:300]}")
    rows = {"missing": ("get", {"way": "connect", "authority": "missing.good.example:80", "token": "x"})}
    error = world.table(session, rows)["missing"]["error"]
    check("502" in error, error)


def test_a_slow_name_server_keeps_nobody_else_waiting(suite):
    world = suite.main
    for number in range(8):
        suite.net.names.table[f"slow{number}.good.example"] = [("A", internet.WEB)]
        suite.net.names.slow[f"slow{number}.good.example"] = 1.5
    session = world.session_of("strict")
    rows = {str(number): ("get", {"way": "connect", "authority": f"slow{number}.good.example:80", "token": "slow"})
            for number in range(8)}
    thread = threading.Thread(target=world.table, args=(session, rows), daemon=True)
    thread.start()
    began = time.monotonic()
    said = world.call(world.session_of("reach"), "get", way="connect", authority="www.example:80", token="quick")
    check("uri=/quick" in said, said[:300])
    check(time.monotonic() - began < 4, "another session waits for it")
    thread.join(60)
