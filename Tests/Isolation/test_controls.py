"""The doors again, in sessions whose walls were taken away one by one: each opens its own doors and no other."""

import controls
from setting import Failure
from test_doors import LEFT, leave_behind, other_session

# With the bits that are left in the tree.
LEFT_CONTROLS = [
    controls.Control("nodev workspace", "device-left-in-tree mount-without-nodev", ""),
    controls.Control("nosuid workspace, no_new_privs, seccomp, landlock domain", "set-user-id new-privileges",
                     "set-user-id"),
]


def try_without(world, walls, tree, left=False):
    """None when no session starts without these walls."""
    world.weaken(walls)
    try:
        with world.session() as session:
            return world.probe(session, tree, *(leave_behind(world, session) if left else []))
    except Failure as error:
        if "sandbox_failed" in str(error):
            return None
        raise Failure(f"without {walls}: {error}") from error


def still_open(found, names):
    """Of `names`, what is not shut."""
    if found is None:
        return {}
    return {name: found.get(name) for name in names if found.get(name, ("BROKEN",))[0] != "SHUT"}


def open_doors(suite, found):
    """Doors that are open or could not be tried, other than those that nothing was left for."""
    return {name for name in suite.programs.doors if found.get(name, ("BROKEN",))[0] != "SHUT"} - set(LEFT)


def test_controls(suite):
    with suite.running(weak=True) as world:
        _, tree = other_session(world)
        world.weaken([])
        base = open_doors(suite, try_without(world, [], tree))
        suite.check("the launcher with the switch is as tight", not base, base)
        for control in controls.CONTROLS:
            found = try_without(world, control.walls, tree)
            if found is None:
                suite.fail(f"without {control}: no session starts")
                continue
            for name in control.opens & found.open:
                suite.control(name, True, switch=True)
            wrong = open_doors(suite, found) ^ control.opens
            suite.check(f"without {control}: exactly its own doors", not wrong,
                        {name: found.get(name) for name in wrong})
            for wall in control.walls if control.behind and not suite.options.brief else []:
                rest = [other for other in control.walls if other != wall]
                broken = still_open(try_without(world, rest, tree), control.behind)
                suite.check(f"without {' + '.join(rest)}, but with {wall}: shut", not broken, broken)


def test_controls_of_what_is_left(suite):
    if not suite.root:
        return suite.skip("new-privileges", "its control needs what only root can leave in a session's tree")
    with suite.running(weak=True) as world:
        _, tree = other_session(world)
        for control in LEFT_CONTROLS:
            found = try_without(world, control.walls, tree, left=True) or {}
            for name in control.opens:
                suite.control(name, found.get(name, ("",))[0] == "OPEN", found.get(name), switch=True)
            for wall in control.walls if control.behind else []:
                rest = [other for other in control.walls if other != wall]
                broken = still_open(try_without(world, rest, tree, left=True), control.behind)
                suite.check(f"without {' + '.join(rest)}, but with {wall}: shut", not broken, broken)
