"""The switch of the controls is in no program that is installed."""

import os
import re

from setting import ROOT



def names_of_the_switch():
    """Every text that the sources give to the switch."""
    found = {"SUPERSERVE_WEAKEN"}
    module = os.path.join(ROOT, "CSandbox")
    for name in sorted(os.listdir(module)):
        if name.endswith(".c"):
            with open(os.path.join(module, name), encoding="utf-8") as file:
                found |= set(re.findall(r'(?:WEAKENED|weakened_part|let_through)\(\s*(?:filter, )?"([^"]+)"', file.read()))
    return {name for name in found if " " in name or name.isupper()}


def test_release_has_no_switch(suite):
    names = names_of_the_switch()
    suite.check("the sources have the switch", len(names) >= 12, names)
    with open(suite.programs.launcher, "rb") as file:
        installed = file.read()
    with open(suite.programs.make_weak(), "rb") as file:
        weak = file.read()
    for name in sorted(names):
        text = b"\0" + name.encode()
        suite.check(f"'{name}' is not in the installed launcher", text not in installed)
        suite.check(f"'{name}' is in the launcher of the tests", text in weak)
    suite.check("no function of the switch", b"csandbox_weaken" not in installed)


def test_release_ignores_the_list(suite):
    """The file that the launcher of the tests reads changes nothing."""
    with suite.running() as world:
        world.weaken(["seccomp", "agent ids", "agent capabilities", "securebits", "agent bounding set", "namespace net",
                      "hidepid proc", "read-only proc/sys", "close range", "close on exec"])
        with world.session() as session:
            found = world.probe(session)
    wrong = {name: found[name] for name in found.open}
    suite.check("the list changes nothing", len(found) > 100 and not wrong, wrong)
